"""What a file is that is not a readable image, from its first bytes: so that a refusal can name
what came.

The signatures are those that the formats' own specifications give; nothing of the content beyond
them is read.
"""

from __future__ import annotations

import codecs
import os
import re
import struct
from typing import IO

HEAD = 512
"""First bytes of a file that are enough to name it."""


STARTS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript drawing"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript drawing"),
    (128, b"DICM", "a DICOM file: export its image as PNG or JPEG"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"8BPS", "a Photoshop document: export it as PNG or JPEG"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image: save it as JPEG or PNG"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image: save it as JPEG or PNG"),
    (0, b"\xff\x0a", "a JPEG XL image: save it as JPEG or PNG"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image: save it as JPEG or PNG"),
    (0, b"\x93NUMPY", "a NumPy array file: save it as PNG"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x7fELF", "a program"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"ID3", "a sound file"),
    (0, b"OggS", "a sound or video file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\xff\xd8\xff", "a JPEG that is damaged or cut short"),
    (0, b"\x89PNG", "a PNG that is damaged or cut short"),
    (0, b"GIF8", "a GIF that is damaged or cut short"),
)
"""Offset and bytes at it -> what the file is, with what to do about it where that helps."""


BRANDS = {
    b"heic": "a HEIC photo: save it as JPEG",
    b"heix": "a HEIC photo: save it as JPEG",
    b"hevc": "a HEIC photo: save it as JPEG",
    b"heim": "a HEIC photo: save it as JPEG",
    b"mif1": "a HEIC photo: save it as JPEG",
    b"msf1": "a HEIC photo: save it as JPEG",
    b"avif": "an AVIF image: save it as JPEG or PNG",
    b"avis": "an AVIF image: save it as JPEG or PNG",
    b"crx ": "a camera's raw image: save it as JPEG",
    b"qt  ": "a video",
}
"""Major brand of an ISO base media file (ISO/IEC 14496-12, box `ftyp`) -> what it is; any other
brand is a video.
"""


RIFF = {b"WEBP": "a WebP that is damaged or cut short", b"AVI ": "a video", b"WAVE": "a sound file"}


_XML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE\s+svg.*?>|\s)*<svg[\s>]",
    re.S | re.I,
)


_HTML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script)[\s>]", re.S | re.I
)


def kind_of(head: bytes) -> str:
    """What a file with these first `HEAD` bytes is ("a PDF document"), or "" where nothing
    tells.
    """
    for offset, mark, name in STARTS:
        if head[offset : offset + len(mark)] == mark:
            return name
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "a video")
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12], "")
    if _XML.match(head):
        return "an SVG drawing: save it as PNG"
    if _HTML.match(head):
        return "an HTML page"
    return "a text file" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        # Not final: a letter of several bytes may be cut at the end of a long file's head.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in text)


MOST_SCANS = 50
"""Scans of a JPEG: encoders write 1 to 14."""


MOST_VALUES = 50_000
"""Values of one field of a TIFF: one for each of its strips or tiles."""


_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


_BYTES = (1, 2, 6, 7)
"""TIFF's types of one byte: a profile or a text may have millions of them."""


def bomb_in(stream: IO[bytes]) -> str:
    """What makes a file too costly to open ("a JPEG of more than 50 scans"), or ""; reads it from
    the start.
    """
    head = _at(stream, 0, 16)
    if head[:2] == b"\xff\xd8":
        return _many_scans(_at(stream, 0, -1))
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    try:
        if order and struct.unpack(order + "H", head[2:4]) in ((42,), (43,)):
            return _many_values(stream, head, order)
    except struct.error:
        # Cut short: the decoder says so.
        pass
    return ""


def _many_scans(content: bytes) -> str:
    scans, at = 0, 2
    # Compressed data holds no marker but restarts, so that the search passes over it.
    while found := _MARKER.search(content, at):
        at, kind = found.end(), content[found.end() - 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        if scans > MOST_SCANS:
            return f"a JPEG of more than {MOST_SCANS} scans"
        # D8 (start) and 01 stand alone; every other one is followed by a segment with its length.
        at += int.from_bytes(content[at : at + 2], "big") if kind not in (0x01, 0xD8) else 0
    return ""


def _many_values(stream: IO[bytes], head: bytes, order: str) -> str:
    big = struct.unpack(order + "H", head[2:4]) == (43,)
    first, number, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    (place,) = struct.unpack_from(order + first, head, 8 if big else 4)
    size, length = struct.calcsize(order + number), struct.calcsize(order + entry)
    (entries,) = struct.unpack(order + number, _at(stream, place, size))
    table = _at(stream, place + size, length * min(entries, 65_535))
    for _, kind, count, _ in struct.iter_unpack(
        order + entry, table[: len(table) // length * length]
    ):
        if kind not in _BYTES and count > MOST_VALUES:
            return f"a TIFF in more than {MOST_VALUES:,} pieces"
    return ""


def _at(stream: IO[bytes], place: int, length: int) -> bytes:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(min(place, end))
    return stream.read(length)
