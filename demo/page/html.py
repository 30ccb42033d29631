"""Pieces of HTML that every part of the page is made of. Callers escape what is not our text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

NOTICE = (
    "Research software, not a medical device. Do not use it to decide about a patient, or about "
    "yourself: see a doctor."
)
"""Stands beside every answer, also in what the API returns."""

BAR_HEAD = '<span class="derm-hidden">as a bar</span>'
"""Heading of a column of bars, which only repeats the one before it."""


def note(text: str) -> str:
    """Return a calm line that stands in place of a result."""
    return f'<p class="derm-note">{escape(text)}</p>'


def problem(message: str) -> str:
    """Return a message that stands in place of an answer."""
    return (
        f'<div class="derm-problem" role="alert" data-say="No answer. {escape(message)}">'
        f"<strong>No answer.</strong> {escape(message)}</div>"
    )


def bar(value: float, mark: float | None = None) -> str:
    """Return a bar for a share from 0 to 1, with a tick at `mark`.

    It repeats a figure of the text, so that screen readers skip it.
    """
    tick = "" if mark is None else f'<b style="left:calc({mark:.2%} - 1px)"></b>'
    return f'<span class="bar" aria-hidden="true"><i style="width:{value:.2%}"></i>{tick}</span>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of HTML cells, the first of each row its heading.

    It can be scrolled sideways where it is too wide.
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
    """Join names for people: "a", "a or b", "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def data_uri(image: Image.Image, kind: str) -> str:
    """Return an address that holds a picture itself, as "PNG" or "JPEG"; no file is written."""
    stream = io.BytesIO()
    # The copy carries no EXIF, no ICC profile, no file name of the upload, and no comment, which
    # Pillow would keep.
    image.save(stream, kind, **({"quality": 88, "comment": b""} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
