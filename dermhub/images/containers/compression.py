"""How strongly a JPEG or a lossy WebP was compressed, by its own numbers of quantisation."""

from __future__ import annotations

LEAST_JPEG = 65
"""Quality, as the JPEG library of the IJG numbers it, below which a JPEG is strongly compressed.

Of 300 validation images of 256 x 256 pixels saved anew at 70, 3 % get another most probable class,
at 60, 50 and 40 it is 8 %, and at 20 14 % (docs/limits.md).
"""

MOST_WEBP = 20
"""Index of quantisation, 0 to 127, above which a WebP is strongly compressed.

Google's encoder takes 12 for a quality of 90, with which 6 % of these images get another most
probable class, and 27 for its default, 80, with which it is 12 %.
"""

STANDARD = 3688
"""Sum of the luminance table at quality 50 (ITU-T T.81, table K.1)."""

_EVEN = 128
"""Probability, of 256, of the bits in a header."""


def jpeg_quality(tables: bytes) -> float | None:
    """Estimate the quality, 1 to 100, from the tables of a segment DQT; None without the first.

    The library of the IJG multiplies the standard table by 50 / quality below 50, and by
    2 - quality / 50 above. Other encoders have other tables, of which the sum counts.
    """
    place = 0
    while place < len(tables):
        long, number = divmod(tables[place], 16)
        size = 128 if long else 64
        table = tables[place + 1 : place + 1 + size]
        place += 1 + size
        if number == 0 and len(table) == size:
            total = sum(table[0::2]) * 256 + sum(table[1::2]) if long else sum(table)
            share = total / STANDARD
            return 50 / share if share > 1 else 100 - 50 * share
    return None


def webp_index(frame: bytes) -> int | None:
    """Return the index of quantisation, 0 to 127, of a chunk "VP8 "; None where it is cut short.

    It stands behind the settings of segments and of the filter (RFC 6386, sections 9.3 to 9.6).
    Google's encoder states the strongest of its segments there.
    """
    bits = _Bits(frame[10:210])
    # Colours, and how values are cut off.
    bits.number(2)
    if bits.number(1):
        with_map = bits.number(1)
        if bits.number(1):
            bits.number(1)
            for size in (7, 7, 7, 7, 6, 6, 6, 6):
                bits.optional(size + 1)
        if with_map:
            for _ in range(3):
                bits.optional(8)
    # Kind, strength and sharpness of the filter, and its changes.
    bits.number(10)
    if bits.number(1) and bits.number(1):
        for _ in range(8):
            bits.optional(7)
    bits.number(2)
    index = bits.number(7)
    return None if bits.ended else index


class _Bits:
    """A reader of bits in arithmetic coding, all of even probability (RFC 6386, section 7.3)."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 2
        self._value = int.from_bytes(content[:2])
        self._range = 255
        self._shifted = 0

    @property
    def ended(self) -> bool:
        """True where bits beyond the end were read."""
        return self._place > len(self._content)

    def number(self, count: int) -> int:
        """Return the next number of so many bits."""
        value = 0
        for _ in range(count):
            value = 2 * value + self._bit()
        return value

    def optional(self, count: int) -> None:
        """Pass over a number of so many bits, if a bit says that it is there."""
        if self._bit():
            self.number(count)

    def _bit(self) -> int:
        split = 1 + ((self._range - 1) * _EVEN >> 8)
        bit = self._value >= split << 8
        if bit:
            self._range -= split
            self._value -= split << 8
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shifted += 1
            if self._shifted == 8:
                self._shifted = 0
                self._value |= self._content[self._place] if self._place < len(self._content) else 0
                self._place += 1
        return int(bit)
