"""The part of an image file that a decoder is given, and the reasons to give it nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

SEVERAL = "is an animation or a stack of several frames, expected one still image."

DAMAGED = (
    "is damaged or cut short and can't be decoded; expected a whole image: copy or save it anew."
)

TWO_SIZES = "states two sizes for one picture; expected an ordinary image: save it anew."


@dataclass(frozen=True)
class Still:
    """One still image, in a file that holds its pixels and nothing else.

    Args:

        content: The file.
        orientation: How to turn the decoded image, as in EXIF 2.32, tag 0x0112; 1: not at all.
        kind: The kind of its pixels and what to do about it, for the refusal if the decoder knows
            no such pixels ("a TIFF with 5 channel(s) ...; save it as PNG").
        equal, unequal: For a file without its end, two further versions of `content`, else "".
            `equal` decodes to the same pixels where none is missing, and `unequal` to others where
            nothing but pixels stands at the end.
        compressed: "JPEG" or "WebP" for one that is compressed strongly, else "".
        opener: Opens `content` without decoding it, where Pillow alone does not read it. Raises
            RefusedError where a package is missing.
    """

    content: bytes
    orientation: int = 1
    kind: str = ""
    equal: bytes = b""
    unequal: bytes = b""
    compressed: str = ""
    opener: Callable[[bytes], Image.Image] | None = None


class RefusedError(Exception):
    """A file that is not decoded; the text follows the file's name in the refusal."""


def costly(what: str) -> RefusedError:
    """Refuse a file that would keep a decoder busy; `what` names it ("a GIF of ...")."""
    return RefusedError(
        f"is {what}, made to be slow to read; expected an ordinary image: save it anew."
    )
