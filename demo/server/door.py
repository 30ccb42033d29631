"""The door in front of Gradio: health, paths that stay shut, limits of size, and headers.

It is an ASGI application of its own, so that it answers from the first half second, while the
models are still loading.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs

from demo.gate import json_body, request_head
from demo.gate.asgi import (
    CLOSE,
    HTML,
    App,
    Header,
    Message,
    Receive,
    Send,
    refuse,
    reply,
)
from demo.gate.body import LIMIT, Body, announced, replay, too_long
from demo.gate.in_flight import TOO_MANY, InFlight
from demo.gate.same_origin import Names
from demo.gate.sign_in import SignIn
from demo.gate.visitor import address_of
from demo.server.event_log import EventLog
from demo.server.upload_folder import PrivateFolder
from demo.server.upload_room import Reservation

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
    # The token of Gradio's own accounts, and doors of components that the page does not have.
    r"|/gradio_api/(token|component_server|custom_component)(/|$)"
)
"""Paths of Gradio that this server does not open."""

ANSWERS = re.compile(r"/gradio_api/(queue/data|call/(v2/)?[^/]+/[^/]+)$")
"""Streams that end when the answer has been given."""

LOADING = """<!doctype html><html lang="en"><head><meta charset="utf-8">\
<title>dermhub is loading</title>
<meta http-equiv="refresh" content="3"><meta name="viewport" content="width=device-width"></head>
<body style="font: 1.1em/1.5 sans-serif; max-width: 32em; margin: 4em auto; padding: 0 1em">
<h1>dermhub</h1><p role="status">{} This page looks again every three seconds.</p></body></html>"""

SENTENCES = {"loading": "The models are being loaded.", "stopping": "The server is stopping."}


class Queue(Protocol):
    """Questions of the door to the queue of requests."""

    def listen(self, name: str) -> str:
        """Note that a client waits for a visit's or a request's answers; return the visit."""

    def leave(self, visit: str) -> None:
        """Note that a client does not wait any more."""

    def knows(self, event_id: str) -> bool:
        """Tell whether there is such a request."""

    def is_awaited(self, event_id: str) -> bool:
        """Tell whether a client waits for a request's answer."""

    def belongs_to(self, event_id: object, visit: object) -> bool:
        """Tell whether a request is a visit's, or is not there any more."""


