"""Boxes of ISO base media files, of which HEIC and AVIF are made (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dermhub.images.containers.still import costly

MOST_BOXES = 20_000
"""Accepted boxes in one box; a photograph of 200 tiles has some 1,000."""


@dataclass(frozen=True)
class Box:
    """A box: its type, and where its content lies in the file."""

    kind: bytes
    begin: int
    end: int


def boxes(content: bytes, begin: int, end: int) -> Iterator[Box]:
    """Yield the boxes that lie side by side in a part of a file, as far as they are whole.

    Raises RefusedError for more than `MOST_BOXES`.
    """
    place = begin
    for _ in range(MOST_BOXES):
        if place + 8 > end:
            return
        size = int.from_bytes(content[place : place + 4])
        kind = content[place + 4 : place + 8]
        head = 8
        if size == 1:
            size = int.from_bytes(content[place + 8 : place + 16])
            head = 16
        elif size == 0:
            size = end - place
        if size < head or place + size > end:
            return
        yield Box(kind, place + head, place + size)
        place += size
    raise costly(f"a file of more than {MOST_BOXES:,} boxes")


class Fields:
    """A reader of numbers, big-endian, from a part of a file. Raises EOFError at its end."""

    def __init__(self, content: bytes, begin: int, end: int) -> None:
        self._content = content
        self.place = begin
        self._end = end

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        place = self.place
        if place + size > self._end:
            raise EOFError
        self.place = place + size
        return self._content[place : place + size]

    def number(self, size: int) -> int:
        """Return the next number of so many bytes."""
        return int.from_bytes(self.take(size))

    def version(self) -> tuple[int, int]:
        """Return version and flags, with which a full box begins."""
        return self.number(1), self.number(3)
