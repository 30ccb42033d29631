"""A directory of fields, as in TIFF 6.0 (section 2), in BigTIFF, and in EXIF, which is a TIFF.

No more is read than the entries themselves, until a field is asked for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ORIENTATION = 0x0112

MOST_ENTRIES = 65_535
"""Entries that a directory of TIFF 6.0 can have; one of BigTIFF is read no further either."""

FORMATS = {
    **{1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii"},
    **{11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"},
}
"""Type of a field -> format of one value."""

SIZES = {kind: struct.calcsize("<" + code) for kind, code in FORMATS.items()}

FRACTIONS = (5, 10, 11, 12)
"""Types whose values are no integers."""


@dataclass(frozen=True)
class Field:
    """An entry of a directory: its type, the number of its values, and where they begin."""

    kind: int
    count: int
    place: int


@dataclass(frozen=True)
class Directory:
    """The fields of a directory by tag, the first of each, and the place of the next directory.

    `start` is its place in the file, `order` the byte order as `struct` names it, and `big` says
    that the file is a BigTIFF.
    """

    content: bytes
    order: str
    big: bool
    start: int
    fields: dict[int, Field]
    following: int

    def numbers(self, tag: int, most: int) -> tuple[int, ...]:
        """Return up to `most` values of a field; none if it is missing, cut short or no integer."""
        field = self.fields.get(tag)
        if field is None or field.kind in FRACTIONS:
            return ()
        count = min(field.count, most)
        code = f"{self.order}{count}{FORMATS[field.kind]}"
        values = self.content[field.place : field.place + count * SIZES[field.kind]]
        if len(values) < struct.calcsize(code):
            return ()
        return struct.unpack(code, values)


def first_directory(content: bytes) -> Directory | None:
    """Read the first directory of a TIFF; None where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2], "")
    if not order or content[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return None
    big = b"+" in content[2:4]
    # Formats of a place in the file, of the number of entries, and of an entry: tag, type, number
    # of values; these or their place follow.
    place, number, entry = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    inline = 8 if big else 4
    length = struct.calcsize(order + entry) + inline
    try:
        (start,) = struct.unpack_from(order + place, content, inline)
        (count,) = struct.unpack_from(order + number, content, min(start, len(content)))
    except struct.error:
        return None
    begin = start + struct.calcsize(order + number)
    count = min(count, MOST_ENTRIES, (len(content) - begin) // length)
    table = content[begin : begin + count * length]
    fields: dict[int, Field] = {}
    for index, (tag, kind, values) in enumerate(
        struct.iter_unpack(f"{order}{entry}{inline}x", table)
    ):
        if kind not in FORMATS or tag in fields:
            continue
        own = begin + (index + 1) * length - inline
        if values * SIZES[kind] > inline:
            (own,) = struct.unpack_from(order + place, content, own)
        fields[tag] = Field(kind, values, own)
    end = content[begin + count * length :][:inline]
    following = struct.unpack(order + place, end)[0] if len(end) == inline else 0
    return Directory(content, order, big, start, fields, following)
