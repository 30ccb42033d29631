"""TIFFs that are made to keep a decoder busy, or that decoders stumble over."""

from __future__ import annotations

import lzma
import struct
import zlib

from tests.support.hostile.jpegs import jpeg_scans
from tests.support.hostile.pieces import deflated
from tests.support.odd_files import lesion, saved


def tiff(fields: dict[int, tuple[int, int, int]], data: bytes, big: bool = False) -> bytes:
    """A TIFF: tag -> (type, count, value or place), with `data` from place 16 on."""
    start = 16 + len(data) + len(data) % 2
    rows = [(tag, *fields[tag]) for tag in sorted(fields)]
    if big:
        head = b"II+\0" + struct.pack("<HHQ", 8, 0, start)
        table = [struct.pack("<Q", len(rows)), *(struct.pack("<HHQQ", *row) for row in rows)]
    else:
        head = b"II*\0" + struct.pack("<I", start) + bytes(8)
        table = [struct.pack("<H", len(rows)), *(struct.pack("<HHII", *row) for row in rows)]
    return b"".join([head, data, bytes(len(data) % 2), *table, bytes(8)])


def grey(width: int = 200, height: int = 150) -> dict[int, tuple[int, int, int]]:
    """Fields of an uncompressed grey TIFF in one strip."""
    return {
        **{256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1)},
        **{262: (3, 1, 1), 273: (4, 1, 16), 277: (3, 1, 1), 278: (4, 1, height)},
        279: (4, 1, width * height),
    }


GREY = lesion().convert("L").tobytes()


def tiff_tags(tags: int, kind: int, count: int) -> bytes:
    """A TIFF with `tags` more fields that all claim the same values."""
    size = count * {7: 1, 12: 8}[kind]
    more = {40_000 + n: (kind, count, 16) for n in range(tags)}
    return tiff(grey() | more, GREY + bytes(max(size - len(GREY), 0)))


def tiff_inner(tags: int, size: int) -> bytes:
    """A TIFF whose EXIF, GPS and further directories are such a bomb, and lie in one another."""
    inner = [(0x9000 + n, 7, size, 16) for n in range(tags)]
    inner += [(0x8769, 4, 1, 16), (0x8825, 4, 1, 16), (0xA005, 4, 1, 16)]
    table = struct.pack("<H", len(inner)) + b"".join(struct.pack("<HHII", *row) for row in inner)
    data = table + bytes(4)
    place = 16 + len(data)
    fields = grey() | {273: (4, 1, place)}
    fields |= dict.fromkeys((330, 34665, 34853, 40965), (4, 1, 16))
    return tiff(fields, data + GREY + bytes(max(size - len(data) - len(GREY), 0)))


def big_tiff(tags: int, size: int) -> bytes:
    """A BigTIFF with such fields."""
    more = {n: (7, size, 16) for n in range(1, tags) if n > 700}
    return tiff(grey() | more, GREY + bytes(max(size - len(GREY), 0)), big=True)


def tiff_tile(side: int) -> bytes:
    """A TIFF of 200 x 150 pixels in one larger tile."""
    data = deflated(side * side)
    fields = grey() | {259: (3, 1, 8), 322: (4, 1, side), 323: (4, 1, side)}
    fields |= {324: (4, 1, 16), 325: (4, 1, len(data))}
    del fields[273], fields[278], fields[279]
    return tiff(fields, data)


def tiff_lzma(width: int, height: int) -> bytes:
    """A TIFF in one strip packed by LZMA, which asks for a dictionary of 3 GB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
    data = bytearray(lzma.compress(bytes(width * height), lzma.FORMAT_XZ, filters=filters))
    # The dictionary's size in the block header, and the header's checksum (XZ 1.0.4, section 3.1).
    data[16] = 39
    head = 4 * (data[12] + 1)
    struct.pack_into("<I", data, 12 + head - 4, zlib.crc32(data[12 : 12 + head - 4]))
    fields = grey(width, height) | {259: (3, 1, 34_925), 279: (4, 1, len(data))}
    return tiff(fields, bytes(data))


def tiff_overlapping(pieces: int, size: int) -> bytes:
    """A TIFF of 6000 x 5000 pixels in strips of a row, each of which claims the same bytes."""
    row = zlib.compress(bytes(6000)).ljust(size, b"\0")
    table = 16 + size
    data = row + struct.pack("<I", 16) * pieces + struct.pack("<I", size) * pieces
    fields = grey(6000, pieces) | {259: (3, 1, 8), 278: (4, 1, 1)}
    fields |= {273: (4, pieces, table), 279: (4, pieces, table + 4 * pieces)}
    return tiff(fields, data)


def tiff_small_tiles(across: int, down: int) -> bytes:
    """A TIFF in uncompressed tiles of 16 x 16 pixels."""
    count = across * down
    places = struct.pack(f"<{count}I", *range(16, 16 + 256 * count, 256))
    table = 16 + 256 * count
    fields = grey(16 * across, 16 * down) | {322: (4, 1, 16), 323: (4, 1, 16)}
    fields |= {324: (4, count, table), 325: (4, count, table + 4 * count)}
    del fields[273], fields[278], fields[279]
    return tiff(fields, bytes(256 * count) + places + struct.pack("<I", 256) * count)


def tiff_of_jpeg(scans: int, side: int) -> bytes:
    """A TIFF whose strip is a progressive JPEG with its last scan again and again."""
    data = jpeg_scans(scans, side, side)
    fields = grey(side, side) | {259: (3, 1, 7), 279: (4, 1, len(data))}
    return tiff(fields, data)


def tiff_compressed(compression: int) -> bytes:
    """A TIFF that states a compression."""
    return tiff(grey() | {259: (3, 1, compression)}, GREY)


def tiff_channels(channels: int, bits: int, form: int) -> bytes:
    """A TIFF of so many channels; `form` 1: integers, 3: floating point."""
    fields = grey() | {258: (3, 1, bits), 277: (3, 1, channels), 339: (3, 1, form)}
    size = 200 * 150 * channels * bits // 8
    return tiff(fields | {279: (4, 1, size)}, bytes(size))


def tiff_cycle() -> bytes:
    """A TIFF whose directory is followed by itself."""
    whole = bytearray(saved("TIFF"))
    (start,) = struct.unpack_from("<I", whole, 4)
    (fields,) = struct.unpack_from("<H", whole, start)
    struct.pack_into("<I", whole, start + 2 + 12 * fields, start)
    return bytes(whole)
