"""PNGs that are made to keep a decoder busy, or that decoders stumble over."""

from __future__ import annotations

import struct
import zlib

from dermhub.images.containers import png
from tests.support.hostile.pieces import deflated, exif_bomb, mixed
from tests.support.odd_files import chunk, saved


def png_with(*chunks: bytes) -> bytes:
    """A PNG with chunks before its pixels."""
    whole = saved("PNG")
    return mixed(whole[:33], *chunks, whole[33:])


def png_exif(tags: int, size: int) -> bytes:
    """A PNG with such EXIF."""
    return png_with(chunk(b"eXIf", exif_bomb(tags, size)))


def png_exif_as_text(tags: int, size: int) -> bytes:
    """A PNG with such EXIF in hexadecimal, as ImageMagick writes it."""
    text = b"\nexif\n%d\n%s\n" % (size, exif_bomb(tags, size).hex().encode())
    return png_with(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


def png_many(kind: bytes, count: int) -> bytes:
    """A PNG with empty chunks before its pixels."""
    return png_with(chunk(kind, b"") * count)


def png_texts(count: int) -> bytes:
    """A PNG with so many comments."""
    return png_with(*(chunk(b"tEXt", b"k%d\0v" % n) for n in range(count)))


def png_packed(kind: bytes, head: bytes, size: int, count: int) -> bytes:
    """A PNG with chunks whose packed text, after a head, has `size` zero bytes."""
    return png_with(chunk(kind, head + deflated(size)) * count)


def png_end(size: int) -> bytes:
    """A PNG with a comment behind its pixels."""
    whole = saved("PNG")
    return whole[:-12] + chunk(b"tEXt", b"Comment\0" + b"A" * size) + whole[-12:]


def png_surplus(size: int) -> bytes:
    """A PNG whose compressed pixels go on for `size` bytes behind the last row."""
    header = struct.pack(">IIBBBBB", 200, 150, 8, 0, 0, 0, 0)
    return mixed(
        png.START, chunk(b"IHDR", header), chunk(b"IDAT", deflated(size)), chunk(b"IEND", b"")
    )


def png_promise(width: int, height: int, bits: int, channels: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return mixed(png.START, chunk(b"IHDR", header), chunk(b"IDAT", deflated(9)))


def png_pixels(width: int, height: int, bits: int, channels: int, interlaced: int = 1) -> bytes:
    """A black PNG, interlaced (Adam7) or not."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    packer = zlib.compressobj(9)
    parts = []
    for left, top, across, down in passes:
        row = bytes(1 + -(-(width - left) // across) * channels * bits // 8)
        parts += [packer.compress(row) for _ in range(-(-(height - top) // down))]
    data = b"".join(parts) + packer.flush()
    return mixed(png.START, chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))


def png_broken_text() -> bytes:
    """A PNG with a comment whose checksum is wrong."""
    return png_with(chunk(b"tEXt", b"Comment\0text")[:-1] + b"\0")


def png_of_pieces(count: int) -> bytes:
    """A PNG whose pixels come in `count` chunks, with a comment in between."""
    whole = saved("PNG")
    place = whole.index(b"IDAT")
    size = int.from_bytes(whole[place - 4 : place], "big")
    data = whole[place + 4 : place + 4 + size]
    step = -(-size // count)
    pieces = [chunk(b"IDAT", data[n : n + step]) for n in range(0, size, step)]
    return mixed(whole[:33], *pieces[:1], chunk(b"tEXt", b"a\0b"), *pieces[1:], whole[-12:])
