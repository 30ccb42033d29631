"""GIF: the first picture and its palette (GIF89a, sections 17 to 23)."""

from __future__ import annotations

import re

from dermhub.images.containers.still import SEVERAL, RefusedError, Still, costly

STARTS = (b"GIF87a", b"GIF89a")

MOST_BLOCKS = 400_000
"""Accepted blocks of up to 255 bytes, in pictures and comments; 64 million pixels of
noise have 320,000.
"""

_HEAD = 13
"""Bytes before the global palette."""

_NEXT = re.compile(rb"[!,;]")
"""First byte of an extension, a picture, and the end; all else between them is passed over."""

_CONTROL = b"!\xf9\4"
"""Start of the extension that names the transparent colour of the picture after it."""


def still(content: bytes) -> Still:
    """Reduce a GIF to its picture; comments and what follows are left out."""
    head = content[: _HEAD + _palette(content[10:11])]
    control = picture = b""
    place = len(head)
    blocks = 0
    while (match := _NEXT.search(content, place)) and match[0] != b";":
        begin = match.start()
        if match[0] == b",":
            if picture:
                raise RefusedError(SEVERAL)
            # Nine bytes of size and flags, the palette, and one byte before the blocks.
            place = begin + 11 + _palette(content[begin + 9 : begin + 10])
        else:
            place = begin + 2
        # A block is a byte that states its length, and so many bytes; one of length 0 ends them.
        while place < len(content) and (length := content[place]):
            place += length + 1
            blocks += 1
            if blocks > MOST_BLOCKS:
                raise _blocks()
        place += 1
        # An extension without a block counts, too.
        blocks += 1
        if match[0] == b",":
            picture = content[begin:place]
        elif not picture and content[begin + 1 : begin + 2] == _CONTROL[1:2]:
            control = _CONTROL + content[begin + 3 : begin + 7] + b"\0"
        if blocks > MOST_BLOCKS:
            raise _blocks()
    return Still(b"".join([head, control, picture, b";" if match else b""]))


def _palette(flags: bytes) -> int:
    """Return the bytes of the palette that a byte of flags announces."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _blocks() -> RefusedError:
    return costly(f"a GIF of more than {MOST_BLOCKS:,} blocks")
