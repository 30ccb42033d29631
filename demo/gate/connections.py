"""Connections: how many there may be, and how long one may be silent before its request is whole.

uvicorn bounds neither. Importing this imports uvicorn.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from demo.gate.visitor import Shares, household

HEAD_TIME = 10.0
"""Seconds in which the head of a request has to come, after the connection or the last answer."""

STALL = 30.0
"""Seconds in which a client has to take some of an answer that is too long for the buffers."""

MOST_EACH = 512
"""Connections of one address; a proxy on this machine brings those of many."""

BACKLOG = 128
"""Connections that the system keeps until they are accepted, and that are accepted at a time."""


class Connections:
    """All connections of a server.

    When there are too many, the one that has been silent for longest makes room for the new one; a
    new one is closed where all others are being answered, or where its address has its share.
    """

    def __init__(self, most: int) -> None:
        self.shares = Shares(most, min(MOST_EACH, most // 2))
        self.silent: dict[Connection, None] = {}
        """Connections without a whole request, the one that has waited for longest first."""

    def admit(self, connection: Connection) -> bool:
        """Take a connection in, False where it has to close."""
        if not self.shares.has_share(connection.address):
            return False
        if not self.shares.has_room(connection.address):
            oldest = next(iter(self.silent), None)
            if oldest is None:
                return False
            oldest.cut()
        self.shares.take(connection.address)
        self.silent[connection] = None
        return True

    def forget(self, connection: Connection) -> None:
        """Give the place of a connection to others."""
        self.silent.pop(connection, None)
        self.shares.give_back(connection.address)

    def protocol(self) -> type[Connection]:
        """Return the class of these connections, as uvicorn asks for it."""

        class OfThisServer(Connection):
            of_server = self

        return OfThisServer


class Connection(H11Protocol):
    """A connection that is closed where the head of a request does not come in time.

    So is one whose answer is not taken: it would hold a place for as long as its client likes.
    """

    of_server: ClassVar[Connections]

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.address: str | None = None
        self._admitted = False
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or close at once where there are too many."""
        super().connection_made(transport)
        self.address = household(self.client[0]) if self.client else None
        self._admitted = self.of_server.admit(self)
        if self._admitted:
            self._wait_for_head()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the time for a head ends when it is whole."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.cycle.response_complete:
            self._head_has_come()

    def on_response_complete(self) -> None:
        """Wait for the next request, and for no more of a body that nobody reads."""
        self._wait_for_head()
        before = self.cycle
        super().on_response_complete()
        if self.cycle is not before:  # the next one had come already
            self._head_has_come()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._head_has_come()
        self._goes_on()
        if self._admitted:
            self._admitted = False
            self.of_server.forget(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait until the client has taken most of what was written, but not for ever."""
        super().pause_writing()
        self._goes_on()
        self._stalled = self.loop.call_later(STALL, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        self._goes_on()

    def cut(self) -> None:
        """Close the connection at once and make room for another."""
        if self._admitted:
            self._admitted = False
            self.of_server.forget(self)
        self.transport.abort()

    def _goes_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _wait_for_head(self) -> None:
        self._head_has_come()
        if self._admitted:
            self.of_server.silent[self] = None
            self._deadline = self.loop.call_later(HEAD_TIME, self.transport.abort)

    def _head_has_come(self) -> None:
        self.of_server.silent.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
