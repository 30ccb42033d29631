"""BMP: packed rows are unpacked by slow code, so that a packed BMP must be small."""

from __future__ import annotations

import struct

from dermhub.images.containers.still import RefusedError, Still

MOST_PACKED = 1_000_000
"""Accepted bytes of a BMP of packed rows, which Pillow unpacks run by run in Python."""

MOST_PIXELS = 2_000_000
"""Accepted pixels of such a BMP: Pillow fills a short row pixel by pixel."""

_PACKED = (1, 2)
"""BI_RLE8 and BI_RLE4 of the header's field biCompression."""


def still(content: bytes) -> Still:
    """Hand a BMP on as it is; one of packed rows is refused if it is large."""
    head = content[14:34]
    if len(head) == 20:
        # The header's length, width, height, planes, bits a pixel, and compression.
        size, width, height, _, _, packing = struct.unpack("<IiiHHI", head)
        large = len(content) > MOST_PACKED or abs(width * height) > MOST_PIXELS
        if size >= 40 and packing in _PACKED and large:
            raise RefusedError(
                "is a BMP of packed rows (RLE) with more than "
                f"{MOST_PIXELS // 1_000_000} million pixels or {MOST_PACKED // 1_000_000} MB; "
                "expected a smaller one: save it as PNG."
            )
    return Still(content)
