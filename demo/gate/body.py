"""The body of a request: bytes are counted as they come, and have to come in time.

A length that a client announces is checked before anything is read, and never believed.
"""

from __future__ import annotations

import asyncio
import time

from demo.gate.asgi import CLOSE, App, Message, Receive, Send, header, refuse

SILENCE = 15.0
"""Seconds in which something more of a body has to come."""

PATIENCE = 30.0
"""Seconds that a body may take at any rate; then it has to have come with `RATE`."""

RATE = 32 * 2**10
"""Bytes a second that a body comes with at least, on average."""

LIMIT = "has more than the {} MB that are accepted: scale the image down or save it as JPEG."

SLOW = "The request came too slowly: send it again over a better connection."

NO_LENGTH = "The request does not say how long it is: send it with a Content-Length."


def too_long(scope: Message, limit: int) -> str:
    """Say why a body is not read, or "" where it is: it is longer than `limit` bytes, or it hides
    its length.
    """
    length = announced(scope)
    if length is None and header(scope, b"transfer-encoding") is not None:
        return NO_LENGTH
    return "The request " + LIMIT.format(limit // 2**20) if (length or 0) > limit else ""


def announced(scope: Message) -> int | None:
    """Return the bytes that a request says it has, None where it says nothing."""
    length = header(scope, b"content-length")
    return int(length) if length is not None and length.isdigit() else None


class Body:
    """Hands the body of a request on to an application, within `limit` bytes and within time.

    The application is told that the client has left as soon as a bound is passed, and what it then
    says is replaced by the refusal.
    """

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self.received = 0
        self.refusal: tuple[int, str] | None = None
        self._receive, self._send, self._limit = receive, send, limit
        self._began = time.monotonic()
        self._complete = self._answering = self._left = False

    async def run(self, app: App, scope: Message) -> None:
        """Run an application on the request, and refuse it where a bound was passed.

        Where the client left before all of its body had come, an error is no fault.
        """
        try:
            await app(scope, self._counted, self._watched)
        except Exception:
            if self.refusal is None and not self._left:
                raise
        if self.refusal is not None and not self._answering:
            await refuse(self._send, *self.refusal, (CLOSE,))

    async def read(self) -> bytes | None:
        """Return the whole body, None where it was refused or its sender has left."""
        parts = []
        while not self._complete:
            message = await self._counted()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
        return b"".join(parts)

    async def _counted(self) -> Message:
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._complete:
            # Waits for the client to leave, as long as the answer takes.
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._seconds_left())
        except TimeoutError:
            self.refusal = 408, SLOW
            return {"type": "http.disconnect"}
        self._left = message["type"] == "http.disconnect"
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self.received > self._limit:
                self.refusal = 413, "The request " + LIMIT.format(self._limit // 2**20)
                return {"type": "http.disconnect"}
        return message

    async def _watched(self, message: Message) -> None:
        if self.refusal is not None and not self._answering:
            return
        self._answering = True
        await self._send(message)

    def _seconds_left(self) -> float:
        elapsed = time.monotonic() - self._began
        return max(min(SILENCE, PATIENCE + self.received / RATE - elapsed), 0.0)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body that has been read, and then the client's own."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
