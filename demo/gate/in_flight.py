"""Requests and streams that are open at the same time, bounded for each address and for all."""

from __future__ import annotations

import re

from demo.gate.asgi import Message
from demo.gate.visitor import Shares, address_of

STREAM = re.compile(r"/gradio_api/(queue/data|upload_progress|mcp|call/(v2/)?[^/]+/[^/]+$)")
"""Paths whose answer stays open while something is waited for."""

HEARTBEAT = re.compile(r"/gradio_api/heartbeat/")
"""Path whose answer stays open as long as a page is."""

MOST = 4096
"""Connections at the same time, where the system grants as many descriptors."""

DESCRIPTORS_LEFT = 512
"""Descriptors of the process that connections leave to files, models, and connections that close.

A connection that is refused has been accepted first, and is closed two steps of the loop later.
"""

FEWEST = 64
"""Connections that there may be in any case."""

MOST_STREAMS_EACH = 256
"""Streams of one address: an open page has one or two."""

MOST_REQUESTS_EACH = 64
"""Other requests of one address that are open at the same time."""

TOO_MANY = "Too many requests of yours are open: wait for their answers, and try again."


def most_connections(descriptors: int) -> int:
    """Return how many connections a process with so many descriptors takes."""
    return max(min(MOST, descriptors - DESCRIPTORS_LEFT), FEWEST)


class InFlight:
    """The open requests of a server: pages, streams of answers, and all others."""

    def __init__(self, connections: int = MOST) -> None:
        """Bound them so that of so many connections some are always left to others."""
        quarter, eighth = connections // 4, connections // 8
        self._pages = Shares(quarter, min(MOST_STREAMS_EACH, eighth))
        self._streams = Shares(quarter, min(MOST_STREAMS_EACH, eighth))
        self._requests = Shares(quarter, min(MOST_REQUESTS_EACH, eighth))

    def shares(self, scope: Message) -> Shares:
        """Return the shares that a request counts in."""
        if scope["method"] == "GET" and HEARTBEAT.match(scope["path"]):
            return self._pages
        if scope["method"] == "GET" and STREAM.match(scope["path"]):
            return self._streams
        return self._requests

    def enter(self, scope: Message) -> bool:
        """Count a request in; False where it is one too many, for its sender or for all."""
        shares, address = self.shares(scope), address_of(scope)
        if not shares.has_room(address):
            return False
        shares.take(address)
        return True

    def leave(self, scope: Message) -> None:
        """Count a request out."""
        self.shares(scope).give_back(address_of(scope))
