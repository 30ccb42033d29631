"""DICOM: one photograph of a clinic's archive, and nothing that is said of a patient.

The pixels alone, with the numbers that describe them, become a new file. Its JPEG or JPEG 2000 goes
to Pillow, as any other; pydicom unpacks what is uncompressed or in RLE (DICOM PS3.3, C.7.6.3).
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from dermhub import installation
from dermhub.images.containers import jpeg
from dermhub.images.containers.still import DAMAGED, TWO_SIZES, RefusedError, Still, costly
from dermhub.images.optional import dicom_elements
from dermhub.images.optional.dicom_elements import Elements, fragments

MOST_PIXELS = 12_500_000
"""Accepted pixels: uncompressed, they lie in memory five times, at three bytes each.

A million pixels of JPEG 2000 take its decoder 0.4 seconds, where nobody is content with less. Those
of a JPEG have the bounds of any JPEG.
"""
MOST_IN_RLE = 6_000_000
"""Accepted pixels in RLE, which lie in memory once more, and take up to a second and a half."""

MOST_RLE_BYTES = 1.1
"""Accepted bytes of RLE for each sample; an encoder adds one to 128 at most, and heads."""

IODS = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture",
}
"""Kinds of objects that may hold a photograph of skin (DICOM PS3.4, B.5)."""

EXPLICIT = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
JPEGS = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
JPEGS_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
UNCOMPRESSED = (dicom_elements.IMPLICIT, EXPLICIT)

GREY = ("MONOCHROME1", "MONOCHROME2")
HALVED = "YBR_FULL_422"
PALETTE = "PALETTE COLOR"

COLOURS = {
    **dict.fromkeys(UNCOMPRESSED, (*GREY, "RGB", "YBR_FULL", HALVED, PALETTE)),
    RLE: (*GREY, "RGB", "YBR_FULL", PALETTE),
    **dict.fromkeys(JPEGS, (*GREY, "RGB", "YBR_FULL", HALVED)),
    **dict.fromkeys(JPEGS_2000, (*GREY, "RGB", "YBR_RCT", "YBR_ICT")),
}
"""Transfer syntax -> the photometric interpretations that are read in it."""

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x0028_0002, 0x0028_0004, 0x0028_0006, 0x0028_0008
ROWS, COLUMNS = 0x0028_0010, 0x0028_0011
ALLOCATED, STORED, SIGNED = 0x0028_0100, 0x0028_0101, 0x0028_0103
PALETTES = ((0x0028_1101, 0x0028_1201), (0x0028_1102, 0x0028_1202), (0x0028_1103, 0x0028_1203))
"""Descriptor and values of the palette of red, green and blue."""

MOST_TILES = 1000
"""Accepted tiles of a JPEG 2000."""

MOST_MARKERS = 100
"""Accepted markers of a JPEG 2000 before the style of coding, which is nearly always the second."""

_CODING = 0x52
"""Second byte of the marker before the style of coding, in JPEG 2000."""

_UID = re.compile(r"[0-9.]{1,64}")

_ADVICE = "export its photograph as PNG or JPEG."


def is_dicom(content: bytes) -> bool:
    """Recognise a DICOM file by the mark after its first 128 bytes."""
    start = dicom_elements.START_AT
    return content[start : start + len(dicom_elements.START)] == dicom_elements.START


def still(content: bytes) -> Still:
    """Reduce a DICOM file to its pixels.

    Refused are several frames, other kinds of objects than photographs, other transfer syntaxes and
    colours than those of `COLOURS`, and pixels of more than 8 bits.
    """
    try:
        elements = dicom_elements.read_elements(content, COLOURS)
        _check(elements)
        return _still(elements, content)
    except (EOFError, IndexError, struct.error):
        raise RefusedError(DAMAGED) from None


def _still(elements: Elements, content: bytes) -> Still:
    assert elements.pixels is not None
    begin, end = elements.pixels
    syntax = elements.text(dicom_elements.SYNTAX)
    if syntax in UNCOMPRESSED:
        return _of_pixels(elements, content, begin, end)
    if end is not None:
        raise RefusedError(DAMAGED)
    packed = b"".join(fragments(content, begin))
    if syntax == RLE:
        width, height = _size(elements)
        if len(packed) > MOST_RLE_BYTES * width * height * elements.number(SAMPLES) + 1024:
            raise costly("a DICOM in RLE of more bytes than its pixels need")
        return Still(_file(elements, packed), opener=partial(_open_pixels, elements=elements))
    opener = partial(_open_image, elements=elements)
    if syntax in JPEGS:
        in_rgb = elements.text(PHOTOMETRIC) == "RGB"
        return replace(jpeg.still(packed, _adobe(in_rgb)), orientation=1, opener=opener)
    levels = _check_jpeg_2000(packed, elements)
    return Still(packed, opener=partial(_open_jpeg_2000, levels=levels, elements=elements))


def _check(elements: Elements) -> None:
    """Refuse a file whose description no reader of this module serves."""
    syntax = elements.text(dicom_elements.SYNTAX)
    iod = elements.text(dicom_elements.OF_DATA) or elements.text(dicom_elements.OF_META)
    if not syntax:
        raise RefusedError(DAMAGED)
    if syntax not in COLOURS:
        raise RefusedError(
            f"is a DICOM file in the transfer syntax {_shown(syntax)}; expected uncompressed "
            f"little-endian, RLE, JPEG or JPEG 2000: {_ADVICE}"
        )
    if iod not in IODS:
        raise RefusedError(
            f"is a DICOM file of the kind {_shown(iod)}; expected VL Photographic Image, "
            f"Dermoscopic Photography or Secondary Capture: {_ADVICE}"
        )
    if elements.pixels is None:
        raise RefusedError(f"is a DICOM file without pixels; expected a photograph: {_ADVICE}")
    frames = elements.text(FRAMES)
    if frames.strip() not in ("", "1"):
        number = f" of {int(frames)} frames" if re.fullmatch(r" *[0-9]{1,9}", frames) else ""
        raise RefusedError(
            f"is a multi-frame DICOM file{number}; expected one still image: export one of them as "
            "PNG or JPEG."
        )
    bits = elements.number(ALLOCATED), elements.number(STORED, 8)
    if bits != (8, 8) or elements.number(SIGNED):
        raise RefusedError(
            f"is a DICOM file of {bits[1]} bits a sample in {bits[0]}; expected 8 without a sign: "
            f"{_ADVICE}"
        )
    photometric = elements.text(PHOTOMETRIC)
    expected = COLOURS[syntax]
    if photometric not in expected:
        raise RefusedError(
            "is a DICOM file in another photometric interpretation than "
            f"{', '.join(expected[:-1])} and {expected[-1]}, which are read in its transfer "
            f"syntax: {_ADVICE}"
        )
    samples = 1 if photometric in (*GREY, PALETTE) else 3
    if elements.number(SAMPLES) != samples:
        raise RefusedError(
            f"is a DICOM file of {elements.number(SAMPLES)} samples a pixel; expected {samples} in "
            f"{photometric}: {_ADVICE}"
        )
    width, height = _size(elements)
    most, kind = (MOST_IN_RLE, "DICOM in RLE") if syntax == RLE else (MOST_PIXELS, "DICOM")
    if width * height > most and syntax not in JPEGS:
        raise RefusedError(
            f"({width} x {height} pixels) has more than the {most // 1_000_000} million pixels "
            f"that are accepted of a {kind}; scale it down first."
        )
    if width * height == 0 or (photometric == HALVED and width % 2):
        raise RefusedError(DAMAGED)
    if photometric == PALETTE:
        _palette(elements)


def _size(elements: Elements) -> tuple[int, int]:
    return elements.number(COLUMNS), elements.number(ROWS)


def _shown(uid: str) -> str:
    """Return a UID, which is made of digits and full stops and so names nobody."""
    return uid if _UID.fullmatch(uid) else "(none)"


def _of_pixels(elements: Elements, content: bytes, begin: int, end: int | None) -> Still:
    """Make a file of uncompressed pixels, which must all be there."""
    width, height = _size(elements)
    halved = elements.text(PHOTOMETRIC) == HALVED
    length = width * height * (2 if halved else elements.number(SAMPLES))
    if end is None or end > len(content) or not length <= end - begin <= length + 1:
        raise RefusedError(DAMAGED)
    made = _file(elements, content[begin : begin + length])
    return Still(made, opener=partial(_open_pixels, elements=elements))


def _file(elements: Elements, pixels: bytes) -> bytes:
    """Write a DICOM file of pixels alone.

    It calls them RGB or MONOCHROME2, and those of YBR_FULL_422 one sample of twice the width, so
    that no reader turns them into other colours: that is done in `_open_pixels`, in little memory.
    """
    width, height = _size(elements)
    samples = elements.number(SAMPLES)
    if elements.text(PHOTOMETRIC) == HALVED:
        width, samples = 2 * width, 1
    packed = elements.text(dicom_elements.SYNTAX) == RLE
    syntax = _text(RLE if packed else EXPLICIT)
    meta = _element(dicom_elements.SYNTAX, b"UI", syntax)
    values = [
        _element(SAMPLES, b"US", struct.pack("<H", samples)),
        _element(PHOTOMETRIC, b"CS", _text("RGB" if samples == 3 else "MONOCHROME2")),
        _element(PLANAR, b"US", struct.pack("<H", elements.number(PLANAR)))
        if samples == 3
        else b"",
        *(
            _element(tag, b"US", struct.pack("<H", value))
            for tag, value in (
                *((ROWS, height), (COLUMNS, width), (ALLOCATED, 8), (STORED, 8)),
                *((STORED + 1, 7), (SIGNED, 0)),
            )
        ),
    ]
    pixels += b"\0" * (len(pixels) % 2)
    if packed:
        # An empty table of offsets, one fragment, and the end.
        head = _element(dicom_elements.PIXELS, b"OB", b"", dicom_elements.UNKNOWN_LENGTH)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack(
            "<HHI", 0xFFFE, 0xE000, len(pixels)
        )
        end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    else:
        head = _element(dicom_elements.PIXELS, b"OB", b"", len(pixels))
        item = end = b""
    group = _element(0x0002_0000, b"UL", struct.pack("<I", len(meta)))
    start = bytes(dicom_elements.START_AT) + dicom_elements.START
    return b"".join([start, group, meta, *values, head, item, pixels, end])


def _text(text: str) -> bytes:
    """Encode text with an even number of bytes: UIDs end in a zero, other text in a blank."""
    return text.encode() + (b"\0" if text[0].isdigit() else b" ") * (len(text) % 2)


def _element(tag: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    """Write an element, or with a `length` the head of one of type OB."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    if length is not None:
        return head + b"\0\0" + struct.pack("<I", length)
    return head + struct.pack("<H", len(value)) + value


