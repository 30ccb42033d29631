"""The small JSON bodies of Gradio's API: the names in them, before Gradio remembers any."""

from __future__ import annotations

import json
import re
from typing import Any

from demo.gate.request_head import bad_name, is_name

PATHS = re.compile(r"/gradio_api/(queue/join|cancel|reset|call/.+|run/.+|api/.+)$")
"""Paths that take a small JSON body."""

NAMES = ("session_hash", "event_id", "upload_id")

NOT_JSON = "The request is no JSON object."


def read(body: bytes) -> dict[str, Any] | str:
    """Read a body, or return the sentence with which it is refused."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return NOT_JSON
    if not isinstance(content, dict):
        return NOT_JSON
    for name in NAMES:
        value = content.get(name)
        if value is not None and not is_name(value):
            return bad_name(name, value)
    return content
