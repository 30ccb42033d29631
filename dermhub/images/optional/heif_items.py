"""The items of a HEIF file (ISO/IEC 23008-12): pictures, tiles, metadata, and their properties."""

from __future__ import annotations

from dataclasses import dataclass, field

from dermhub.images.containers.still import DAMAGED, RefusedError, costly
from dermhub.images.optional.boxes import Box, Fields, boxes

MOST_ITEMS = 2000
"""Accepted items; a photograph of 48 million pixels has some 250 tiles, and its gain map more."""

MOST_PLACES = 10_000
"""Accepted references between items, and places of an item in the file."""


@dataclass
class Item:
    """An item: its type, its properties, and where its bytes lie.

    `places` are (offset, length), in the file or, if `inside`, in the box `idat`. `kind_at` is
    where the file states the type.
    """

    kind: bytes = b""
    kind_at: int = 0
    hidden: bool = False
    properties: list[Box] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    inside: bool = False

    def property(self, kind: bytes) -> Box | None:
        """Return the first property of a type."""
        return next((box for box in self.properties if box.kind == kind), None)


@dataclass
class Items:
    """All items of a file by their numbers.

    `primary` is the number of the picture to show, 0 without one. `references` are (type, from,
    to): tiles of a picture ("dimg"), a thumbnail or an alpha plane and its picture ("thmb",
    "auxl").
    """

    by_number: dict[int, Item] = field(default_factory=dict)
    primary: int = 0
    references: list[tuple[bytes, int, int]] = field(default_factory=list)
    data: Box | None = None

    def read(self, content: bytes, number: int) -> bytes:
        """Return the bytes of an item, as far as the file holds them."""
        item = self.by_number[number]
        base = 0
        end = len(content)
        if item.inside:
            base, end = (self.data.begin, self.data.end) if self.data else (0, 0)
        return b"".join(
            content[min(base + offset, end) : min(base + offset + length, end)]
            for offset, length in item.places
        )


def read_items(content: bytes, meta: Box) -> Items:
    """Read the box `meta` of a file. Raises RefusedError for too many items, EOFError for a cut."""
    items = Items()
    inner = list(boxes(content, meta.begin + 4, meta.end))
    kinds = [box.kind for box in inner if box.kind in _READERS]
    # Of two, nobody knows which one a decoder takes.
    if len(kinds) > len(set(kinds)):
        raise RefusedError(DAMAGED)
    for box in inner:
        if box.kind == b"idat":
            items.data = box
        elif reader := _READERS.get(box.kind):
            reader(content, box, items)
    return items


def _primary(content: bytes, box: Box, items: Items) -> None:
    fields = Fields(content, box.begin, box.end)
    version, _ = fields.version()
    items.primary = fields.number(4 if version else 2)


def _kinds(content: bytes, box: Box, items: Items) -> None:
    fields = Fields(content, box.begin, box.end)
    version, _ = fields.version()
    fields.number(4 if version else 2)
    for entry in boxes(content, fields.place, box.end):
        inner = Fields(content, entry.begin, entry.end)
        version, flags = inner.version()
        # Versions 0 and 1 hold no pictures.
        if version < 2:
            continue
        item = _item(items, inner.number(4 if version > 2 else 2))
        inner.number(2)
        item.kind_at = inner.place
        item.kind = inner.take(4)
        item.hidden = bool(flags & 1)


def _references(content: bytes, box: Box, items: Items) -> None:
    fields = Fields(content, box.begin, box.end)
    size = 4 if fields.version()[0] else 2
    for entry in boxes(content, fields.place, box.end):
        inner = Fields(content, entry.begin, entry.end)
        source = inner.number(size)
        count = inner.number(2)
        _bound(len(items.references) + count)
        items.references += [(entry.kind, source, inner.number(size)) for _ in range(count)]


def _properties(content: bytes, box: Box, items: Items) -> None:
    parts = list(boxes(content, box.begin, box.end))
    listed = [
        entry
        for part in parts
        if part.kind == b"ipco"
        for entry in boxes(content, part.begin, part.end)
    ]
    total = 0
    for part in parts:
        if part.kind != b"ipma":
            continue
        fields = Fields(content, part.begin, part.end)
        version, flags = fields.version()
        size, mask = (2, 0x7FFF) if flags & 1 else (1, 0x7F)
        for _ in range(fields.number(4)):
            item = _item(items, fields.number(4 if version else 2))
            for _ in range(fields.number(1)):
                total += 1
                _bound(total)
                number = fields.number(size) & mask
                if 0 < number <= len(listed):
                    item.properties.append(listed[number - 1])


def _places(content: bytes, box: Box, items: Items) -> None:
    fields = Fields(content, box.begin, box.end)
    version, _ = fields.version()
    sizes = fields.number(2)
    of_offset, of_length, of_base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    of_index = sizes & 15 if version else 0
    total = 0
    for _ in range(fields.number(4 if version > 1 else 2)):
        item = _item(items, fields.number(4 if version > 1 else 2))
        item.inside = bool(version) and fields.number(2) & 15 == 1
        fields.number(2)
        base = fields.number(of_base)
        for _ in range(fields.number(2)):
            total += 1
            _bound(total)
            fields.number(of_index)
            offset = base + fields.number(of_offset)
            item.places.append((offset, fields.number(of_length)))


def _item(items: Items, number: int) -> Item:
    if len(items.by_number) > MOST_ITEMS:
        raise costly(f"a HEIF of more than {MOST_ITEMS:,} items")
    return items.by_number.setdefault(number, Item())


def _bound(count: int) -> None:
    if count > MOST_PLACES:
        raise costly(f"a HEIF of more than {MOST_PLACES:,} references")


_READERS = {
    b"pitm": _primary,
    b"iinf": _kinds,
    b"iref": _references,
    b"iprp": _properties,
    b"iloc": _places,
}
