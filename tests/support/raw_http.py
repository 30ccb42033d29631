"""Requests that no honest client sends, by a socket: bytes out, status and text back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

Reply = tuple[int, dict[str, str], str]

NOTHING: Reply = (0, {}, "")
"""What comes from a connection that was closed without an answer."""


def connect(url: str, source: str = "127.0.0.1", timeout: float = 10) -> socket.socket:
    """Open a connection, from any of this machine's own addresses."""
    place = urlsplit(url)
    assert place.hostname is not None
    return socket.create_connection(
        (place.hostname, place.port or 80), timeout=timeout, source_address=(source, 0)
    )


def read(connection: socket.socket) -> Reply:
    """Read one answer: status, headers in lower case, and text."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return NOTHING
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        # Without a length, an answer ends with the connection.
        while len(body) < int(headers.get("content-length", len(body) + 1)):
            more = connection.recv(65536)
            if not more:
                break
            body += more
    except ConnectionError:
        return NOTHING
    return int(first.split()[1]), headers, body.decode("utf-8", "replace")


def send(url: str, *pieces: bytes, source: str = "127.0.0.1", timeout: float = 10) -> Reply:
    """Send pieces of one request and return its answer, also where it comes before the end."""
    with connect(url, source, timeout) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except ConnectionError:
                break
        return read(connection)


def request(
    url: str,
    path: str,
    body: bytes | None = None,
    kind: str = "application/json",
    method: str = "",
    **headers: str,
) -> Reply:
    """Send a well-formed request; headers are named with _ for -."""
    fields = {"Host": urlsplit(url).netloc, "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        fields |= {"Content-Length": str(len(body)), "Content-Type": kind}
    method = method or ("GET" if body is None else "POST")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return send(url, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))


def post_json(url: str, path: str, content: Any, **headers: str) -> Reply:
    """Post a value as JSON."""
    return request(url, path, json.dumps(content).encode(), **headers)


def form(parts: Iterable[tuple[str, bytes]], boundary: str = "B") -> tuple[bytes, str]:
    """A multipart body and its kind; each part is what follows "form-data; ", and its content."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for head, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def sentence(reply: Reply) -> str:
    """The sentence of a refusal."""
    return str(json.loads(reply[2])["detail"])