def _open_pixels(content: bytes, elements: Elements) -> Image.Image:
    """Unpack pixels by pydicom. Raises RefusedError where it is not installed."""
    try:
        import pydicom
    except ImportError:
        raise RefusedError(
            f"is a DICOM file, which needs pydicom: {installation.advice('pydicom')}, or {_ADVICE}"
        ) from None
    size = _size(elements)
    photometric = elements.text(PHOTOMETRIC)
    pixels: NDArray[np.uint8] = pydicom.dcmread(io.BytesIO(content)).pixel_array
    if photometric == HALVED:
        # Two luminances and their common colours (PS3.3, C.7.6.3.1.2).
        quads = pixels.reshape(size[1], size[0] // 2, 4)
        pixels = np.empty((size[1], size[0] // 2, 2, 3), np.uint8)
        pixels[..., 0] = quads[..., :2]
        pixels[..., 1:] = quads[..., None, 2:]
    mode = {"RGB": "RGB", PALETTE: "P"}.get(photometric, "L" if photometric in GREY else "YCbCr")
    image = Image.frombytes(mode, size, np.ascontiguousarray(pixels))
    if mode == "P":
        image.putpalette(_palette(elements))
    return _finished(image, photometric)


def _open_image(content: bytes, elements: Elements) -> Image.Image:
    """Open a JPEG by Pillow, without decoding it."""
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    if image.size != _size(elements):
        raise RefusedError(TWO_SIZES)
    photometric = elements.text(PHOTOMETRIC)
    return _finished(image, photometric) if photometric == GREY[0] else image


class _Jpeg2000(Jpeg2KImageFile):
    """A JPEG 2000 that can be decoded at a smaller scale, as Pillow has it for a JPEG.

    `levels` is how often its sides can be halved.
    """

    levels = 0

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:
        """Decode at the smallest scale whose sides are no shorter than `size`."""
        assert mode is None
        assert size
        halved = 0
        while halved < self.levels and self.width >> halved + 1 >= size[0]:
            halved += 1
        self._reduce = halved
        self.load()
        # While it is set, it takes the place of the method `reduce`.
        self._reduce = 0


def _open_jpeg_2000(content: bytes, levels: int, elements: Elements) -> Image.Image:
    """Open a JPEG 2000 by Pillow, without decoding it."""
    image = _Jpeg2000(io.BytesIO(content))
    image.levels = levels
    photometric = elements.text(PHOTOMETRIC)
    return _finished(image, photometric) if photometric == GREY[0] else image


def _finished(image: Image.Image, photometric: str) -> Image.Image:
    """Invert an image whose lowest value is white."""
    if photometric == GREY[0]:
        image = ImageOps.invert(image)
    image.format = "DICOM"
    return image


def _palette(elements: Elements) -> bytes:
    """Return the palette as 256 times three bytes. Raises RefusedError where it is not whole."""
    columns = []
    for descriptor, values in PALETTES:
        if descriptor not in elements.values or values not in elements.values:
            raise RefusedError(
                f"is a DICOM file without a whole palette of plain values; expected one: {_ADVICE}"
            )
        # A count of 0 stands for 65,536.
        count, first, bits = struct.unpack_from("<HhH", elements.values[descriptor])
        if bits not in (8, 16):
            raise RefusedError(DAMAGED)
        # Of 16 bits, little-endian, the higher eight count.
        column = np.frombuffer(elements.values[values], np.uint8)
        levels = (column if bits == 8 else column[1::2])[: count or 65536]
        if len(levels) == 0:
            raise RefusedError(DAMAGED)
        # Indices outside mean the first or the last entry.
        columns.append(levels[np.clip(np.arange(256) - first, 0, len(levels) - 1)])
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()


def _check_jpeg_2000(content: bytes, elements: Elements) -> int:
    """Refuse a JPEG 2000 that states another size, or many tiles (ITU-T T.800, A.5.1).

    Returns how often its sides can be halved (A.6.1).
    """
    if content[:4] != b"\xff\x4f\xff\x51":
        raise RefusedError(DAMAGED)
    right, lower, left, upper, wide, high, *_ = struct.unpack_from(">8I", content, 8)
    (samples,) = struct.unpack_from(">H", content, 40)
    if (right - left, lower - upper) != _size(elements) or samples != elements.number(SAMPLES):
        raise RefusedError(TWO_SIZES)
    if not wide or not high or -(-right // wide) * -(-lower // high) > MOST_TILES:
        raise costly(f"a JPEG 2000 of more than {MOST_TILES:,} tiles")
    # Bits of a sample, less one; the highest bit is a sign.
    if any(content[42 + 3 * number] != 7 for number in range(samples)):
        raise RefusedError(f"is a JPEG 2000 of more or less than 8 bits a sample: {_ADVICE}")
    place = 2
    for _ in range(MOST_MARKERS):
        if content[place + 1] == _CODING:
            return content[place + 9]
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    raise costly(f"a JPEG 2000 of more than {MOST_MARKERS} markers")


def _adobe(in_rgb: bool) -> bytes:
    """Return the segment by which a JPEG decoder knows the colours: RGB or YCbCr."""
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([not in_rgb])
