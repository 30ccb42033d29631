"""The head of a request: two lengths, and names that are longer than any honest client's."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from demo.gate.asgi import Message, header

LONGEST_ID = 128
"""Letters of a name that a client chooses for its visit or its upload; Gradio's own have 32."""

LONGEST_PATH = 4096
"""Bytes of a path with its query: the longest honest one names a file, with percent signs."""

MOST_FIELDS = 64
"""Header fields of a request; browsers send some 20."""

LONGEST_BOUNDARY = 70
"""Letters between the parts of an upload (RFC 2046, section 5.1.1)."""

_IN_PATHS = re.compile(r"/gradio_api/(?:heartbeat/|call/(?:v2/)?[^/]*/)(.+)$")
_NAMES = re.compile(r"[\w.:~-]+", re.ASCII)
_BOUNDARY = re.compile(rb'boundary=("[^"]*"?|[^;,\s]*)', re.IGNORECASE)


def problem(scope: Message) -> tuple[int, str] | None:
    """Return the status and sentence with which a request is refused by its head, or None."""
    names = [name for name, _ in scope["headers"]]
    if b"content-length" in names and b"transfer-encoding" in names:
        return 400, (
            "The request says in two ways how long it is: send a Content-Length or a "
            "Transfer-Encoding, not both."
        )
    if len(names) > MOST_FIELDS:
        return 431, f"The request has {len(names)} header fields, expected at most {MOST_FIELDS}."
    length = len(scope["path"]) + len(scope.get("query_string", b""))
    if length > LONGEST_PATH:
        return 414, f"The address has {length} letters, expected at most {LONGEST_PATH}."
    return _bad_name(scope) or _bad_boundary(scope)


def is_name(text: object) -> bool:
    """Tell whether a value may name a visit, an upload or an event."""
    return isinstance(text, str) and len(text) <= LONGEST_ID and _NAMES.fullmatch(text) is not None


def _bad_name(scope: Message) -> tuple[int, str] | None:
    query = scope.get("query_string", b"").decode("latin-1")
    names = [
        (name, value) for name, value in parse_qsl(query) if name in ("session_hash", "upload_id")
    ]
    in_path = _IN_PATHS.match(scope["path"])
    if in_path:
        names.append(("id", in_path[1].rstrip("/")))
    for name, value in names:
        if not is_name(value):
            return 400, bad_name(name, value)
    return None


def bad_name(field: str, value: object) -> str:
    """Say what is wrong with a value that should be a name."""
    if isinstance(value, str) and len(value) > LONGEST_ID:
        return f"The {field} has {len(value)} letters, expected at most {LONGEST_ID}."
    return f"The {field} is no name: expected letters, digits and hyphens."


def _bad_boundary(scope: Message) -> tuple[int, str] | None:
    kind = header(scope, b"content-type") or b""
    if not kind.lower().startswith(b"multipart/"):
        return None
    boundary = _BOUNDARY.search(kind)
    length = len(boundary[1].strip(b'"')) if boundary else 0
    if not 1 <= length <= LONGEST_BOUNDARY:
        return 400, (
            f"The boundary between the parts has {length} letters, expected 1 to "
            f"{LONGEST_BOUNDARY}."
        )
    return None
