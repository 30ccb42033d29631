"""Attacks by HTTP on the real server over loopback: uvicorn, the gate, and a page of Gradio."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from demo.gate import body as gate_body
from demo.gate import connections
from demo.server import gradio_queue, process, upload_room
from demo.server.event_log import EventLog
from demo.server.server import Server, Settings
from tests.support.demo_process import free_port
from tests.support.raw_http import (
    NOTHING,
    connect,
    form,
    post_json,
    read,
    request,
    send,
    sentence,
)

UPLOAD, JOIN = "/gradio_api/upload", "/gradio_api/queue/join"

WORKING = threading.Event()
"""Set while the page's slow function may end."""


def make_page(*_: Any) -> gr.Blocks:
    """A page with two functions: one counts images, one takes as long as the test wants."""
    page: gr.Blocks
    with gr.Blocks(analytics_enabled=False) as page:
        files, number = gr.File(file_count="multiple"), gr.Number()
        button = gr.Button()
        button.click(len, [files], number, api_name="count", concurrency_id="count")
        button.click(lambda _: WORKING.wait(20), [number], number, api_name="slow")
    return page


@pytest.fixture(scope="module")
def log() -> io.StringIO:
    """The event log."""
    return io.StringIO()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, log: io.StringIO) -> Iterator[Server]:
    """A server with short deadlines and little room."""
    with pytest.MonkeyPatch.context() as patch:
        for name in process.environment(Path()):
            patch.setenv(name, os.environ.get(name, ""))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr("tempfile.tempdir", None)
        patch.setattr("demo.server.server.spare_memory", lambda: None)
        patch.setattr(connections, "HEAD_TIME", 0.25)
        patch.setattr(gate_body, "SILENCE", 0.25)
        patch.setattr(upload_room, "CAPACITY", 4_000_000)
        patch.setattr("demo.server.server.EventLog", lambda _: EventLog(log))
        running = Server(Settings(port=free_port(), max_queue=8), "test")

        async def begin() -> None:
            # In a loop: Gradio would make one for its locks, and never close it.
            running.open(make_page, {}, dict)

        asyncio.run(begin())
        yield running
        WORKING.set()
        running.close()


@pytest.fixture
def url(server: Server) -> str:
    """The server's address, without a slash at its end."""
    return server.local.rstrip("/")


@pytest.fixture
def room(server: Server) -> upload_room.UploadRoom:
    """The account of uploads."""
    return server.folder.room


def upload(url: str, name: str, content: bytes, address: str = "") -> list[str]:
    """Upload a file, as if a proxy passed it on from an address."""
    body, kind = form([(f'name="files"; filename="{name}"', content)])
    sender = {"X_Forwarded_For": address} if address else {}
    reply = request(url, UPLOAD, body, kind, **sender)
    assert reply[0] == 200, reply
    return [str(path) for path in json.loads(reply[2])]


def soon(holds: Callable[[], bool]) -> bool:
    """Wait until something holds, for 10 seconds on a loaded machine."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def file(path: str) -> dict[str, Any]:
    """An uploaded file as an endpoint takes it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def functions(url: str) -> dict[str, int]:
    """The numbers of the page's functions, by name."""
    config = json.loads(request(url, "/config")[2])
    return {function["api_name"]: function["id"] for function in config["dependencies"]}


def join(url: str, name: str, data: list[Any], visit: str, **headers: str) -> tuple[int, str]:
    """Join the queue as Gradio's page does: status and the id of the request, or the sentence."""
    content = {"data": data, "fn_index": functions(url)[name], "session_hash": visit}
    status, _, text = post_json(url, JOIN, content, **headers)
    value = json.loads(text)
    return status, str(value["event_id"] if status == 200 else value["detail"])


def answer(url: str, visit: str) -> str:
    """All that the stream of a visit says until it ends."""
    with connect(url, timeout=20) as connection:
        path = f"/gradio_api/queue/data?session_hash={visit}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        text = b""
        while b"close_stream" not in text and (piece := connection.recv(65536)):
            text += piece
    return text.decode()


