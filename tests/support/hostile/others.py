"""GIFs, WebPs, BMPs and others that are made to keep a decoder busy, or that are odd."""

from __future__ import annotations

import struct

from tests.support.hostile.pieces import exif_bomb, mixed
from tests.support.odd_files import saved


def webp_exif(tags: int, size: int) -> bytes:
    """A WebP with such EXIF."""
    return saved("WEBP", exif=b"Exif\0\0" + exif_bomb(tags, size))


def gif_with(*parts: bytes | tuple[bytes, int]) -> bytes:
    """A GIF with something before its picture."""
    whole = saved("GIF")
    place = whole.index(b"\x2c")
    return mixed(whole[:place], *parts, whole[place:])


def gif_comment(blocks: int) -> bytes:
    """A GIF with one comment of so many blocks."""
    return gif_with(b"\x21\xfe", (b"\xff" + b"c" * 255, blocks), b"\0")


def gif_comments(count: int) -> bytes:
    """A GIF with so many comments."""
    return gif_with((b"\x21\xfe\x01c\0", count))


def gif_letters(count: int) -> bytes:
    """A GIF with one comment in blocks of a byte."""
    return gif_with(b"\x21\xfe", (b"\x01c", count), b"\0")


def gif_junk(size: int) -> bytes:
    """A GIF with bytes of no meaning before its picture."""
    return gif_with(bytes(size))


def gif_behind(size: int) -> bytes:
    """A GIF with bytes of no meaning behind its picture, and no end."""
    return saved("GIF")[:-1] + bytes(size)


def webp_chunks(count: int) -> bytes:
    """A WebP with so many empty chunks behind its pixels."""
    whole = saved("WEBP") + b"JUNK\0\0\0\0" * count
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def webp_canvas(width: int, height: int, animated: int) -> bytes:
    """A WebP whose canvas is larger than its picture, or than the first frame of an animation."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    picture = saved("WEBP", lossless=True)[12:]
    body = b"VP8X" + struct.pack("<I", 10) + bytes([2 * animated, 0, 0, 0]) + sides
    if animated:
        frame = bytes(6) + b"\xc7\0\0\x95\0\0" + bytes([100, 0, 0, 0]) + picture
        body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
        body += b"ANMF" + struct.pack("<I", len(frame)) + frame + bytes(len(frame) % 2)
    else:
        body += picture
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp(width: int, height: int, packing: int, data: bytes) -> bytes:
    """A BMP of a byte a pixel, its palette reversed grey."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, packing, 0, 0, 0, 256, 0)
    palette = b"".join(bytes([255 - n, 255 - n, 255 - n, 0]) for n in range(256))
    place = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", place + len(data), 0, 0, place) + head + palette + data


def bmp_rows(width: int, height: int, row: bytes) -> bytes:
    """A BMP of packed rows that are all the same."""
    return bmp(width, height, 1, (row + b"\0\0") * height + b"\0\1")


def svg_comments(count: int) -> bytes:
    """Comments as before the root of an SVG, and no SVG."""
    return b"<!---->" * count + b"<html>"


def lfs() -> bytes:
    """What git leaves in place of a file that git-lfs keeps."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 9\n"
