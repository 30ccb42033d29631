"""The size that coded pictures of HEVC and AV1 state themselves, which their decoders go by."""

from __future__ import annotations

from collections.abc import Iterator

from dermhub.images.containers.still import RefusedError, costly

MOST_PARTS = 10_000
"""Accepted units of a coded picture."""

_PARAMETERS = 33
"""Type of an HEVC unit that states the size (ITU-T H.265, table 7-1)."""

_SEQUENCE = 1
"""Type of an AV1 unit that states the size (AV1 specification, section 6.2.2)."""


class _Bits:
    """A reader of bits. Raises EOFError at the end."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content)
        self._left = 8 * len(content)

    def number(self, count: int) -> int:
        """Return the next number of so many bits."""
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def exponential(self) -> int:
        """Return the next number in exponential Golomb code (H.265, section 9.2)."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)


def of_hevc(settings: bytes, picture: bytes) -> Iterator[tuple[int, int]]:
    """Yield every (width, height) that an HEVC picture and its box `hvcC` state.

    Raises RefusedError for too many units, and EOFError where one is cut short.
    """
    place = 23
    for _ in range(settings[22] if len(settings) > 22 else 0):
        kind = settings[place] & 63
        count = int.from_bytes(settings[place + 1 : place + 3])
        place += 3
        for _ in range(count):
            length = int.from_bytes(settings[place : place + 2])
            unit = settings[place + 2 : place + 2 + length]
            place += 2 + length
            if place > len(settings):
                raise EOFError
            if kind == _PARAMETERS:
                yield _of_parameters(unit)
    if len(settings) < 22:
        raise EOFError
    size = (settings[21] & 3) + 1
    place = 0
    for _ in range(MOST_PARTS):
        if place + size >= len(picture):
            return
        length = int.from_bytes(picture[place : place + size])
        place += size
        if picture[place] >> 1 & 63 == _PARAMETERS:
            yield _of_parameters(picture[place : place + length])
        place += length
    raise costly(f"a picture of more than {MOST_PARTS:,} parts")


def _of_parameters(unit: bytes) -> tuple[int, int]:
    """Return (width, height) of a sequence parameter set (H.265, section 7.3.2.2)."""
    # A three is put behind two zeros, so that nothing looks like the start of a unit. The sides
    # stand in the first bytes.
    bits = _Bits(unit[2:200].replace(b"\0\0\3", b"\0\0"))
    bits.number(4)
    layers = bits.number(3)
    # Profile and level, then the same of each lower layer, where flags say so.
    bits.number(1 + 88 + 8)
    flags = [(bits.number(1), bits.number(1)) for _ in range(layers)]
    if layers:
        bits.number(2 * (8 - layers))
    for profile, level in flags:
        bits.number(88 * profile + 8 * level)
    bits.exponential()
    if bits.exponential() == 3:
        bits.number(1)
    return bits.exponential(), bits.exponential()


def of_av1(settings: bytes, picture: bytes) -> Iterator[tuple[int, int]]:
    """Yield every (width, height) that an AV1 picture and its box `av1C` state.

    Raises RefusedError for too many units and for a video, and EOFError where one is cut short.
    """
    for part in (settings[4:], picture):
        place = 0
        for _ in range(MOST_PARTS):
            if place >= len(part):
                break
            head = part[place]
            place += 2 if head & 4 else 1
            length = len(part) - place
            if head & 2:
                length, place = _leb128(part, place)
            if head >> 3 & 15 == _SEQUENCE:
                yield _of_sequence(part[place : place + length])
            place += length
        else:
            raise costly(f"a picture of more than {MOST_PARTS:,} parts")


def _leb128(content: bytes, place: int) -> tuple[int, int]:
    """Return a number in the code LEB128 (AV1, section 4.10.5), and the place behind it."""
    value = 0
    for step in range(8):
        if place >= len(content):
            raise EOFError
        byte = content[place]
        place += 1
        value |= (byte & 127) << 7 * step
        if byte < 128:
            break
    return value, place


def _of_sequence(unit: bytes) -> tuple[int, int]:
    """Return (width, height) of a sequence header (AV1, section 5.5)."""
    bits = _Bits(unit[:200])
    bits.number(4)
    if bits.number(1):
        bits.number(5)
    else:
        if bits.number(1):
            raise RefusedError("is a video; expected one still image: save it as JPEG.")
        delays = bits.number(1)
        for _ in range(bits.number(5) + 1):
            bits.number(12)
            if bits.number(5) > 7:
                bits.number(1)
            if delays and bits.number(1):
                bits.number(4)
    sides = bits.number(4) + 1, bits.number(4) + 1
    return bits.number(sides[0]) + 1, bits.number(sides[1]) + 1