class Door:
    """The application that the server runs, with Gradio's behind it as soon as `app` is set."""

    def __init__(
        self,
        event_log: EventLog,
        folder: PrivateFolder,
        version: str,
        names: Names | None = None,
        sign_in: SignIn | None = None,
        in_flight: InFlight | None = None,
        framers: str = "'self'",
    ) -> None:
        """`framers` are the sites that may show the page in a frame, as CSP has them."""
        self.state = "loading"
        self.models: Callable[[], dict[str, dict[str, str]]] = dict
        self.app: App | None = None
        self.queue: Queue | None = None
        self.answering = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.names = names or Names(local=True)
        self.sign_in = sign_in
        self._event_log, self._folder, self._version = event_log, folder, version
        self._in_flight = in_flight or InFlight()
        self._headers = _headers(framers)
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
        send = self._adorned(scope, send)
        problem = request_head.problem(scope) or self.names.problem(scope)
        if problem:
            self._event_log.write("refused", status=problem[0])
            await refuse(send, *problem, (CLOSE,))
        elif scope["path"] == "/healthz":
            await reply(send, 200 if self.state == "ready" else 503, self._health_for(scope))
        elif self.app is None or self.state == "loading":
            await reply(send, 503, LOADING.format(SENTENCES.get(self.state, "")), HTML)
        elif SHUT.match(scope["path"]):
            self._event_log.write("shut")
            await refuse(send, 403, "This server does not offer that.")
        elif not self._in_flight.enter(scope):
            await refuse(send, 429, TOO_MANY, (CLOSE,))
        else:
            try:
                if self.sign_in is None or await self.sign_in.let_pass(scope, receive, send):
                    await self._let_in(scope, receive, send)
            finally:
                self._in_flight.leave(scope)

    async def _let_in(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"].rstrip("/"), scope["method"]
        # Gradio fails on a Range of several parts. Nothing here is long: everybody gets the whole.
        scope["headers"] = [h for h in scope["headers"] if h[0] != b"range"]
        if not self.names.believed(scope):
            scope["headers"] = [h for h in scope["headers"] if h[0] != b"x-forwarded-host"]
        if method in ("GET", "HEAD"):
            await self._pass_on(scope, receive, send)
        elif method == "POST" and path == "/gradio_api/upload":
            await self._upload(scope, receive, send)
        elif method == "POST" and path.startswith("/gradio_api/mcp"):
            await self._tool(scope, receive, send)
        elif problem := too_long(scope, MAX_BODY):
            await refuse(send, 413, problem)
        elif method == "POST" and json_body.PATHS.match(path):
            await self._small(scope, receive, send)
        else:
            await Body(receive, send, MAX_BODY).run(self._pass_on, scope)

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        problem = too_long(scope, MAX_UPLOADS)
        size = announced(scope) or 0
        reserved = problem or self._folder.room.reserve(address_of(scope), size)
        status = 413
        if isinstance(reserved, str):
            await refuse(send, status, reserved)
        else:
            # Its short answer is read here, so that it has to come uncompressed.
            scope["headers"] = [h for h in scope["headers"] if h[0] != b"accept-encoding"]
            answer = _UploadAnswer(send)
            body = Body(receive, answer.send, MAX_UPLOADS)
            try:
                await body.run(self._pass_on, scope)
            finally:
                status = answer.status
                self._settle(reserved, answer)
        outcome = "taken" if status == 200 else "refused"
        self._event_log.write(
            "upload", outcome=outcome, status=status, bytes=size, seconds=time.monotonic() - began
        )

    def _settle(self, reserved: Reservation, answer: _UploadAnswer) -> None:
        if answer.status == 200:
            self._folder.room.keep(reserved, answer.files())
        else:
            self._folder.room.give_back(reserved)

    async def _tool(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request of an MCP client on; images in it become files in the folder."""
        problem = too_long(scope, MAX_TOOL)
        reserved = problem or self._folder.room.reserve(address_of(scope), announced(scope) or 0)
        if isinstance(reserved, str):
            await refuse(send, 413, reserved)
            return
        # The tools ask this server in turn, with the same headers: for whom, is not to be lost.
        address = address_of(scope)
        if address is not None:
            sender = (b"x-forwarded-for", address.partition("/")[0].encode())
            scope["headers"] = [h for h in scope["headers"] if h[0] != sender[0]] + [sender]
        try:
            await Body(receive, send, MAX_TOOL).run(self._pass_on, scope)
        finally:
            self._folder.room.keep(reserved, 1)

    async def _small(self, scope: Message, receive: Receive, send: Send) -> None:
        body = Body(receive, send, MAX_BODY)
        read = await body.read()
        if read is None:
            if body.refusal is not None:
                await refuse(send, *body.refusal, (CLOSE,))
            return
        content = json_body.read(read)
        if isinstance(content, str):
            await refuse(send, 400, content)
        elif scope["path"].startswith("/gradio_api/cancel") and not self._may_cancel(content):
            await refuse(send, 403, "Only who sent a request can cancel it.")
        else:
            await self._pass_on(scope, replay(read, receive), send)

    def _may_cancel(self, content: dict[str, Any]) -> bool:
        return self.queue is None or self.queue.belongs_to(
            content.get("event_id"), content.get("session_hash")
        )

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        assert self.app is not None
        if not ANSWERS.match(scope["path"]) or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        name = _awaited(scope)
        if "/call/" in scope["path"] and self.queue is not None:
            # Gradio breaks such a stream off in its middle.
            if not self.queue.knows(name):
                await refuse(send, 404, "There is no such request, or its answer was fetched.")
                return
            if self.queue.is_awaited(name):
                await refuse(send, 409, "Another connection waits for this answer already.")
                return
        self.answering += 1
        visit = self.queue.listen(name) if self.queue is not None else name
        try:
            await self.app(scope, receive, send)
        finally:
            self.answering -= 1
            if self.queue is not None:
                self.queue.leave(visit)

    def _health_for(self, scope: Message) -> dict[str, Any]:
        health = self.health()
        if self.sign_in is not None and not self.sign_in.knows(scope):
            del health["models"]
        return health

    def _adorned(self, scope: Message, send: Send) -> Send:
        private = scope["path"].startswith("/gradio_api/")

        async def adorned(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    pair
                    for pair in message.get("headers", ())
                    if not pair[0].lower().startswith(b"access-control-")
                    and not (private and pair[0].lower() == b"cache-control")
                ]
                # Images and answers of a visit stay out of the browser's cache on disk.
                no_store = [(b"cache-control", b"no-store")] if private else []
                message["headers"] = [*headers, *self._headers, *no_store]
            await send(message)

        return adorned


class _UploadAnswer:
    """Gradio's answer to an upload: it is told in words where the upload was refused."""

    def __init__(self, send: Send) -> None:
        self.status = 0
        self._send = send
        self._text = b""
        self._start: Message = {}

    async def send(self, message: Message) -> None:
        """Pass a message of the answer on, or put a sentence in the place of a refusal."""
        if message["type"] == "http.response.start":
            self.status, self._start = message["status"], message
            if self.status < 400:
                await self._send(message)
            return
        self._text += message.get("body", b"")
        if self.status < 400:
            await self._send(message)
        elif not message.get("more_body", False):
            await refuse(self._send, self.status, self._sentence())

    def files(self) -> int:
        """Return how many files have come."""
        try:
            return len(json.loads(self._text))
        except (ValueError, TypeError):
            return 1

    def _sentence(self) -> str:
        if self.status == 413:
            detail = self._detail()
            return detail if detail.startswith("The request") else _FILE
        return self._detail() or "The upload could not be read: send it again."

    def _detail(self) -> str:
        text = self._text.decode("utf-8", "replace")
        try:
            detail = json.loads(text)["detail"]
        except (ValueError, KeyError, TypeError):
            return text
        return detail if isinstance(detail, str) else ""


_FILE = "The file " + LIMIT.format(MAX_UPLOAD // 2**20)


def _awaited(scope: Message) -> str:
    """Return the visit or the request whose answers a stream waits for."""
    if "/call/" in scope["path"]:
        return str(scope["path"]).rpartition("/")[2]
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("session_hash", [""])[0]


def _headers(framers: str) -> tuple[Header, ...]:
    # The page may ask nobody but this server.
    policy = (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
        f"form-action 'self'; frame-ancestors {framers}"
    )
    return (
        (b"x-content-type-options", b"nosniff"),
        # Other servers learn nothing; to this one, a form has to say which site's page it is of.
        (b"referrer-policy", b"same-origin"),
        (b"content-security-policy", policy.encode()),
    )
