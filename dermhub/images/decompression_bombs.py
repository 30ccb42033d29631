"""Files that are small but would keep a decoder busy for minutes, found before any decoding.

A progressive JPEG may visit every block of the image again with each scan of a few bytes, and a
TIFF may divide its image into millions of strips. The markers are those of ITU-T T.81, annex B;
the directory is that of TIFF 6.0, section 2, and of BigTIFF.
"""

from __future__ import annotations

import os
import re
import struct
from typing import IO

MOST_SCANS = 50
"""Accepted scans of a JPEG; encoders write 1 to 14."""

MOST_VALUES = 50_000
"""Accepted values of one field of a TIFF, which has one for each of its strips or tiles."""

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

_WITHOUT_LENGTH = (0x01, 0xD8)
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9

_BYTES = (1, 2, 6, 7)
"""TIFF's types of one byte; a colour profile or a text may have millions of them."""


def bomb_in(stream: IO[bytes]) -> str:
    """Name what makes a file too costly to decode ("a JPEG of more than 50 scans"), or "".

    Reads the stream from its start and leaves it anywhere.
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
    """Count the scans of a JPEG by walking from marker to marker."""
    scans = 0
    place = 2
    # Compressed data holds no marker but restarts, so that the search passes over it.
    while match := _MARKER.search(content, place):
        place = match.end()
        marker = content[place - 1]
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        if scans > MOST_SCANS:
            return f"a JPEG of more than {MOST_SCANS} scans"
        if marker not in _WITHOUT_LENGTH:
            # A segment follows; its first two bytes hold its length, themselves included.
            place += int.from_bytes(content[place : place + 2], "big")
    return ""


def _many_values(stream: IO[bytes], head: bytes, order: str) -> str:
    """Look for a field with too many values in the first directory of a TIFF or BigTIFF."""
    big = struct.unpack(order + "H", head[2:4]) == (43,)
    # Formats of the directory's offset, of the number of its entries, and of one entry:
    # tag, type, number of values, and the value or its offset.
    first, number, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    (place,) = struct.unpack_from(order + first, head, 8 if big else 4)
    size = struct.calcsize(order + number)
    length = struct.calcsize(order + entry)
    (entries,) = struct.unpack(order + number, _at(stream, place, size))
    table = _at(stream, place + size, length * min(entries, 65_535))
    whole = table[: len(table) // length * length]
    for _, kind, count, _ in struct.iter_unpack(order + entry, whole):
        if kind not in _BYTES and count > MOST_VALUES:
            return f"a TIFF in more than {MOST_VALUES:,} pieces"
    return ""


def _at(stream: IO[bytes], place: int, length: int) -> bytes:
    """Read up to `length` bytes (-1: all) from a place in the stream, none beyond its end."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(min(place, end))
    return stream.read(length)
