"""Pieces that hostile files of several containers share."""

from __future__ import annotations

import struct
import zlib


def mixed(*parts: bytes | tuple[bytes, int]) -> bytes:
    """Join parts, each once or as often as its number says."""
    return b"".join(part[0] * part[1] if isinstance(part, tuple) else part for part in parts)


# --- directories: EXIF and TIFF


def exif_bomb(tags: int, size: int) -> bytes:
    """EXIF of `tags` fields that all claim the same `size` bytes."""
    fields = b"".join(
        struct.pack("<HHII", 0x9000 + n if n < 0x6FFF else n - 0x6FFE, 7, size, 0)
        for n in range(tags)
    )
    head = b"II*\0" + struct.pack("<IH", 8, tags) + fields + bytes(4)
    return head + bytes(max(size - len(head), 0) + 16)


def deflated(size: int) -> bytes:
    """So many zero bytes, packed."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(2**24, size - n))) for n in range(0, size, 2**24)]
    return b"".join(parts) + packer.flush()
