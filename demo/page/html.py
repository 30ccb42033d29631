"""Small pieces of HTML that every part of the page is made of. All text that is not ours is escaped
by its caller.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from PIL import Image

NOTICE = (
    "Research software, not a medical device. Do not use it to decide about a patient, or "
    "about yourself: see a doctor."
)
"""Stands beside every answer, also in what the API returns."""


BAR_HEAD = '<span class="derm-hidden">as a bar</span>'
"""Heading of a column of bars, which only repeats the one before it."""


def note(text: str) -> str:
    """A calm line in place of a result."""
    return f'<p class="derm-note">{escape(text)}</p>'


def problem(message: str) -> str:
    """A message in place of an answer."""
    return (
        f'<div class="derm-problem" role="alert" data-say="No answer. {escape(message)}">'
        f"<strong>No answer.</strong> {escape(message)}</div>"
    )


def bar(value: float, mark: float | None = None) -> str:
    """A bar for a share from 0 to 1, with a tick at `mark`. It repeats a figure in the text, so
    readers skip it.
    """
    tick = "" if mark is None else f'<b style="left:calc({mark:.2%} - 1px)"></b>'
    return f'<span class="bar" aria-hidden="true"><i style="width:{value:.2%}"></i>{tick}</span>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells, the first of each row its heading. It can be scrolled sideways where
    it is too wide.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        '<div class="derm-wide" tabindex="0" role="region" '
        f'aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def either(names: Sequence[str]) -> str:
    """Names joined for people: "a", "a or b", "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def data_uri(image: Image.Image, kind: str) -> str:
    """A picture as an address that holds it: "PNG" or "JPEG"; nothing is written to disk."""
    stream = io.BytesIO()
    # The copy carries no EXIF, no ICC profile, no file name of the upload, and no comment, which
    # Pillow would keep.
    image.save(stream, kind, **({"quality": 88, "comment": b""} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


@dataclass
class Newest:
    """What a visitor has chosen on the tab for several images, and how often they have started: one
    for each visit.
    """

    mark: str = ""
    run: int = 0


def now_of(html: str, *state: Any) -> str:
    """HTML that stands in place of a result, marked with what the visitor has chosen now (see
    page.js).
    """
    return f'<div data-now="{mark_of(state)}">{html}</div>'


def result_of(html: str, *state: Any) -> str:
    """A result, marked with what it was computed from: page.js hides one that comes when that has
    changed.
    """
    return f'<div data-of="{mark_of(state)}">{html}</div>'


def mark_of(state: Any) -> str:
    """A short name of what a visitor has chosen: image or files first, then all else."""
    kind = "files" if isinstance(state[0], list) else "image"
    return f"{kind}-{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}"
