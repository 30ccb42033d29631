"""The door in front of Gradio: health, paths that stay shut, limits of size, and headers.

It is an ASGI application of its own, so that it answers from the first half second, while the
models are still loading.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from demo.server.event_log import EventLog
from demo.server.upload_folder import PrivateFolder

Message = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[Message]]

Send = Callable[[Message], Awaitable[None]]

App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_UPLOAD = 20 * 2**20
"""Bytes of one uploaded file."""

MAX_UPLOADS = 10 * MAX_UPLOAD
"""Bytes of all files of one request: a batch."""

MAX_BODY = 2**20
"""Bytes of any other request: it names files and choices, and never holds an image."""

MAX_TOOL = 2 * MAX_UPLOAD
"""Bytes of a request of an MCP client, which may hold an image as text."""

SHUT = re.compile(
    # Gradio would fetch an address for the visitor, keep a visit's images on disk under a link, or
    # edit its own code.
    r"/gradio_api/(file=/*\w+:/|proxy=|deep_link|stream/|process_recording|(undo-)?vibe|run-history|runs|profiling)"
    r"|/monitoring|/gradio_api/dev/"
)
"""Paths of Gradio that this server does not open."""

ANSWERS = re.compile(r"/gradio_api/(queue/data|call/(v2/)?[^/]+/[^/]+)$")
"""Streams that end when the answer has been given."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The page may ask nobody but this server.
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'",
    ),
)

LOADING = """<!doctype html><html lang="en"><head><meta charset="utf-8">\
<title>dermhub is loading</title>
<meta http-equiv="refresh" content="3"><meta name="viewport" content="width=device-width"></head>
<body style="font: 1.1em/1.5 sans-serif; max-width: 32em; margin: 4em auto; padding: 0 1em">
<h1>dermhub</h1><p role="status">{} This page looks again every three seconds.</p></body></html>"""

SENTENCES = {"loading": "The models are being loaded.", "stopping": "The server is stopping."}


class Door:
    """The application that the server runs, with Gradio's behind it as soon as `app` is set."""

    def __init__(self, event_log: EventLog, folder: PrivateFolder, version: str) -> None:
        self.state = "loading"
        self.models: Callable[[], dict[str, dict[str, str]]] = dict
        self.app: App | None = None
        self.answering = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._event_log, self._folder, self._version = event_log, folder, version
        self._began = time.monotonic()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def health(self) -> dict[str, Any]:
        """Return what /healthz tells: state, version, weights that answer, and the sweeper."""
        seconds = round(time.monotonic() - self._began, 1)
        return {
            "status": self.state,
            "version": self._version,
            "seconds": seconds,
            "models": self.models(),
            "sweeper": self._folder.sweeper.state(),
        }

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        self.loop = asyncio.get_running_loop()
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/healthz":
            await _reply(send, 200 if self.state == "ready" else 503, self.health())
        elif self.app is None or self.state == "loading":
            await _reply(
                send, 503, LOADING.format(SENTENCES.get(self.state, "")), "text/html; charset=utf-8"
            )
        elif SHUT.match(path):
            self._event_log.write("shut")
            await _reply(send, 403, {"detail": "This server does not offer that."})
        elif method == "POST" and path.rstrip("/") == "/gradio_api/upload":
            await self._upload(scope, receive, send)
        elif method == "POST" and (
            problem := _too_long(scope, MAX_TOOL if "/mcp" in path else MAX_BODY)
        ):
            await _reply(send, 413, {"detail": problem})
        else:
            await self._pass_on(scope, receive, send)

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        began, status = time.monotonic(), 0
        problem = _too_long(scope, MAX_UPLOADS)
        if not problem and await asyncio.to_thread(self._folder.is_full):
            problem = "The server has no room for more images now: try again in some minutes."

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if status != 413:
                await send(message)
            elif message["type"] == "http.response.start":
                await _reply(
                    send, 413, {"detail": "The file " + _LIMIT.format(MAX_UPLOAD // 2**20)}
                )

        if problem:
            status = 413
            await _reply(send, status, {"detail": problem})
        else:
            await self._pass_on(scope, receive, watched)
        length = int(_header(scope, b"content-length") or 0)
        outcome = "taken" if status == 200 else "refused"
        self._event_log.write(
            "upload", outcome=outcome, status=status, bytes=length, seconds=time.monotonic() - began
        )

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        private = scope["path"].startswith("/gradio_api/")

        async def adorned(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    pair
                    for pair in message.get("headers", ())
                    if not (private and pair[0] == b"cache-control")
                ]
                # Images and answers of a visit stay out of the browser's cache on disk.
                message["headers"] = [
                    *headers,
                    *HEADERS,
                    *([(b"cache-control", b"no-store")] if private else []),
                ]
            await send(message)

        assert self.app is not None
        counted = ANSWERS.match(scope["path"]) is not None
        self.answering += counted
        try:
            await self.app(scope, receive, adorned)
        finally:
            self.answering -= counted


_LIMIT = "has more than the {} MB that are accepted: scale the image down or save it as JPEG."


def _too_long(scope: Message, limit: int) -> str:
    """Say why a request is not read, or "": its length is announced before anything of it comes."""
    length = _header(scope, b"content-length")
    if length is None and _header(scope, b"transfer-encoding") is not None:
        return "The request does not say how long it is: send it with a Content-Length."
    return "The request " + _LIMIT.format(limit // 2**20) if int(length or 0) > limit else ""


def _header(scope: Message, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


async def _reply(send: Send, status: int, content: Any, kind: str = "application/json") -> None:
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    headers.append((b"cache-control", b"no-store"))
    if status == 503:
        headers.append((b"retry-after", b"3"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
