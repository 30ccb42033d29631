"""JPEGs that are made to keep a decoder busy, or that decoders stumble over."""

from __future__ import annotations

import struct
from typing import Any

from dermhub.images.containers import jpeg
from tests.support.hostile.pieces import exif_bomb, mixed
from tests.support.odd_files import black, lesion, saved


def jpeg_with(*segments: tuple[int, bytes] | bytes) -> bytes:
    """A JPEG with segments after its start: bytes as they are, or (marker, data)."""
    whole = saved("JPEG")
    written = [part if isinstance(part, bytes) else segment(*part) for part in segments]
    return b"".join([whole[:2], *written, whole[2:]])


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_exif(tags: int, size: int) -> bytes:
    """A JPEG with such EXIF, in as many segments as it needs."""
    whole = exif_bomb(tags, size)
    parts = (whole[place : place + 65_000] for place in range(0, len(whole), 65_000))
    return jpeg_with(*((0xE1, b"Exif\0\0" + part) for part in parts))


def mpo_exif(tags: int, size: int) -> bytes:
    """An MPO whose second image has such EXIF, and whose index promises a million images."""
    index = b"MPF\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0xB001, 4, 1, 1_000_000, 0)
    return jpeg_with((0xE2, index)) + jpeg_exif(tags, size)


def jpeg_marks(count: int) -> bytes:
    """A JPEG whose EXIF begins with its mark again and again."""
    return jpeg_with(*[(0xE1, b"Exif\0\0" * 10_000)] * count)


def exif_of(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """A JPEG with EXIF of one field."""
    field = struct.pack("<HHI", tag, kind, count) + value
    data = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + field + bytes(4)
    return jpeg_with((0xE1, data + bytes(64)))


def jpeg_many(marker: int, data: bytes, count: int) -> bytes:
    """A JPEG with `count` segments after its start."""
    return jpeg_with(segment(marker, data) * count)


def jpeg_profile(count: int) -> bytes:
    """A JPEG with a colour profile in so many parts, none of them in order."""
    parts = (
        (0xE2, b"ICC_PROFILE\0" + bytes([n % 255 + 1, 255]) + bytes(64_984)) for n in range(count)
    )
    return jpeg_with(*parts)


def jpeg_scans(count: int, width: int, height: int, mode: str = "L") -> bytes:
    """A progressive JPEG with its last scan `count` times more."""
    whole = black(width, height, "JPEG", mode, progressive=True)
    place = whole.rindex(b"\xff\xda")
    return whole[:place] + whole[place:-2] * count + whole[-2:]


def jpeg_arithmetic(scans: int, width: int, height: int, marker: int = 0xCA) -> bytes:
    """A grey JPEG in arithmetic coding, whose scans but the first visit 63 coefficients a block."""
    frame = segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    first = segment(0xDA, b"\1\1\0\0\0\0" if marker == 0xCA else b"\1\1\0\0\x3f\0") + bytes(4)
    more = segment(0xDA, b"\1\1\0\1\x3f\0") + bytes(4)
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    return mixed(jpeg.START, tables, frame, first, (more, scans), b"\xff\xd9")


def jpeg_divided(width: int, height: int) -> bytes:
    """A baseline JPEG with each component in a scan of its own."""
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    frame = segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\0\3\x11\0")
    # Two Huffman tables of one code of one bit each: no change, and the end of a block.
    codes = segment(0xC4, b"\0\1" + bytes(15) + b"\0") + segment(
        0xC4, b"\x10\1" + bytes(15) + b"\0"
    )
    # A block is two such codes.
    blocks = bytes(-(-(-(-width // 8) * -(-height // 8)) // 4))
    scans = [segment(0xDA, bytes([1, n, 0, 0, 63, 0])) + blocks for n in (1, 2, 3)]
    return mixed(jpeg.START, tables, frame, codes, *scans, b"\xff\xd9")


def jpeg_frame(marker: int, bits: int, components: int) -> bytes:
    """A JPEG whose frame header states another kind, bits of a sample, and components."""
    whole = bytearray(saved("JPEG", lesion().convert("L")))
    place = whole.index(b"\xff\xc0")
    whole[place + 1], whole[place + 4], whole[place + 9] = marker, bits, components
    return bytes(whole)


def jpeg_fill(size: int) -> bytes:
    """A JPEG with fill bytes after its start."""
    return jpeg_with(b"\xff" * size)


def jpeg_fill_within(size: int) -> bytes:
    """A JPEG with fill bytes before its end."""
    whole = saved("JPEG")
    return whole[:-2] + b"\xff" * size + whole[-2:]


def without_end(cut: int, width: int = 200, height: int = 150, **options: Any) -> bytes:
    """A JPEG without its last bytes."""
    image = lesion().resize((width, height))
    return saved("JPEG", image, **options)[:-cut]


def progressive_without_end(cut: int, width: int = 200, height: int = 150) -> bytes:
    """A progressive JPEG without its last bytes."""
    return without_end(cut, width, height, progressive=True)


def zeros(size: int) -> bytes:
    """A JPEG with zeros after its start."""
    whole = saved("JPEG")
    return whole[:2] + bytes(size) + whole[2:]
