"""Requests and streams that are open at the same time, bounded for each address and for all."""

from __future__ import annotations

import re

from demo.gate.asgi import Message
from demo.gate.visitor import Shares, address_of

STREAM = re.compile(
    r"/gradio_api/(heartbeat/|queue/data|upload_progress|mcp|call/(v2/)?[^/]+/[^/]+$)"
)
"""Paths whose answer stays open while something is waited for."""

TOO_MANY = "Too many requests of yours are open: wait for their answers, and try again."


class InFlight:
    """The open requests of a server: streams, which cost little, and all others."""

    def __init__(self) -> None:
        self._streams, self._requests = Shares(2000, 256), Shares(512, 64)

    def shares(self, scope: Message) -> Shares:
        """Return the shares that a request counts in."""
        stream = scope["method"] == "GET" and STREAM.match(scope["path"]) is not None
        return self._streams if stream else self._requests

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
