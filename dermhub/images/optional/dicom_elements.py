"""The elements of a DICOM file that describe its pixels (DICOM PS3.5, section 7; PS3.10).

All others are passed over by their lengths: what they say of a patient is read by nobody.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from dermhub.images.containers.still import costly

START = b"DICM"
START_AT = 128

IMPLICIT = "1.2.840.10008.1.2"
"""The transfer syntax that states no types of elements."""

MOST_ELEMENTS = 100_000
"""Accepted elements, those inside sequences, too; an ordinary file has some 200."""

MOST_DEPTH = 16
"""Accepted depth of sequences inside sequences."""

MOST_BYTES = 2**18
"""Bytes of an element that is read; a palette has 131,072."""

SYNTAX, OF_META, OF_DATA = 0x0002_0010, 0x0002_0002, 0x0008_0016
"""Transfer syntax, and the kind of object (IOD) as stated before and in the data set."""

PIXELS = 0x7FE0_0010

UNKNOWN_LENGTH = 0xFFFF_FFFF

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD

_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV"})
_LONG |= frozenset({b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Types of elements whose length takes four bytes, after two empty ones."""

_DESCRIPTION = 0x0028
"""Group of the elements that describe the pixels."""


@dataclass
class Elements:
    """The elements that describe the pixels, and where these lie.

    `values` are bytes by tag. `pixels` is (begin, end), without an end for pixels in fragments.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    pixels: tuple[int, int | None] | None = None

    def number(self, tag: int, default: int = 0) -> int:
        """Return an element of type US as a number."""
        return int.from_bytes(self.values[tag][:2], "little") if tag in self.values else default

    def text(self, tag: int) -> str:
        """Return an element as ASCII text without the zeros or blanks at its end."""
        return self.values.get(tag, b"").rstrip(b"\0 ").decode("ascii", "replace")


class _Walk:
    """A place in a file, from which elements are read. Raises EOFError at the file's end."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content = content
        self.place = place
        self._count = 0

    def number(self, size: int) -> int:
        """Return the next number, little-endian."""
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        place = self.place
        self.skip(size)
        return self._content[place : self.place]

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        if self.place + size > len(self._content):
            raise EOFError
        self.place += size

    def head(self, implicit: bool) -> tuple[int, bytes, int]:
        """Read the head of an element: its tag, its type ("" if not stated), its length."""
        self._count += 1
        if self._count > MOST_ELEMENTS:
            raise costly(f"a DICOM of more than {MOST_ELEMENTS:,} elements")
        tag = self.number(2) << 16 | self.number(2)
        if implicit or tag >> 16 == 0xFFFE:
            return tag, b"", self.number(4)
        kind = self.take(2)
        if kind not in _LONG:
            return tag, kind, self.number(2)
        self.skip(2)
        return tag, kind, self.number(4)

    def skip_sequence(self, implicit: bool) -> None:
        """Pass over a sequence without a stated length, with all that is inside."""
        # For each sequence or item that is open: whether it is an item, and its encoding.
        opened = [(False, implicit)]
        while opened:
            in_item, implicit = opened[-1]
            tag, kind, length = self.head(implicit)
            if tag == (_ITEM_END if in_item else _SEQUENCE_END):
                opened.pop()
            elif length != UNKNOWN_LENGTH:
                self.skip(length)
            elif len(opened) >= 2 * MOST_DEPTH:
                raise costly(f"a DICOM of sequences more than {MOST_DEPTH} deep")
            else:
                # An element of type UN states no types inside (PS3.5, section 6.2.2).
                opened.append((not in_item, implicit or kind == b"UN"))


def read_elements(content: bytes, syntaxes: Container[str]) -> Elements:
    """Read the description of a file's pixels, up to these.

    In another transfer syntax than `syntaxes`, the data set may be packed or big-endian, and is not
    read. Raises RefusedError for too many elements, and EOFError for a file cut short.
    """
    elements = Elements()
    walk = _Walk(content, START_AT + len(START))
    syntax = ""
    while walk.place < len(content):
        before = walk.place
        in_meta = content[before : before + 2] == b"\2\0"
        if not in_meta and not syntax:
            syntax = elements.text(SYNTAX)
            if syntax not in syntaxes:
                return elements
        implicit = not in_meta and syntax == IMPLICIT
        tag, kind, length = walk.head(implicit)
        if tag == PIXELS:
            elements.pixels = walk.place, None if length == UNKNOWN_LENGTH else walk.place + length
            return elements
        if length == UNKNOWN_LENGTH:
            walk.skip_sequence(implicit or kind == b"UN")
        elif tag >> 16 == _DESCRIPTION or tag in (SYNTAX, OF_META, OF_DATA):
            elements.values[tag] = walk.take(min(length, MOST_BYTES))
            walk.skip(max(length - MOST_BYTES, 0))
        else:
            walk.skip(length)
    return elements


def fragments(content: bytes, begin: int) -> Iterator[bytes]:
    """Yield the fragments of pixels, without the table of offsets before them (PS3.5, A.4)."""
    walk = _Walk(content, begin)
    walk.skip(walk.head(True)[2])
    while True:
        tag, _, length = walk.head(True)
        if tag != _ITEM:
            return
        yield walk.take(length)
