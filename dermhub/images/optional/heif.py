"""HEIC and AVIF: the picture that the file shows, measured before its decoder sees it.

Both are HEIF files (ISO/IEC 23008-12). pillow-heif decodes HEIC, and Pillow itself AVIF, from
version 11.3 on.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

from PIL import Image, features

from dermhub import installation
from dermhub.images.containers.still import (
    DAMAGED,
    SEVERAL,
    TWO_SIZES,
    RefusedError,
    Still,
    costly,
)
from dermhub.images.optional import coded_size
from dermhub.images.optional.boxes import Box, Fields, boxes
from dermhub.images.optional.heif_items import Item, Items, read_items

MOST_PIXELS = 26_000_000
"""Accepted pixels: the decoders hold some nine bytes of each.

A phone's photograph has 12 or 24 million.
"""

SURPLUS = 64
"""Pixels by which a coded side is longer than the picture: HEVC rounds up to blocks."""

BRANDS = {*(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")}
BRANDS |= {b"avif", b"avis", b"miaf"}
"""Brands (box `ftyp`) of HEIF files, with HEVC or AV1 inside."""

HEVC, AV1, GRID = b"hvc1", b"av01", b"grid"

METADATA = (b"Exif", b"mime")
"""Types of items that describe a picture; their decoders are not given them."""

_NAMES = {HEVC: "HEIC", AV1: "AVIF"}

_SETTINGS = {HEVC: b"hvcC", AV1: b"av1C"}


def is_heif(content: bytes) -> bool:
    """Recognise a HEIF file by the brands in its first bytes."""
    if content[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(content[:4]), 512)
    stated = {content[8:12], *(content[place : place + 4] for place in range(16, end, 4))}
    return not stated.isdisjoint(BRANDS)


def still(content: bytes) -> Still:
    """Take the metadata out of a HEIC or AVIF, and have its picture measured.

    Refused are sequences, files of several pictures, pictures that are too large or that state two
    sizes, and other codings than HEVC and AV1. The decoders turn the picture themselves.
    """
    try:
        outer = list(boxes(content, 0, len(content)))
        if any(box.kind == b"moov" for box in outer):
            raise RefusedError(SEVERAL)
        metas = [box for box in outer if box.kind == b"meta"]
        # Of two, nobody knows which one a decoder takes.
        if len(metas) != 1:
            raise RefusedError(DAMAGED)
        items = read_items(content, metas[0])
        coding = _check(content, items)
    except (EOFError, IndexError, KeyError):
        raise RefusedError(DAMAGED) from None
    opener = _open_heic if coding == HEVC else _open_avif
    return Still(_without_metadata(content, items), opener=opener)


def _check(content: bytes, items: Items) -> bytes:
    """Check the sizes of all pictures of a file; return the coding of the one to show."""
    shown = items.by_number[items.primary]
    from_shown = (b"dimg", items.primary)
    tiles = [to for kind, source, to in items.references if (kind, source) == from_shown]
    coding = items.by_number[tiles[0]].kind if shown.kind == GRID else shown.kind
    if coding not in _NAMES:
        raise RefusedError(
            "is a HEIF file with a picture that is coded neither as HEVC nor as AV1: save it as "
            "JPEG or PNG."
        )
    if any(number != items.primary for number in _pictures(items)):
        raise RefusedError(SEVERAL)
    pictures = {n: item for n, item in items.by_number.items() if item.kind in (*_NAMES, GRID)}
    places = [place for item in pictures.values() for place in item.places]
    if any(offset + length > len(content) for offset, length in places):
        raise EOFError
    if sum(length for _, length in places) > len(content):
        raise costly("a HEIF whose pictures overlap in the file")
    for number, item in pictures.items():
        _check_area(_size(content, item), coding)
        _check_coded(content, items, number)
    areas = [math.prod(_size(content, items.by_number[tile])) for tile in tiles]
    if sum(areas) > 2 * MOST_PIXELS:
        raise costly("a HEIF with tiles far larger than its picture")
    return coding


def _pictures(items: Items) -> Iterator[int]:
    """Yield the numbers of the pictures that stand for themselves."""
    parts = {to for kind, _, to in items.references if kind == b"dimg"}
    parts |= {source for kind, source, _ in items.references if kind in (b"thmb", b"auxl")}
    for number, item in items.by_number.items():
        if item.kind in (*_NAMES, GRID) and not item.hidden and number not in parts:
            yield number


def _check_coded(content: bytes, items: Items, number: int) -> None:
    """Compare the size that a picture's box states with the one in its coded bytes."""
    item = items.by_number[number]
    width, height = _size(content, item)
    data = items.read(content, number)
    if item.kind == GRID:
        fields = Fields(data, 4, len(data))
        length = 4 if data[1] & 1 else 2
        sizes = iter([(fields.number(length), fields.number(length))])
    else:
        box = item.property(_SETTINGS[item.kind])
        settings = content[box.begin : box.end] if box else b""
        sizes = (coded_size.of_hevc if item.kind == HEVC else coded_size.of_av1)(settings, data)
    for coded_width, coded_height in sizes:
        if coded_width >= width + SURPLUS or coded_height >= height + SURPLUS:
            raise RefusedError(TWO_SIZES)


def _size(content: bytes, item: Item) -> tuple[int, int]:
    """Return the (width, height) that a picture's property states. Raises EOFError without one."""
    box = item.property(b"ispe") or Box(b"", 0, 0)
    fields = Fields(content, box.begin, box.end)
    fields.version()
    return fields.number(4), fields.number(4)


def _check_area(size: tuple[int, int], coding: bytes) -> None:
    width, height = size
    if width * height > MOST_PIXELS:
        raise RefusedError(
            f"({width} x {height} pixels) has more than the {MOST_PIXELS // 1_000_000} million "
            f"pixels that are accepted of a {_NAMES[coding]}; scale it down first."
        )


def _without_metadata(content: bytes, items: Items) -> bytes:
    """Give the items of EXIF and XMP a type that no decoder reads."""
    kept = bytearray(content)
    for item in items.by_number.values():
        if item.kind in METADATA:
            kept[item.kind_at : item.kind_at + 4] = b"none"
    return bytes(kept)


def _open_heic(content: bytes) -> Image.Image:
    """Open a HEIC by pillow-heif. Raises RefusedError where it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise RefusedError(
            f"is a HEIC photo, which needs pillow-heif: {installation.advice('pillow_heif')}, or "
            "save it as JPEG."
        ) from None
    image: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(content))
    return image


def _open_avif(content: bytes) -> Image.Image:
    """Open an AVIF by Pillow. Raises RefusedError where it reads none."""
    # Versions before 11.3 know no such feature, and warn.
    if "avif" not in features.modules or not features.check("avif"):
        raise RefusedError(
            "is an AVIF image, which needs Pillow 11.3 or later: pip install -U pillow, or save it "
            "as JPEG or PNG."
        )
    from PIL import AvifImagePlugin

    return AvifImagePlugin.AvifImageFile(io.BytesIO(content))
