"""Marks by which the page tells a result of what is chosen now from one that comes late; see page.js."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass
class Newest:
    """What a visitor has chosen on the tab for several images, and how often they have started: one for each visit."""

    mark: str = ""
    run: int = 0


def now_of(html: str, *state: Any) -> str:
    """HTML that stands in place of a result, marked with what the visitor has chosen now (see page.js)."""
    return f'<div data-now="{mark_of(state)}">{html}</div>'


def result_of(html: str, *state: Any) -> str:
    """A result, marked with what it was computed from: page.js hides one that comes when that has changed."""
    return f'<div data-of="{mark_of(state)}">{html}</div>'


def mark_of(state: Any) -> str:
    """A short name of what a visitor has chosen: image or files first, then all else."""
    kind = "files" if isinstance(state[0], list) else "image"
    return f"{kind}-{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}"
