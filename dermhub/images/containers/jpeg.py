"""JPEG: the segments that hold pixels (ITU-T T.81, annex B), and how often scans visit them.

A progressive JPEG may visit every block of the image again with each scan of a few bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from dermhub.images.containers.compression import LEAST_JPEG, jpeg_quality
from dermhub.images.containers.orientation import orientation
from dermhub.images.containers.still import RefusedError, Still, costly

START = b"\xff\xd8"

MOST_SCANS = 50
"""Accepted scans; encoders write 1 to 14."""

MOST_VISITS = 1_000_000_000
"""Accepted visits of samples, in all scans; the default script for 32 megapixels of CMYK has 0.8.
"""

ARITHMETIC = 4
"""Visits that a visit in arithmetic coding counts as: it may take that many times as long."""

MOST_SEGMENTS = 10_000
"""Accepted segments; a colour profile has at most 255, and EXIF and previews a few hundred."""

MOST_TABLES = 1000
"""Accepted segments that a decoder needs: an image of 50 scans may have four tables for each."""

MOST_HELD = 32_000_000
"""Accepted pixels of a progressive JPEG, and of one whose components come in scans of their own.

A decoder holds all their coefficients, six or eight bytes a pixel.
"""

BITS = 8
COMPONENTS = (1, 3, 4)
"""Bits and numbers of components that Pillow reads: grey, colour, and CMYK."""

MOST_MENDED = 16_000_000
"""Pixels of a file without an end marker that is decoded several times, to see if it is whole."""

CUT = 16
"""Bytes at the end of an image of which no decoder can do without all."""

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker that begins a segment or ends the image. Compressed data hold restarts alone."""

_FILL = b"\xff" * 4096

_END = 0xD9
_SCAN = 0xDA
_QUANTISATION = 0xDB
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xCA})
_ARITHMETIC_FRAMES = frozenset({0xC9, 0xCA})
_RARE_FRAMES = _FRAMES - {0xC0, 0xC1, 0xC3} - _PROGRESSIVE_FRAMES - _ARITHMETIC_FRAMES

_FRAME = struct.Struct(">HBHHB")
"""Start of a frame header: length, bits of a sample, height, width, number of components."""

_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})
"""Huffman and quantisation tables, conditioning, number of lines, and restart interval."""

