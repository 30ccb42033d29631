"""TIFF and BigTIFF: a directory anew, of the fields that a decoder needs (TIFF 6.0, section 8).

Fields may claim the same megabytes thousands of times, and Pillow reads each of them.
"""

from __future__ import annotations

import struct

from dermhub.images.containers import jpeg
from dermhub.images.containers.ifd import ORIENTATION, SIZES, Directory, first_directory
from dermhub.images.containers.orientation import MOST_XMP, orientation
from dermhub.images.containers.still import SEVERAL, RefusedError, Still, costly

MOST_VALUES = 50_000
"""Accepted strips or tiles, each of which has a value in two fields."""

MOST_SCANS = 4
"""Accepted scans of a JPEG within a TIFF: one for each component."""

MOST_TILED = 2
"""Pixels in tiles, as a multiple of those of the image; below `SMALL` as many as that."""

SMALL = 4_000_000

WIDTH, LENGTH, BITS, COMPRESSION, CHANNELS, FORM = 256, 257, 258, 259, 277, 339
STRIPS, STRIP_BYTES = 273, 279
TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES = 322, 323, 324, 325
XMP = 700

MOST_CHANNELS = 64

FIELDS = {
    **dict.fromkeys((WIDTH, LENGTH, COMPRESSION, CHANNELS, TILE_WIDTH, TILE_LENGTH), 1),
    # Photometric interpretation, fill order, rows of a strip, planes, fax options, predictor, inks.
    **dict.fromkeys((262, 266, 278, 284, 292, 293, 317, 332), 1),
    # Extra samples.
    **dict.fromkeys((BITS, FORM, 338), MOST_CHANNELS),
    **dict.fromkeys((STRIPS, STRIP_BYTES, TILES, TILE_BYTES), MOST_VALUES),
    # Colour map, tables of a JPEG, and of a JPEG of the old kind.
    **{320: 196_608, 347: 65_536},
    **dict.fromkeys(range(512, 516), 1),
    **dict.fromkeys(range(517, 522), 16),
    # Coefficients, subsampling, positions and range of YCbCr.
    **dict.fromkeys(range(529, 533), 6),
}
"""Tag -> most values of a field that is kept.

They are those of TIFF 6.0 that say how pixels are stored: size, bits, colours, strips and tiles,
predictor, and the parameters of compressions.
"""

MOST_DICTIONARY = 64 * 2**20
"""Accepted bytes of an LZMA dictionary, which its decoder reserves; encoders choose 8 MB."""

_JPEG = 7
_LZMA = 34_925
_LZMA2 = 0x21
_XZ_HEAD = 64
_FLOAT = 3

PACKINGS = frozenset(
    {0, 1, 2, 3, 4, 5, 6, _JPEG, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001}
)
"""Compressions that Pillow reads; 0: none is stated."""


def still(content: bytes) -> Still | None:
    """Append a directory with the fields that a decoder needs, and let the header lead to it.

    None where there is no directory.
    """
    directory = first_directory(content)
    if directory is None:
        return None
    if directory.following not in (0, directory.start):
        raise RefusedError(SEVERAL)
    _check(directory)
    turn = directory.numbers(ORIENTATION, 1)
    xmp = directory.fields.get(XMP)
    text = content[xmp.place : xmp.place + min(xmp.count, MOST_XMP)] if xmp else b""
    return Still(
        _rewritten(directory), turn[0] if turn else orientation(b"", text), _kind(directory)
    )


def _kind(directory: Directory) -> str:
    """Describe the pixels, and what to do if they can't be read; "" if the file is cut short."""
    bits = directory.numbers(BITS, MOST_CHANNELS)
    if BITS in directory.fields and not bits:
        return ""
    channels = _number(directory, CHANNELS) or len(bits) or 1
    numbers = "floating-point numbers" if _number(directory, FORM) == _FLOAT else "numbers"
    return (
        f"a TIFF with {channels} channel(s) of {max(bits, default=1)}-bit {numbers}; expected "
        "grey, RGB or CMYK of 8 or 16 bits: save it as PNG"
    )


