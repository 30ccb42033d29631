"""Marks that tell page.js what a visitor has chosen now, and what a result was computed from.

A result that comes when the visitor has chosen something else meanwhile is hidden.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass
class LatestRun:
    """The latest start on the tab for several images: a mark of the choice, and a count of starts.

    Each visit has its own.
    """

    mark: str = ""
    run: int = 0


def mark_current(html: str, *choice: Any) -> str:
    """Return HTML that stands in place of a result, marked with what the visitor has chosen now."""
    return f'<div data-now="{mark_of(choice)}">{html}</div>'


def mark_result(html: str, *choice: Any) -> str:
    """Return a result, marked with the choice that it was computed from."""
    return f'<div data-of="{mark_of(choice)}">{html}</div>'


def mark_of(choice: Any) -> str:
    """Return a short name of what a visitor has chosen: image or files first, then all else."""
    kind = "files" if isinstance(choice[0], list) else "image"
    return f"{kind}-{hashlib.sha256(repr(choice).encode()).hexdigest()[:16]}"
