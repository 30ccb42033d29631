"""The door in front of Gradio, without a network: health, shut paths, limits and headers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.server import upload_room
from demo.server.door import MAX_BODY, MAX_UPLOADS, Door
from demo.server.event_log import EventLog
from demo.server.upload_folder import PrivateFolder

Reply = tuple[int, dict[bytes, bytes], bytes]


class Behind:
    """An application behind the door: it takes a request in and answers with a status."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.seen, self.answering = status, list[str](), list[int]()
        self.door: Door | None = None

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        if self.door is not None:
            self.answering.append(self.door.answering)
        headers = [(b"cache-control", b"max-age=9"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"behind"})


@pytest.fixture
def written() -> io.StringIO:
    """The stream that the event log writes to."""
    return io.StringIO()


@pytest.fixture
def door(tmp_path: Path, written: io.StringIO) -> Iterator[Door]:
    """A door with nothing behind it yet."""
    folder = PrivateFolder(tmp_path)
    yield Door(EventLog(written), folder, "1.2.3")
    folder.remove()


def ask(door: Door, path: str, method: str = "GET", **headers: object) -> Reply:
    """One request and its answer."""
    sent: list[Any] = []
    fields = [
        (name.replace("_", "-").encode(), str(value).encode()) for name, value in headers.items()
    ]
    fields.append((b"host", b"localhost"))
    scope = {"type": "http", "path": path, "method": method, "headers": fields}

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(door(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def opened(door: Door, status: int = 200) -> Behind:
    """Put an application behind the door and make it ready."""
    door.app = behind = Behind(status)
    door.state, behind.door = "ready", door
    return behind


def test_health_in_every_state(door: Door) -> None:
    status, headers, body = ask(door, "/healthz")
    content = json.loads(body)
    assert (status, content["status"], content["version"], content["models"]) == (
        503,
        "loading",
        "1.2.3",
        {},
    )
    assert headers[b"retry-after"] == b"3"
    opened(door)
    door.models = lambda: {"lesion": {"weights_sha256": "0" * 64}}
    status, _, body = ask(door, "/healthz")
    assert (status, json.loads(body)["status"]) == (200, "ready")
    assert json.loads(body)["models"] == {"lesion": {"weights_sha256": "0" * 64}}
    door.state = "stopping"
    assert ask(door, "/healthz")[0] == 503


def test_the_page_says_that_it_is_loading(door: Door) -> None:
    status, headers, body = ask(door, "/")
    assert status == 503
    assert headers[b"content-type"].startswith(b"text/html")
    assert b"The models are being loaded." in body
    assert b'http-equiv="refresh"' in body


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.org/x.png",
        "/gradio_api/file=https:/example.org/x.png",
        "/gradio_api/file=/ftp://example.org/x",
        "/gradio_api/proxy=https://user-space.hf.space/x",
        "/gradio_api/deep_link",
        "/gradio_api/run-history/buckets",
        "/gradio_api/vibe-edit/",
        "/gradio_api/process_recording",
        "/monitoring/summary",
        "/gradio_api/dev/reload",
    ],
)
def test_what_stays_shut(door: Door, path: str) -> None:
    behind = opened(door)
    assert ask(door, path)[0] == 403
    assert behind.seen == []


@pytest.mark.parametrize(
    "path", ["/", "/config", "/gradio_api/file=x/y.png", "/gradio_api/queue/join", "/assets/a.js"]
)
def test_the_rest_passes(door: Door, path: str) -> None:
    behind = opened(door)
    status, headers, body = ask(door, path)
    assert (status, body, behind.seen) == (200, b"behind", [path])
    assert headers[b"x-own"] == b"1"
    assert headers[b"content-security-policy"].startswith(b"default-src 'self'")
    private_path = path.startswith("/gradio_api/")
    assert headers[b"cache-control"] == (b"no-store" if private_path else b"max-age=9")


def test_long_requests_are_not_read(door: Door) -> None:
    behind = opened(door)
    assert ask(door, "/gradio_api/queue/join", "POST", content_length=MAX_BODY)[0] == 200
    status, _, body = ask(door, "/gradio_api/queue/join", "POST", content_length=MAX_BODY + 1)
    assert (status, json.loads(body)["detail"][:40]) == (
        413,
        "The request has more than the 1 MB that ",
    )
    assert ask(door, "/gradio_api/upload", "POST", content_length=MAX_UPLOADS + 1)[0] == 413
    status, _, body = ask(door, "/gradio_api/upload", "POST", transfer_encoding="chunked")
    assert status == 413
    assert b"does not say how long it is" in body
    assert behind.seen == ["/gradio_api/queue/join"]


def test_a_file_over_the_limit_is_told_in_words(door: Door) -> None:
    opened(door, 413)
    status, _, body = ask(door, "/gradio_api/upload", "POST", content_length=9)
    expected = (
        "The file has more than the 20 MB that are accepted: scale the image down or save it as "
        "JPEG."
    )
    assert (status, json.loads(body)) == (413, {"detail": expected})


def test_a_full_disk_is_not_filled_further(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = opened(door)
    monkeypatch.setattr(upload_room, "CAPACITY", -1)
    status, _, body = ask(door, "/gradio_api/upload", "POST", content_length=9)
    assert status == 413
    assert b"no room for more images now" in body
    assert behind.seen == []


def test_uploads_are_noted_without_their_names(door: Door, written: io.StringIO) -> None:
    opened(door)
    ask(door, "/gradio_api/upload", "POST", content_length=9, x_name="patient.png")
    event = json.loads(written.getvalue())
    assert (event["event"], event["outcome"], event["bytes"]) == ("upload", "taken", 9)
    assert "patient" not in written.getvalue()


def test_open_answers_are_counted(door: Door) -> None:
    behind = opened(door)
    for path in (
        "/gradio_api/queue/data",
        "/gradio_api/call/analyse/0ab",
        "/gradio_api/heartbeat/x",
        "/",
    ):
        ask(door, path)
    assert behind.answering == [1, 1, 0, 0]
    assert door.answering == 0


def test_websockets_are_closed(door: Door) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(door({"type": "websocket", "path": "/", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close"}]
