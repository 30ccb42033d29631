"""Passwords on the real server over loopback: what is closed, how sessions end, how tries do."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from demo import accounts
from demo.accounts import Accounts, line_for, new_token
from demo.gate.sign_in import CLOSED, LOGGED_OUT, WRONG
from demo.server import process
from demo.server.event_log import EventLog
from demo.server.server import Server, Settings
from tests.support.demo_process import free_port
from tests.support.raw_http import Reply, connect, post_json, request, send, sentence

pytestmark = pytest.mark.slow

FORM = "application/x-www-form-urlencoded"

TOKEN, TOKEN_LINE = new_token("program")


def make_page(*_: Any) -> gr.Blocks:
    """A page that does nothing."""
    page: gr.Blocks
    with gr.Blocks(analytics_enabled=False, title="inside") as page:
        gr.Markdown("inside")
    return page


@pytest.fixture(scope="module")
def log() -> io.StringIO:
    """The event log."""
    return io.StringIO()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, log: io.StringIO) -> Iterator[str]:
    """A server with three accounts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "COST", {"n": 2**8, "r": 8, "p": 1})
        users = {"anna": "secret", "bodo": line_for("bodo", "geheim").partition(":")[2]}
        users["program"] = TOKEN_LINE.partition(":")[2]
        for name in process.environment(Path()):
            patch.setenv(name, os.environ.get(name, ""))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr("tempfile.tempdir", None)
        patch.setattr("demo.server.server.spare_memory", lambda: None)
        patch.setattr(accounts, "PAUSE", 0.0)
        patch.setattr("demo.server.server.EventLog", lambda _: EventLog(log))
        settings = Settings(port=free_port(), accounts=Accounts(users))
        running = Server(settings, "test")

        async def begin() -> None:
            # In a loop: Gradio would make one for its locks, and never close it.
            running.open(make_page, {}, lambda: {"lesion": {"weights_sha256": "0"}})

        asyncio.run(begin())
        yield running.local.rstrip("/")
        running.close()


def log_in(url: str, user: str, password: str, address: str, **headers: str) -> Reply:
    """Try a password from an address, as a proxy passes it on."""
    form = f"username={user}&password={password}".encode()
    return request(url, "/login", form, FORM, X_Forwarded_For=address, **headers)


def entered(url: str, address: str) -> str:
    """Log in and return the cookie; its value keeps its capitals."""
    form = b"username=anna&password=secret"
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n"
    head += f"Content-Type: {FORM}\r\nContent-Length: {len(form)}\r\nConnection: close\r\n\r\n"
    return raw_cookie(url, head.encode() + form)


def raw_cookie(url: str, data: bytes) -> str:
    """Send a request and return the cookie of its answer."""
    with connect(url) as connection:
        connection.sendall(data)
        text = b""
        while piece := connection.recv(65536):
            text += piece
    (line,) = [x for x in text.decode().split("\r\n") if x.lower().startswith("set-cookie:")]
    return line.partition(": ")[2].partition(";")[0]


@pytest.mark.parametrize(
    "path",
    [
        *("/config", "/theme.css", "/openapi.json", "/gradio_api/info", "/gradio_api/openapi.json"),
        *("/gradio_api/app_id", "/gradio_api/user", "/gradio_api/startup-events", "/manifest.json"),
        *("/gradio_api/mcp/", "/gradio_api/mcp/schema", "/assets/x.js", "/static/img/logo.svg"),
        *("/gradio_api/heartbeat/x", "/gradio_api/queue/data?session_hash=x", "/nothing"),
    ],
)
def test_nothing_is_open_without_a_password(url: str, path: str) -> None:
    reply = request(url, path)
    assert (reply[0], sentence(reply)) == (401, CLOSED)


@pytest.mark.parametrize(
    "path", ["upload", "queue/join", "call/x", "run/x", "cancel", "reset", "mcp/"]
)
def test_nothing_is_taken_without_a_password(url: str, path: str) -> None:
    assert post_json(url, f"/gradio_api/{path}", {"data": []})[0] == 401


def test_the_token_of_gradio_is_nowhere(url: str) -> None:
    assert request(url, "/gradio_api/token", Cookie=entered(url, "192.0.2.10"))[0] == 403


