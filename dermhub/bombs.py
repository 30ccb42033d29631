"""Files that are small but would keep a decoder busy for minutes: told from their structure, before any decoding.

A progressive JPEG may visit every block of the image again with each scan of a few bytes, and a TIFF may divide its
image into millions of strips. The markers are those of ITU-T T.81, annex B; the directory is that of TIFF 6.0, section
2, and of BigTIFF.
"""

from __future__ import annotations

import os
import re
import struct
from typing import IO

MOST_SCANS = 50
"""Scans of a JPEG: encoders write 1 to 14."""

MOST_VALUES = 50_000
"""Values of one field of a TIFF: one for each of its strips or tiles."""

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_BYTES = (1, 2, 6, 7)
"""TIFF's types of one byte: a profile or a text may have millions of them."""


def bomb_in(stream: IO[bytes]) -> str:
    """What makes a file too costly to open ("a JPEG of more than 50 scans"), or ""; reads it from the start."""
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
    for _, kind, count, _ in struct.iter_unpack(order + entry, table[: len(table) // length * length]):
        if kind not in _BYTES and count > MOST_VALUES:
            return f"a TIFF in more than {MOST_VALUES:,} pieces"
    return ""


def _at(stream: IO[bytes], place: int, length: int) -> bytes:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(min(place, end))
    return stream.read(length)