@pytest.mark.parametrize("path", [JOIN, UPLOAD, "/login", "/gradio_api/call/count"])
def test_two_lengths_are_refused_before_anything_is_read(url: str, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = send(url, head.encode())
    assert (reply[0], reply[1]["connection"]) == (400, "close")
    assert "not both" in sentence(reply)


def test_a_body_without_a_length_is_refused(url: str) -> None:
    head = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    for method, path in (("POST", JOIN), ("POST", UPLOAD), ("PUT", "/x"), ("DELETE", "/x")):
        reply = send(url, f"{method} {path} HTTP/1.1\r\n{head}".encode())
        assert (reply[0], sentence(reply)) == (413, gate_body.NO_LENGTH)


def test_half_a_head_is_closed(url: str) -> None:
    began = time.monotonic()
    reply = send(url, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
    assert reply == NOTHING
    assert time.monotonic() - began < 3


def test_a_body_that_stops_is_refused_and_leaves_nothing(
    server: Server, url: str, room: upload_room.UploadRoom
) -> None:
    held, files = room.taken, sorted(server.folder.uploads.rglob("*"))
    body, kind = form([('name="files"; filename="a"', b"x" * 1000)] * 20)
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    reply = send(url, f"{head}Content-Length: {len(body) + 9}\r\n\r\n".encode() + body)
    assert (reply[0], sentence(reply)) == (408, gate_body.SLOW)
    # The room is given back a moment after the answer.
    assert soon(lambda: room.taken == held)
    assert sorted(server.folder.uploads.rglob("*")) == files


def test_a_silent_connection_makes_room_for_a_new_one(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shares,) = {id(c.of_server.shares): c.of_server.shares for c in protocols(server)}.values()
    monkeypatch.setattr(shares, "most", 6)
    monkeypatch.setattr(connections, "HEAD_TIME", 20.0)
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(connect(url)) for _ in range(12)]
        assert request(url, "/healthz")[0] == 200
        assert read(silent[0]) == NOTHING  # within 10 seconds, or it is a timeout


@pytest.mark.slow
def test_a_connection_whose_answers_nobody_takes_is_closed(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (protocol,) = protocols(server)
    shares = protocol.of_server.shares
    assert soon(lambda: shares.total == 0)
    monkeypatch.setattr(connections, "STALL", 0.3)
    get = b"GET /config HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(url) as silent:
        # Far more answers than the buffers of both ends hold.
        with contextlib.suppress(OSError):
            for _ in range(40):
                silent.sendall(get * 50)
        assert soon(lambda: shares.total == 0)
    assert request(url, "/healthz")[0] == 200


def protocols(server: Server) -> list[Any]:
    """The connections' class, which uvicorn makes its connections of."""
    return [server._uvicorn.config.http_protocol_class]


def test_an_address_has_a_share_of_the_connections(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (protocol,) = protocols(server)
    monkeypatch.setattr(protocol.of_server.shares, "most_each", 3)
    monkeypatch.setattr(connections, "HEAD_TIME", 20.0)
    held = [connect(url, "127.0.0.2") for _ in range(3)]
    # Also where the server is full: nobody else gives way to such an address.
    monkeypatch.setattr(protocol.of_server.shares, "most", 4)
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert send(url, get, source="127.0.0.2") == NOTHING
    assert send(url, get, source="127.0.0.3")[0] == 200
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([('name="files"; filename="a"', b"x")] * 101, "Maximum number of files is 100."),
        ([('name="x"', b"x")] * 11, "Maximum number of fields is 10."),
        ([('name="x"', b"x" * 9000)], "A field has more than 8192 bytes: send images as files."),
        ([('name="files"', b"x")], 'What came as "files" is no file: give it a file name.'),
        ([('name="f"; filename="a"', b"x")], 'A file came under another name than "files".'),
        ([(f'name="files"; filename="{"a" * 1001}"', b"x")], "The name of a file has 1001 letters"),
        ([(f'name="files"; filename="{"a" * 9000}"', b"x")], "The head of a part is too long"),
    ],
)
def test_uploads_are_bounded_in_every_way(
    server: Server, url: str, parts: list[tuple[str, bytes]], words: str
) -> None:
    files = sorted(server.folder.uploads.rglob("*"))
    reply = request(url, UPLOAD, *form(parts))
    assert reply[0] == 400
    assert words in sentence(reply)
    assert sorted(server.folder.uploads.rglob("*")) == files


@pytest.mark.parametrize("boundary", ["", f"; boundary={'B' * 71}"])
def test_a_boundary_of_no_use_is_refused(url: str, boundary: str) -> None:
    reply = request(url, UPLOAD, b"--B--\r\n", f"multipart/form-data{boundary}")
    assert reply[0] == 400
    assert "expected 1 to 70" in sentence(reply)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"{UPLOAD}?upload_id={'u' * 2000}", b"{}"),
        (f"/gradio_api/heartbeat/{'s' * 2000}", None),
        (f"/gradio_api/queue/data?session_hash={'s' * 129}", None),
        (f"/gradio_api/call/count/{'e' * 129}", None),
        (JOIN, json.dumps({"data": [], "session_hash": "s" * 500_000}).encode()),
        ("/gradio_api/run/count", json.dumps({"data": [], "session_hash": "s" * 129}).encode()),
        ("/gradio_api/cancel", json.dumps({"session_hash": "s", "event_id": "e" * 129}).encode()),
    ],
)
def test_names_that_clients_choose_are_short(url: str, path: str, content: bytes | None) -> None:
    reply = request(url, path, content)
    assert reply[0] == 400
    assert "expected at most 128." in sentence(reply)


