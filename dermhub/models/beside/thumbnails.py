"""Small pictures of the cases of an index, in the order of its entries."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dermhub import tensors
from dermhub.arrays import Ints
from dermhub.errors import ModelError
from dermhub.images.view import InputSpec, view_box
from dermhub.layout import THUMBNAILS

SIDE = 96
"""Width and height of a thumbnail in pixels."""

QUALITIES = (70, 55, 40, 25, 10)
"""WebP qualities that are tried in turn until a thumbnail is small enough."""

LARGEST = 3000
"""Bytes of a thumbnail at most."""

START, KIND = b"RIFF", b"WEBP"
"""First four bytes of a WebP picture, and those from the ninth on."""


class Thumbnails:
    """N pictures as WebP files, one after the other in `content`; each of `ends` (N,) ends one."""

    def __init__(self, content: bytes, ends: Ints) -> None:
        self._content, self._ends = content, ends

    @classmethod
    def of(cls, pictures: Sequence[bytes]) -> Thumbnails:
        """Join pictures."""
        return cls(b"".join(pictures), np.cumsum([len(picture) for picture in pictures]))

    def __len__(self) -> int:
        return len(self._ends)

    def picture(self, place: int) -> bytes:
        """Return the picture of the case at that place, as the bytes of a WebP file."""
        start = int(self._ends[place - 1]) if place else 0
        return self._content[start : int(self._ends[place])]

    def to_bytes(self) -> bytes:
        """Return the content of thumbnails.safetensors: `pictures` (M,) uint8 and `ends` (N,)."""
        pictures = tensors.numbers(self._content, "|u1")
        return tensors.write({"pictures": pictures, "ends": self._ends.astype(np.int64)})

    @classmethod
    def from_bytes(cls, content: bytes, count: int, where: str = THUMBNAILS) -> Thumbnails:
        """Read what `to_bytes` made of `count` pictures.

        Raises ModelError, which names the file as `where`, for anything else.
        """
        arrays = tensors.read(content, where)
        pictures, ends = arrays.get("pictures"), arrays.get("ends")
        if pictures is not None and ends is not None and len(arrays) == 2:
            whole = pictures.dtype == np.uint8 and pictures.ndim == 1 and ends.dtype == np.int64
            sizes = np.diff(ends, prepend=0) if ends.shape == (count,) else np.zeros(1)
            if whole and (sizes > 0).all() and ends[-1] == len(pictures):
                thumbnails = cls(bytes(pictures), ends)
                if all(_is_webp(thumbnails.picture(place)) for place in range(count)):
                    return thumbnails
        raise ModelError(
            f"{where} does not hold the {count} WebP pictures of the similar cases: fetch the "
            "model again."
        )


def make(rgb: Image.Image) -> bytes:
    """Draw the thumbnail of an upright RGB image: its central square as a WebP file.

    Nothing but pixels of the image is in it. It takes at most `LARGEST` bytes.
    """
    box = view_box(rgb.size, InputSpec(SIDE))
    small = rgb.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
    # A picture of its own: the copy would keep colour profile and EXIF of the image.
    bare = Image.fromarray(np.asarray(small))
    content = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        bare.save(stream, "WEBP", quality=quality, method=6)
        content = stream.getvalue()
        if len(content) <= LARGEST:
            break
    return content


def _is_webp(picture: bytes) -> bool:
    return picture[:4] == START and picture[8:12] == KIND