_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Application segments and comments."""

_JFIF = (0xE0, b"JFIF\0")
_EXIF = (0xE1, b"Exif\0\0")
_XMP = (0xE1, b"http://ns.adobe.com/xap/1.0/\0")
_ADOBE = (0xEE, b"Adobe")


@dataclass
class _Scans:
    """The scans of an image so far."""

    size: tuple[int, int] = (0, 0)
    progressive: bool = False
    factor: int = 1
    samples: dict[int, float] = field(default_factory=dict)
    """Samples of each component, as a share of the pixels."""
    count: int = 0
    visits: float = 0
    exact: set[tuple[int, int]] = field(default_factory=set)
    """(component, coefficient) of which every bit has come."""

    @property
    def area(self) -> int:
        """Pixels of the image."""
        return self.size[0] * self.size[1]

    def frame(self, marker: int, body: bytes) -> None:
        """Take size and components from a frame header; cut short, it is left to the decoder."""
        if len(body) < _FRAME.size:
            return
        _, bits, height, width, number = _FRAME.unpack_from(body)
        if bits != BITS or number not in COMPONENTS:
            raise RefusedError(
                f"is a JPEG of {bits} bits a sample and {number} component(s); expected {BITS} "
                "bits and one, three or four: save it as PNG."
            )
        if marker in _RARE_FRAMES:
            raise RefusedError(
                "is a lossless or hierarchical JPEG; expected an ordinary one: save it as PNG."
            )
        self.size = width, height
        self.progressive = marker in _PROGRESSIVE_FRAMES
        self.factor = ARITHMETIC if marker in _ARITHMETIC_FRAMES else 1
        components = [body[place : place + 2] for place in range(_FRAME.size, len(body) - 2, 3)]
        sizes = {name: (factors >> 4) * (factors & 15) for name, factors in components}
        largest = max(sizes.values(), default=0) or 1
        self.samples = {name: size / largest for name, size in sizes.items()}

    def scan(self, body: bytes) -> None:
        """Count a scan by its header."""
        self.count += 1
        if self.count > MOST_SCANS:
            raise costly(f"a JPEG of more than {MOST_SCANS} scans")
        listed = 3 + 2 * (body[2] if len(body) > 2 else 0)
        names = body[3:listed:2]
        width, height = self.size
        kind = "progressive JPEG" if self.progressive else "JPEG of several scans"
        if (self.progressive or len(names) < len(self.samples)) and self.area > MOST_HELD:
            raise RefusedError(
                f"({width} x {height} pixels) has more than the {MOST_HELD // 1_000_000} "
                f"million pixels that are accepted of a {kind}; scale it down first."
            )
        share = sum(self.samples.get(name, 1) for name in names)
        self.visits += self.area * share * self.factor
        # A component may come in a scan of its own. The size is for the decoder to judge.
        if self.count > len(self.samples) and self.visits > MOST_VISITS:
            raise costly(f"a JPEG of more than {self.count - 1} scans of this size")
        # First and last coefficient, and how many of their lowest bits are still to come.
        first, last, bits = body[listed : listed + 3].ljust(3, b"\1")
        if bits & 15 == 0:
            self.exact |= {(name, k) for name in names for k in range(first, min(last, 63) + 1)}

    @property
    def whole(self) -> bool:
        """True where every coefficient of every component has come with all its bits."""
        return len(self.exact) == 64 * len(self.samples) > 0


def still(content: bytes, colours: bytes = b"") -> Still:
    """Reduce a JPEG to the tables, the frame and the scans of its first image.

    Of the application segments, those two are kept by which a decoder knows the colours; `colours`
    takes their place in a JPEG without them.
    """
    kept: list[bytes] = [START]
    exif: list[bytes] = []
    jfif = adobe = xmp = b""
    quality: float | None = None
    scans = _Scans()
    ended = False
    for marker, place, end, following in _segments(content):
        if len(kept) > MOST_TABLES:
            raise costly(f"a JPEG of more than {MOST_TABLES:,} tables")
        body = content[place:end]
        if marker == _END:
            kept.append(content[place - 2 : place])
            ended = True
            break
        if marker in _METADATA:
            if not jfif and _is(_JFIF, marker, body):
                jfif = content[place - 2 : end]
            elif _is(_ADOBE, marker, body):
                adobe = content[place - 2 : end]
            elif _is(_EXIF, marker, body):
                exif.append(body[2 + len(_EXIF[1]) :])
            elif _is(_XMP, marker, body):
                xmp = body
            continue
        if marker == _SCAN:
            scans.scan(body)
            # Fill bytes before the next marker: the decoder would read them over and over.
            kept.append(content[place - 2 : following].rstrip(b"\xff"))
            if _FILL in kept[-1]:
                raise costly("a JPEG with thousands of fill bytes among its pixels")
            continue
        if marker in _FRAMES:
            scans.frame(marker, body)
        elif marker not in _TABLES:
            # No decoder goes on after it.
            kept.append(content[place - 2 : place + 2])
            break
        elif marker == _QUANTISATION and quality is None:
            quality = jpeg_quality(body[2:])
        kept.append(content[place - 2 : end])
    kept[1:1] = [jfif, adobe] if jfif or adobe else [colours]
    whole = b"".join(kept)
    turn = orientation(b"".join(exif), xmp)
    strong = "JPEG" if quality is not None and quality < LEAST_JPEG else ""
    if ended:
        return Still(whole, turn, compressed=strong)
    if whole.endswith(bytes(CUT)):
        # A file that was copied in part may go on in zeros, which a decoder takes for pixels.
        whole = whole.rstrip(b"\0")
        # A byte FF of compressed data is followed by a zero.
        whole += b"\0" * whole.endswith(b"\xff")
    if not scans.whole or scans.area > MOST_MENDED:
        return Still(whole, turn, compressed=strong)
    first, second = _ENDINGS
    return Still(whole + first, turn, "", whole + second, whole[:-CUT] + first, strong)


def count_scans(content: bytes) -> int:
    """Count the scans of a JPEG."""
    return sum(marker == _SCAN for marker, _, _, _ in _segments(content))


def _segments(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (marker, place and end of its segment, place of the next marker).

    A segment begins with its length; between two may lie compressed data, fill bytes, or anything.
    """
    match = _MARKER.search(content, len(START))
    for _ in range(MOST_SEGMENTS):
        if match is None:
            return
        place = match.end()
        marker = content[place - 1]
        end = place if marker == _END else place + int.from_bytes(content[place : place + 2], "big")
        match = _MARKER.search(content, end)
        yield marker, place, end, match.start() if match else len(content)
    raise costly(f"a JPEG of more than {MOST_SEGMENTS:,} segments")


def _is(mark: tuple[int, bytes], marker: int, body: bytes) -> bool:
    """Recognise an application segment by its marker and the text after its length."""
    return marker == mark[0] and body.startswith(mark[1], 2)


def _ending(first: int, noise: bytes) -> bytes:
    """Write an end for a file without one: noise in between restarts from RST`first` on, then EOI.

    A decoder that has all pixels passes over the noise. One that has not takes it for pixels, or
    leaves a part grey where it waits for another restart.
    """
    numbers = [*range(first, 8), *range(first)]
    restarts = b"".join(noise + bytes([0xFF, 0xD0 + number]) for number in numbers)
    return restarts + noise + b"\xff\xd9"


_NOISE = b"\x55" + bytes(range(1, 250, 3))

_ENDINGS = (_ending(0, _NOISE), _ending(4, bytes(255 - byte for byte in _NOISE)))
"""Two endings: the first bits of the noise, 01 and 10, are different in every Huffman code."""
