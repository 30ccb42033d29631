"""Types of ASGI, and a short answer: what every layer in front of Gradio speaks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[Message]]

Send = Callable[[Message], Awaitable[None]]

App = Callable[[Message, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]

HTML = "text/html; charset=utf-8"

CLOSE: Header = (b"connection", b"close")
"""Ends the connection with the answer: what else the client sends on it is not read."""


def header(scope: Message, name: bytes) -> bytes | None:
    """Return the first value of a header by its name in lower case, None without one."""
    return next((value for key, value in scope["headers"] if key == name), None)


async def reply(
    send: Send,
    status: int,
    content: Any,
    kind: str = "application/json",
    headers: tuple[Header, ...] = (),
) -> None:
    """Send a whole answer: text as it is, and everything else as JSON."""
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    fields = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    fields += [(b"cache-control", b"no-store"), *headers]
    if status == 503:
        fields.append((b"retry-after", b"3"))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, status: int, sentence: str, headers: tuple[Header, ...] = ()) -> None:
    """Send the sentence of a refusal, under `detail`, as Gradio's own refusals have it."""
    await reply(send, status, {"detail": sentence}, headers=headers)
