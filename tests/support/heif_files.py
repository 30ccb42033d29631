"""HEIC and AVIF files: saved by pillow-heif and Pillow, and put together box by box."""

from __future__ import annotations

import functools
import io
import struct
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from dermhub.images.optional.boxes import boxes
from dermhub.images.optional.heif_items import Items, read_items
from tests.support.odd_files import lesion

pillow_heif.register_heif_opener()

FORMATS = {"HEIC": "HEIF", "AVIF": "AVIF"}


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """The lesion, or another image, as HEIC or AVIF."""
    if image is None and not options:
        return _saved(kind)
    stream = io.BytesIO()
    (image or lesion()).save(stream, FORMATS[kind], **{"quality": 95, **options})
    return stream.getvalue()


@functools.cache
def _saved(kind: str) -> bytes:
    return saved(kind, lesion())


def turned(kind: str, orientation: int) -> bytes:
    """The lesion, to be turned as EXIF's number says; both formats say so in boxes of their own."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    lesion().save(stream, "PNG", exif=exif)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        image.load()
        # The encoder for HEIC takes the turn from the image, the one for AVIF from this option.
        return saved(kind, image, exif=exif) if kind == "AVIF" else saved(kind, image)


def of_10_bits() -> bytes:
    """The lesion as a HEIC of 10 bits."""
    image = lesion()
    values = np.asarray(image).astype(np.uint16) * 257
    stream = io.BytesIO()
    pillow_heif.encode("RGB;16", image.size, values.tobytes(), stream, quality=95)
    return stream.getvalue()


def items_of(content: bytes) -> Items:
    """The items of a file."""
    (meta,) = [box for box in boxes(content, 0, len(content)) if box.kind == b"meta"]
    return read_items(content, meta)


def with_size(content: bytes, width: int, height: int) -> bytes:
    """A file whose property of the size states another one."""
    place = content.index(b"ispe") + 8
    return content[:place] + struct.pack(">2I", width, height) + content[place + 8 :]


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box with content."""
    content = b"".join(parts)
    return struct.pack(">I", len(content) + 8) + kind + content


def size_box(width: int, height: int) -> bytes:
    """The property of a size."""
    return box(b"ispe", bytes(4), struct.pack(">2I", width, height))


def made(
    pictures: list[tuple[bytes, bytes, list[bytes]]],
    references: list[bytes] = [],  # noqa: B006
    primary: int = 1,
) -> bytes:
    """A file of items: type, bytes and properties of each; they are numbered from 1 on."""
    properties = [entry for _, _, entries in pictures for entry in entries]
    numbers = iter(range(1, len(properties) + 1))
    links = b"".join(
        struct.pack(">HB", number, len(entries)) + bytes(next(numbers) for _ in entries)
        for number, (_, _, entries) in enumerate(pictures, 1)
    )
    infos = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), kind, b"\0")
        for number, (kind, _, _) in enumerate(pictures, 1)
    ]
    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(base: int) -> bytes:
        places = b""
        for number, (_, data, _) in enumerate(pictures, 1):
            places += struct.pack(">HHHII", number, 0, 1, base, len(data))
            base += len(data)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", primary)),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(pictures)), places),
            box(b"iinf", bytes(4), struct.pack(">H", len(pictures)), *infos),
            *([box(b"iref", bytes(4), *references)] if references else []),
            box(
                b"iprp",
                box(b"ipco", *properties),
                box(b"ipma", bytes(4), struct.pack(">I", len(pictures)), links),
            ),
        )

    base = len(start) + len(meta(0)) + 8
    return start + meta(base) + box(b"mdat", *(data for _, data, _ in pictures))


def coded(image: Image.Image) -> tuple[bytes, bytes, list[bytes]]:
    """An image as a coded item: its type, its bytes, and its properties."""
    content = saved("HEIC", image, chroma=444)
    items = items_of(content)
    settings = items.by_number[items.primary].property(b"hvcC")
    assert settings
    properties = [box(b"hvcC", content[settings.begin : settings.end]), size_box(*image.size)]
    return b"hvc1", items.read(content, items.primary), properties


def grid(
    tiles: list[Image.Image],
    columns: int,
    size: tuple[int, int],
    stated: tuple[int, int] | None = None,
) -> bytes:
    """A picture of tiles, as phones save it; `stated` is another size than that of the grid."""
    rows = len(tiles) // columns
    layout = bytes([0, 0, rows - 1, columns - 1]) + struct.pack(">2H", *size)
    pictures = [(b"grid", layout, [size_box(*(stated or size))]), *map(coded, tiles)]
    numbers = struct.pack(f">{len(tiles)}H", *range(2, len(tiles) + 2))
    return made(pictures, [box(b"dimg", struct.pack(">HH", 1, len(tiles)), numbers)])
