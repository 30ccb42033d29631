"""WebP: the chunks that hold pixels (RFC 9649, section 2)."""

from __future__ import annotations

from dermhub.images.containers.orientation import orientation
from dermhub.images.containers.still import SEVERAL, RefusedError, Still, costly

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
    """Reduce a WebP to its pixels; colour profile, EXIF, XMP and unknown chunks are left out."""
    kept: list[bytes] = []
    length = 4
    exif = xmp = b""
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
        frames += kind == _FRAME
        if frames > 1:
            raise RefusedError(SEVERAL)
        place = following
    else:
        raise costly(f"a WebP of more than {MOST_CHUNKS:,} chunks")
    # Lengths are stated as they were: a file that was cut short stays so.
    head = b"RIFF" + min(length, 0xFFFF_FFFF).to_bytes(4, "little") + b"WEBP"
    return Still(b"".join([head, *kept]), orientation(exif, xmp))
