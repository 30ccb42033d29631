"""HTML of the page: templates filled with plain values, pictures that hold themselves, messages.

Every value is escaped by the templates (Jinja2, which Gradio brings along), so that no text of an
upload becomes HTML.
"""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

NOTICE = (
    "Research software, not a medical device. Do not use it to decide about a patient, or about "
    "yourself: see a doctor."
)
"""Stands beside every answer, also in what the API returns."""

CANT_OPEN = "We couldn't open this file"
"""Title for a file that is no usable image."""

NO_ANSWER = "No answer"
"""Title for all else that keeps the page from answering."""

SMALL = 10_000
"""Pixels of a picture up to which it isn't compressed."""


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def fill(template: str, **values: Any) -> str:
    """Fill a template of `templates/` with plain values; they are escaped there."""
    return _templates().get_template(template).render(**values)


def problem(message: str, title: str = NO_ANSWER) -> str:
    """Return a message that stands in place of an answer."""
    return fill("problem.html.jinja", title=title, message=message)


def palette_uri(levels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> str:
    """Return an address that holds a picture itself, as a PNG with a palette.

    `levels` (H, W) are places in the `palette` of at most 256 RGBA colours, (N, 4). Small ones are
    stored as they are: an answer holds dozens of maps, and compressing them costs much time and
    saves few bytes.
    """
    height, width = levels.shape
    # Each line begins with the number of its filter, 0 for none (PNG specification, section 9).
    lines = np.zeros((height, width + 1), np.uint8)
    lines[:, 1:] = levels
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette[:, :3].tobytes()),
        (b"tRNS", palette[:, 3].tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 0 if levels.size <= SMALL else 1)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def data_uri(image: Image.Image, kind: str) -> str:
    """Return an address that holds a picture itself, as "PNG" or "JPEG"; no file is written."""
    stream = io.BytesIO()
    # The copy carries no EXIF, no ICC profile, no file name of the upload, and no comment, which
    # Pillow would keep.
    image.save(stream, kind, **({"quality": 88, "comment": b""} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