def test_many_header_fields_and_a_long_address_are_refused(url: str) -> None:
    many = "".join(f"X-{n}: 1\r\n" for n in range(65))
    reply = send(url, f"GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n".encode())
    assert (reply[0], sentence(reply)) == (
        431,
        "The request has 66 header fields, expected at most 64.",
    )
    assert request(url, "/" + "a" * 5000)[0] == 414


def test_room_is_reserved_before_a_body_is_read(url: str, room: upload_room.UploadRoom) -> None:
    room.begin_count()
    room.end_count([])
    size = 3_000_000
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\n"
    head += "Content-Type: multipart/form-data; boundary=B\r\n"
    with connect(url) as first:
        first.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        assert soon(lambda: room.taken >= size)
        # Of 4 MB, 1 is left; nothing of the first body has come yet.
        reply = send(url, f"{head}Content-Length: {size}\r\n\r\n".encode())
        assert (reply[0], sentence(reply)) == (413, upload_room.FULL)
    assert soon(lambda: room.taken < size)


def test_an_upload_that_breaks_off_is_no_fault(
    url: str, room: upload_room.UploadRoom, log: io.StringIO
) -> None:
    room.begin_count()
    room.end_count([])
    lines = len(log.getvalue().splitlines())
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
    head += "Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n"
    head += 'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    with connect(url) as sender:
        sender.sendall(head.encode() + bytes(100_000))
        assert soon(lambda: room.taken >= 500_000)
        time.sleep(0.1)
    assert soon(lambda: room.taken == 0)
    assert soon(lambda: len(log.getvalue().splitlines()) > lines)
    (said,) = [json.loads(line) for line in log.getvalue().splitlines()[lines:]]
    assert (said["event"], said["outcome"]) == ("upload", "refused")


def test_one_address_can_not_take_all_the_room(url: str, room: upload_room.UploadRoom) -> None:
    room.begin_count()
    room.end_count([])
    upload(url, "a.png", b"a" * 1_500_000, "192.0.2.1")
    body, kind = form([('name="files"; filename="b.png"', b"b" * 1_500_000)])
    # Half of 4 MB is one address's share, and 1.5 MB of it are taken.
    reply = request(url, UPLOAD, body, kind, X_Forwarded_For="192.0.2.1")
    assert (reply[0], sentence(reply)) == (413, upload_room.SHARE_TAKEN)
    upload(url, "b.png", b"b" * 1_500_000, "192.0.2.2")
    room.begin_count()
    room.end_count([])


@pytest.mark.parametrize("parts", ["0-0,2-2", "a-b", "-1", "9999-", "1-0", ",".join(["0-"] * 9000)])
def test_parts_of_a_file_are_the_whole_file(url: str, parts: str) -> None:
    (path,) = upload(url, "a.png", b"abc")
    reply = request(url, f"/gradio_api/file={path}", Range=f"bytes={parts}")
    assert (reply[0], reply[2]) == (200, "abc")


def test_a_page_of_another_site_is_refused(url: str) -> None:
    for origin in ("https://evil.example", "null", "http://evil.example", "http://localhost:1"):
        reply = post_json(url, "/gradio_api/call/count", {"data": [[]]}, Origin=origin)
        assert (reply[0], "another site" in sentence(reply)) == (403, True), origin
    same = post_json(url, "/gradio_api/call/count", {"data": [[]]}, Origin=url)
    assert same[0] == 200


def test_a_name_that_was_pointed_here_is_refused(url: str) -> None:
    # DNS rebinding: the browser believes that the page's site is this server.
    port = url.rpartition(":")[2]
    host = {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}
    reply = post_json(url, "/gradio_api/call/count", {"data": [[]]}, **host)
    assert reply[0] == 403
    assert "--public-host evil.example" in sentence(reply)
    # A proxy with TLS hands on its own name.
    host = {"Host": "derm.example.org", "Origin": "https://derm.example.org"}
    assert post_json(url, "/gradio_api/call/count", {"data": [[]]}, **host)[0] == 200


def test_no_answer_is_for_other_sites_or_their_frames(url: str) -> None:
    for path in ("/", "/config", "/gradio_api/info", "/healthz", "/nothing"):
        _, headers, _ = request(url, path, Host="derm.example.org", Origin="https://evil.example")
        assert not [name for name in headers if name.startswith("access-control-")]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "form-action 'self'" in headers["content-security-policy"]