def test_health_names_no_weights_to_strangers(url: str) -> None:
    assert "models" not in json.loads(request(url, "/healthz")[2])
    inside = request(url, "/healthz", Cookie=entered(url, "192.0.2.11"))
    assert json.loads(inside[2])["models"] == {"lesion": {"weights_sha256": "0"}}


def test_a_session_begins_and_ends(url: str) -> None:
    assert 'name="password"' in request(url, "/")[2]
    cookie = entered(url, "192.0.2.12")
    assert '"title":"inside"' in request(url, "/", Cookie=cookie)[2]
    # Looking at the page to log out ends nothing, also where another site asks for it.
    assert "<button>Log out</button>" in request(url, "/logout", Cookie=cookie)[2]
    assert request(url, "/config", Cookie=cookie)[0] == 200
    other = entered(url, "192.0.2.12")
    status, headers, text = request(url, "/logout", b"", FORM, Cookie=cookie)
    assert (status, LOGGED_OUT in text) == (200, True)
    assert "max-age=0" in headers["set-cookie"]
    assert request(url, "/config", Cookie=cookie)[0] == 401
    assert request(url, "/config", Cookie=other)[0] == 200
    foreign = request(url, "/logout", b"", FORM, Cookie=other, Origin="https://evil.example")
    assert foreign[0] == 403
    assert request(url, "/config", Cookie=other)[0] == 200


def test_the_cookie_stays_on_this_site(url: str) -> None:
    cookie = log_in(url, "anna", "secret", "192.0.2.13")[1]["set-cookie"]
    assert cookie.partition("; ")[2] == "path=/; max-age=43200; httponly; samesite=lax"
    secure = log_in(url, "anna", "secret", "192.0.2.13", X_Forwarded_Proto="https")
    assert secure[1]["set-cookie"].endswith("; samesite=lax; secure")


def test_a_browser_is_sent_to_the_page_and_told_why_not(url: str) -> None:
    status, headers, _ = log_in(url, "anna", "secret", "192.0.2.14", Accept="text/html")
    assert (status, headers["location"]) == (303, "./")
    status, _, text = log_in(url, "anna", "no", "192.0.2.14", Accept="text/html")
    assert (status, f'<p role="alert">{WRONG}</p>' in text) == (400, True)


def test_a_program_has_a_token(url: str) -> None:
    assert request(url, "/config", Authorization=f"Bearer {TOKEN}")[0] == 200
    for wrong in ("Bearer x", f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN_LINE[-64:]}"):
        assert request(url, "/config", Authorization=wrong)[0] == 401


def test_tries_end_and_are_logged_without_names_that_may_be_passwords(
    url: str, log: io.StringIO
) -> None:
    before = len(log.getvalue())
    codes = [log_in(url, "bodo", f"wrong-{n}", "192.0.2.20")[0] for n in range(7)]
    assert codes == [400] * 5 + [429] * 2
    limited = log_in(url, "bodo", "geheim", "192.0.2.20")
    assert (limited[0], sentence(limited)[:25]) == (429, "Too many wrong passwords:")
    # Bodo himself is somewhere else, and enters.
    assert log_in(url, "bodo", "geheim", "192.0.2.21")[0] == 200
    log_in(url, "pa55word-in-the-wrong-field", "bodo", "192.0.2.21")
    written = log.getvalue()[before:]
    events = [json.loads(line) for line in written.splitlines()]
    wrong = [event for event in events if event["outcome"] == "wrong"]
    assert [event.get("account") for event in wrong] == ["bodo"] * 5 + [None]
    assert len({event["source"] for event in wrong}) == 2
    assert [event["outcome"] for event in events].count("limited") >= 1
    for secret in ("wrong-", "geheim", "pa55word", "192.0.2"):
        assert secret not in written


def test_a_hundred_tries_at_once_are_as_few(url: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        codes = list(
            pool.map(lambda n: log_in(url, "anna", f"wrong-{n}", "192.0.2.30")[0], range(40))
        )
    assert codes.count(400) + codes.count(503) == 5
    assert codes.count(429) == 35


def test_a_long_form_is_not_read(url: str) -> None:
    assert log_in(url, "anna", "x" * 5000, "192.0.2.40")[0] == 413
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
    head += "Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert send(url, head.encode())[0] == 400