def _number(directory: Directory, tag: int) -> int:
    """Return the first value of a field, 0 if there is none."""
    return next(iter(directory.numbers(tag, 1)), 0)


def _check(directory: Directory) -> None:
    """Refuse more work than an image of this size needs."""
    content = directory.content
    for tag, most in FIELDS.items():
        if tag in directory.fields and directory.fields[tag].count > most:
            raise costly(
                f"a TIFF in more than {MOST_VALUES:,} pieces"
                if most == MOST_VALUES
                else f"a TIFF with more than {most:,} values in field {tag}"
            )
    packing = _number(directory, COMPRESSION)
    if packing not in PACKINGS:
        raise RefusedError(
            f"is a TIFF packed in a way that can't be read (compression {packing}); expected none, "
            "LZW, Deflate or JPEG: save it as PNG."
        )
    width, length, across, down = (
        next(iter(directory.numbers(tag, 1)), 0) for tag in (WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH)
    )
    if across and down:
        tiled = -(-width // across) * across * -(-length // down) * down
        if tiled > max(MOST_TILED * width * length, SMALL):
            raise costly("a TIFF whose tiles are larger than its image")
    for tag, sizes in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
        places = directory.numbers(tag, MOST_VALUES)
        counts = directory.numbers(sizes, MOST_VALUES)
        lengths = [
            min(count, max(len(content) - place, 0))
            for place, count in zip(places, counts, strict=False)
        ]
        if sum(lengths) > 2 * len(content):
            raise costly("a TIFF whose pieces lie over one another")
        if packing == _LZMA and any(
            _dictionary(content[place : place + _XZ_HEAD]) > MOST_DICTIONARY for place in places
        ):
            raise costly(
                f"a TIFF in LZMA with a dictionary of more than {MOST_DICTIONARY // 2**20} MB"
            )
        if packing == _JPEG:
            for place, length in zip(places, lengths, strict=False):
                if jpeg.count_scans(content[place : place + length]) > MOST_SCANS:
                    raise costly(f"a TIFF of JPEGs of more than {MOST_SCANS} scans")


def _dictionary(head: bytes) -> int:
    """Return the bytes of the dictionary that an XZ file asks for; 0 where its head is none.

    `head` are its first bytes (the .xz file format 1.0.4, sections 3.1 and 5.3.1).
    """
    # After 12 bytes of the file, the length of the block's header, and its flags; sizes of the
    # block are optional, and libtiff writes none.
    if len(head) < 14 or not head.startswith(b"\xfd7zXZ\0") or head[13] & 0xC0:
        return 0
    place = 14
    for _ in range((head[13] & 3) + 1):
        # The filter, the length of its properties, and these.
        kind, length, *properties = head[place : place + 3].ljust(3, b"\0")
        if kind == _LZMA2:
            bits = min(properties[0], 40)
            return (2 | bits & 1) << bits // 2 + 11
        place += 2 + length
    return 0


def _rewritten(directory: Directory) -> bytes:
    """Write the file with a new directory at its end."""
    content, order = directory.content, directory.order
    fields = sorted((tag, directory.fields[tag]) for tag in FIELDS if tag in directory.fields)
    inline = 8 if directory.big else 4
    number, entry, place = ("Q", "HHQ", "Q") if directory.big else ("H", "HHI", "I")
    start = len(content) + len(content) % 2
    parts = [struct.pack(order + number, len(fields))]
    for tag, field in fields:
        parts.append(struct.pack(order + entry, tag, field.kind, field.count))
        if field.count * SIZES[field.kind] > inline:
            parts.append(struct.pack(order + place, field.place))
        else:
            parts.append(content[field.place : field.place + inline].ljust(inline, b"\0"))
    parts.append(bytes(inline))
    head = b"II" if order == "<" else b"MM"
    head += (
        struct.pack(order + "HHHQ", 43, 8, 0, start)
        if directory.big
        else (struct.pack(order + "HI", 42, start))
    )
    return b"".join([head, content[len(head) :], bytes(len(content) % 2), *parts])