def test_a_forwarded_name_is_believed_of_a_proxy_alone(url: str) -> None:
    assert "evil.example" not in request(url, "/", X_Forwarded_Host="evil.example")[2]
    passed_on: dict[str, Any] = {"X_Forwarded_Host": "derm.example.org"}
    passed_on["X_Forwarded_For"] = "192.0.2.1"
    assert "derm.example.org" in request(url, "/config", **passed_on)[2]


def test_the_same_file_many_times_is_refused(url: str) -> None:
    (path,) = upload(url, "c.png", b"c")
    assert join(url, "count", [[file(path)] * 100], "many")[0] == 200
    assert "The same file came 100 times, expected each file once." in answer(url, "many")


@pytest.mark.slow
def test_only_its_owner_cancels_a_request(url: str) -> None:
    WORKING.clear()
    _, event = join(url, "slow", [1], "owner")
    number = functions(url)["slow"]
    cancel = {"fn_index": number, "event_id": event, "session_hash": "stranger"}
    reply = post_json(url, "/gradio_api/cancel", cancel)
    assert (reply[0], sentence(reply)) == (403, "Only who sent a request can cancel it.")
    WORKING.set()
    assert '"success":true' in answer(url, "owner")


def test_an_unknown_request_is_a_sentence(url: str) -> None:
    reply = request(url, "/gradio_api/call/count/nothing")
    assert reply[0] == 404
    assert sentence(reply).startswith("There is no such request")


@pytest.mark.slow
def test_an_answer_is_for_one_reader(server: Server, url: str) -> None:
    WORKING.clear()
    event = json.loads(post_json(url, "/gradio_api/call/slow", {"data": [1]})[2])["event_id"]
    path = f"/gradio_api/call/slow/{event}"
    with connect(url) as first:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        first.sendall(head.encode())
        queue = server.door.queue
        assert queue is not None
        assert soon(lambda: queue.is_awaited(event))
        second = request(url, path)
        assert (second[0], sentence(second)[:18]) == (409, "Another connection")
        WORKING.set()
        assert "event: complete" in read(first)[2]


@pytest.mark.slow
@pytest.mark.parametrize("data", [[5], [{"a": 1}], [], [None, None, None]])
def test_values_of_the_wrong_kind_are_a_sentence(url: str, data: list[Any]) -> None:
    status, _, text = post_json(url, "/gradio_api/call/count", {"data": data})
    assert status == 200
    event = json.loads(text)["event_id"]
    _, _, stream = request(url, f"/gradio_api/call/count/{event}")
    assert '"error": null' not in stream
    assert "event: " in stream


def test_what_is_no_json_object_is_a_sentence(url: str) -> None:
    for body in (b"[]", b"no", b"[" * 100_000, b"\xff", b'{"data": 1e400'):
        reply = request(url, JOIN, body)
        assert (reply[0], sentence(reply)) == (400, "The request is no JSON object.")


@pytest.mark.slow
def test_absent_visitors_do_not_hold_the_queue(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.server.waiting_room.ABSENT_TIME", 0.0)
    WORKING.clear()
    for visit in range(9):  # one at work, eight that fill the queue; nobody listens
        assert join(url, "slow", [1], f"absent-{visit}")[0] == 200
    time.sleep(0.05)
    present = threading.Thread(target=WORKING.set)
    assert join(url, "slow", [1], "present")[0] == 200
    present.start()
    text = answer(url, "present")
    assert "The server is busy" not in text
    assert '"success":true' in text


@pytest.mark.slow
def test_an_address_has_a_share_of_the_queue(url: str) -> None:
    WORKING.clear()
    streams: list[socket.socket] = []
    for number in range(6):
        sender = {"X_Forwarded_For": "192.0.2.7"}
        join(url, "slow", [1], f"crowd-{number}", **sender)
        if number < 5:
            streams.append(connect(url))
            path = f"/gradio_api/queue/data?session_hash=crowd-{number}"
            streams[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            time.sleep(0.05)  # the first one is at work before others come
    # Half of eight places are four; one more is at work.
    refused = answer(url, "crowd-5")
    assert "4 requests of yours wait, as many as one visitor may have." in refused
    assert join(url, "slow", [1], "other", X_Forwarded_For="192.0.2.8")[0] == 200
    WORKING.set()
    assert '"success":true' in answer(url, "other")
    for stream in streams:
        stream.close()


def test_nothing_failed_inside(log: io.StringIO) -> None:
    # The last of this file: no attack above ended in an error of the server.
    faults = [line for line in log.getvalue().splitlines() if '"fault"' in line]
    assert faults == []


def test_gradio_keeps_what_nobody_waits_for_only_so_long() -> None:
    assert gradio_queue.ABSENT_TIME < gradio_queue.LEFT_TIME <= gradio_queue.COLLECTION_TIME
