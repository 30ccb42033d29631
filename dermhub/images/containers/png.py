"""PNG: the chunks that hold pixels (PNG specification, third edition, section 11.2)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from dermhub.images.containers.orientation import MOST_XMP, orientation
from dermhub.images.containers.still import SEVERAL, RefusedError, Still, costly

START = b"\x89PNG\r\n\x1a\n"

MOST_CHUNKS = 100_000
"""Accepted chunks. Encoders write pixels in chunks of 8 KB or more: 25,000 for the largest file."""

MOST_SLOW = 32_000_000
"""Accepted pixels of a PNG that is interlaced, or has colours of 16 bits."""

COLOURS = (2, 4, 6)
"""Types of colour with more than one number a pixel."""

MOST_FRAMES = 0x8000_0000

_HEADER = struct.Struct(">IIBB2xB")
"""Width, height, bits, type of colour, and interlacing."""

HEADERS = (b"IHDR", b"PLTE", b"tRNS")
"""Types of chunks that are kept as they are, in their order; pixels follow."""

_END = b"\0\0\0\0IEND\xaeB`\x82"

_XMP = b"XML:com.adobe.xmp"
_EXIF = b"Raw profile type exif"


def still(content: bytes) -> Still:
    """Reduce a PNG to header, palette, transparency and one chunk of compressed pixels.

    Comments, colour profiles and unknown chunks may be as large or as broken as they like.
    """
    kept: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    texts: dict[bytes, tuple[bytes, bytes]] = {}
    exif = b""
    frames, listed = 0, False
    for kind, place, end in _chunks(content):
        if kind == b"IDAT":
            pixels.append(content[place:end])
        elif kind == b"eXIf":
            exif = content[place:end]
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            for key in (_XMP, _EXIF):
                if content.startswith(key + b"\0", place):
                    texts[key] = kind, content[place + len(key) + 1 : end]
        elif pixels:
            continue
        elif kind in HEADERS:
            kept[kind] = content[place - 8 : end + 4]
        elif kind == b"acTL":
            frames = int.from_bytes(content[place : place + 4], "big")
        elif kind == b"fcTL":
            listed = True
    # An image before the first frame is one frame more.
    if 0 < frames <= MOST_FRAMES and (frames > 1 or not listed):
        raise RefusedError(SEVERAL)
    _check(kept.get(b"IHDR", b"")[8:])
    body = [kept[kind] for kind in HEADERS if kind in kept]
    # Without a header there is nothing to decode, whatever else there is.
    body = [*body, *_chunk(b"IDAT", pixels), _END] if b"IHDR" in kept else []
    text, xmp = (_text(*texts.get(key, (b"tEXt", b""))) for key in (_EXIF, _XMP))
    turn = orientation(exif or _hexadecimal(text), xmp)
    return Still(b"".join([START, *body]), turn)


def _check(header: bytes) -> None:
    """Refuse an image that is too large for the way in which it is stored."""
    if len(header) < _HEADER.size:
        return
    width, height, bits, colour, interlaced = _HEADER.unpack_from(header)
    kind = "an interlaced PNG" if interlaced else "a PNG with colours of 16 bits"
    if (interlaced or (bits == 16 and colour in COLOURS)) and width * height > MOST_SLOW:
        raise RefusedError(
            f"({width} x {height} pixels) has more than the {MOST_SLOW // 1_000_000} million "
            f"pixels that are accepted of {kind}; scale it down first."
        )


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, place of the data, their end) of each chunk up to the end of the image."""
    place = len(START)
    for _ in range(MOST_CHUNKS):
        kind = content[place + 4 : place + 8]
        if len(kind) < 4 or kind == b"IEND":
            return
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        yield kind, place + 8, min(end, len(content))
        # Four bytes of checksum follow.
        place = end + 4
    raise costly(f"a PNG of more than {MOST_CHUNKS:,} chunks")


def _chunk(kind: bytes, parts: list[bytes]) -> list[bytes]:
    """Write a chunk of joined parts, if there are any."""
    if not parts:
        return []
    check = zlib.crc32(kind)
    for part in parts:
        check = zlib.crc32(part, check)
    length = sum(len(part) for part in parts)
    return [length.to_bytes(4, "big"), kind, *parts, check.to_bytes(4, "big")]


def _text(kind: bytes, data: bytes) -> bytes:
    """Return the first megabyte of a text chunk, unpacked; `data` follow its keyword."""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = data[:1] == b"\1"
        # Flag and method of compression, then language and translated keyword, each ended by zero.
        data = data[2:].split(b"\0", 2)[-1]
    elif packed:
        data = data[1:]
    if not packed:
        return data[:MOST_XMP]
    try:
        return zlib.decompressobj().decompress(data, MOST_XMP)
    except zlib.error:
        return b""


def _hexadecimal(text: bytes) -> bytes:
    """Return the EXIF that ImageMagick writes as text: three lines of head, then digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""
