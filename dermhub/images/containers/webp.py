"""WebP: the chunks that hold pixels (RFC 9649, section 2)."""

from __future__ import annotations

from dermhub.images.containers.compression import MOST_WEBP, webp_index
from dermhub.images.containers.orientation import orientation
from dermhub.images.containers.still import SEVERAL, RefusedError, Still, costly

MOST_PIXELS = 13_000_000
"""Accepted pixels: the decoder holds the whole image four times, at four bytes a pixel.

A phone's photograph has 12.2 million.
"""

MOST_CHUNKS = 1000
"""Accepted chunks; a still image has at most eight that anybody knows."""

PIXELS = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM")
"""Types of chunks that are kept as they are."""

FLAGS = 0x12
"""Flags of the extended header that are kept: transparency and animation."""

_FRAME = b"ANMF"
_HEADER = b"VP8X"


def is_webp(content: bytes) -> bool:
    """Recognise a WebP by its first bytes."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def still(content: bytes) -> Still:
    """Reduce a WebP to its pixels; colour profile, EXIF, XMP and unknown chunks are left out.

    One that is too large is refused here: its decoder takes the memory before it tells the size.
    """
    kept: list[bytes] = []
    length = 4
    exif = xmp = b""
    strong = ""
    frames = 0
    place = 12
    end = min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    for _ in range(MOST_CHUNKS):
        if place + 8 > end:
            break
        kind = content[place : place + 4]
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        following = place + 8 + size + size % 2
        chunk = content[place : min(following, end)]
        if kind == b"EXIF":
            exif = exif or chunk[8:]
        elif kind == b"XMP ":
            xmp = xmp or chunk[8:]
        elif kind == _HEADER:
            kept.append(chunk[:8] + bytes([b & FLAGS for b in chunk[8:9]]) + chunk[9:])
            length += following - place
        elif kind in PIXELS or kind == _FRAME:
            kept.append(chunk)
            length += following - place
        _check_size(kind, chunk[8:18])
        if kind == b"VP8 " and (webp_index(chunk[8:]) or 0) > MOST_WEBP:
            strong = "WebP"
        frames += kind == _FRAME
        if frames > 1:
            raise RefusedError(SEVERAL)
        place = following
    else:
        raise costly(f"a WebP of more than {MOST_CHUNKS:,} chunks")
    # Lengths are stated as they were: a file that was cut short stays so.
    head = b"RIFF" + min(length, 0xFFFF_FFFF).to_bytes(4, "little") + b"WEBP"
    return Still(b"".join([head, *kept]), orientation(exif, xmp), compressed=strong)


def _check_size(kind: bytes, head: bytes) -> None:
    """Refuse a chunk that states too many pixels; `head` are its first ten bytes."""
    if len(head) < 10:
        return
    width, height = 0, 0
    if kind == _HEADER:
        # Two numbers of 24 bits, after flags and three bytes: each is one less than a side.
        width = int.from_bytes(head[4:7], "little") + 1
        height = int.from_bytes(head[7:10], "little") + 1
    elif kind == b"VP8L":
        # Two numbers of 14 bits, each one less than a side, after a byte that is always the same.
        sides = int.from_bytes(head[1:5], "little")
        width, height = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        # Two numbers of 14 bits, below two bits of scale, after six bytes (RFC 6386, section 9.1).
        width = int.from_bytes(head[6:8], "little") & 0x3FFF
        height = int.from_bytes(head[8:10], "little") & 0x3FFF
    if width * height > MOST_PIXELS:
        raise RefusedError(
            f"({width} x {height} pixels) has more than the {MOST_PIXELS // 1_000_000} million "
            "pixels that are accepted of a WebP; scale it down first."
        )
