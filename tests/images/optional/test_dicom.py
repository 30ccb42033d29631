"""DICOM photographs: pixels as they were written, refusals by name, and nothing of a patient."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dermhub import installation
from dermhub.errors import ImageError
from dermhub.images.decode import open_file, to_rgb
from dermhub.images.optional import dicom_elements
from tests.support import odd_files

# Version 2.4 reads these files as well, but writes no such ones.
pytest.importorskip("pydicom", "3.0", reason="pydicom 3 is not installed: pip install pydicom")

from tests.support import dicom_files as files

WIDTH, HEIGHT = files.photograph().size
PIXELS: NDArray[np.uint8] = np.asarray(files.photograph())
YCBCR: NDArray[np.uint8] = np.asarray(files.photograph().convert("YCbCr"))
GREY: NDArray[np.uint8] = np.asarray(files.photograph().convert("L"))
SIZE = (WIDTH, HEIGHT)

CUT = "is damaged or cut short and can't be decoded; expected a whole image: copy or save it anew."

EXPORT = "export its photograph as PNG or JPEG."


def refusal(content: bytes) -> str:
    """The sentence with which a file is refused, without its name."""
    with pytest.raises(ImageError) as raised:
        to_rgb(content)
    text = str(raised.value)
    assert files.NAME not in text
    assert "Erika" not in text
    assert "\n" not in text
    return text.removeprefix("the uploaded data ")


def furthest(content: bytes, expected: NDArray[np.uint8]) -> int:
    """The largest difference of a file's pixels from others."""
    decoded = np.asarray(to_rgb(content)).astype(int)
    assert decoded.shape == expected.shape
    return int(np.abs(decoded - expected).max())


@pytest.mark.parametrize("syntax", [files.IMPLICIT, files.EXPLICIT])
@pytest.mark.parametrize("iod", [files.DERMOSCOPIC, files.PHOTOGRAPHIC, files.SECONDARY])
def test_uncompressed(syntax: str, iod: str) -> None:
    assert furthest(files.plain(syntax=syntax, iod=iod), PIXELS) == 0


def test_planes_one_behind_the_other() -> None:
    planes = PIXELS.transpose(2, 0, 1).tobytes()
    assert furthest(files.dicom(planes, SIZE, PlanarConfiguration=1), PIXELS) == 0


def test_luminance_and_colours() -> None:
    content = files.dicom(YCBCR.tobytes(), SIZE, "YBR_FULL")
    expected = np.asarray(Image.fromarray(YCBCR, "YCbCr").convert("RGB"))
    assert furthest(content, expected) == 0


def test_two_pixels_share_their_colours() -> None:
    # Two pixels of luminance 100 and 200, and 128, 128 for no colour: two greys.
    row = bytes([100, 200, 128, 128]) * 32
    greys = np.repeat(np.tile(np.array([100, 200], np.uint8), (64, 32))[..., None], 3, axis=2)
    assert furthest(files.dicom(row * 64, (64, 64), "YBR_FULL_422"), greys) == 0
    # Red of ITU-R BT.601: 76, 85, 255.
    row = bytes([76, 76, 85, 255]) * 32
    red = np.tile(np.array([254, 0, 0], np.uint8), (64, 64, 1))
    assert furthest(files.dicom(row * 64, (64, 64), "YBR_FULL_422"), red) <= 1


@pytest.mark.parametrize("syntax", [files.EXPLICIT, files.RLE, files.JPEG])
def test_grey_with_white_as_the_lowest_or_highest_value(syntax: str) -> None:
    def content(grey: NDArray[np.uint8], photometric: str) -> bytes:
        pixels = grey.tobytes()
        if syntax == files.RLE:
            pixels = files.run_lengths([pixels])
        if syntax == files.JPEG:
            pixels = files.packed("JPEG", Image.fromarray(grey), quality=100)
        return files.dicom(pixels, SIZE, photometric, syntax)

    expected = np.repeat(GREY[..., None], 3, axis=2)
    largest = 2 if syntax == files.JPEG else 0
    assert furthest(content(GREY, "MONOCHROME2"), expected) <= largest
    assert furthest(content(255 - GREY, "MONOCHROME1"), expected) <= largest


def palette(bits: int, first: int = 0) -> dict[str, Any]:
    """A palette of three colours: red, green and blue."""
    attributes: dict[str, Any] = {}
    for place, colour in enumerate(("Red", "Green", "Blue")):
        levels = [200 if entry == place else 10 for entry in range(3)]
        kind = "<u2" if bits == 16 else np.uint8
        values = np.array([level * (257 if bits == 16 else 1) for level in levels], kind).tobytes()
        descriptor = [3, first, bits]
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = descriptor
        attributes[f"{colour}PaletteColorLookupTableData"] = values + b"\0" * (len(values) % 2)
    return attributes


@pytest.mark.parametrize("syntax", [files.EXPLICIT, files.IMPLICIT, files.RLE])
@pytest.mark.parametrize("bits", [8, 16])
def test_palette(syntax: str, bits: int) -> None:
    indices = np.tile(np.arange(4, dtype=np.uint8), (64, 16))
    pixels = files.run_lengths([indices.tobytes()]) if syntax == files.RLE else indices.tobytes()
    content = files.dicom(pixels, (64, 64), "PALETTE COLOR", syntax, **palette(bits))
    # An index beyond the palette means its last colour.
    colours = np.array([[200, 10, 10], [10, 200, 10], [10, 10, 200], [10, 10, 200]], np.uint8)
    assert furthest(content, colours[indices]) == 0


def test_palette_that_begins_later() -> None:
    indices = np.tile(np.arange(4, dtype=np.uint8), (64, 16))
    content = files.dicom(indices.tobytes(), (64, 64), "PALETTE COLOR", **palette(16, 2))
    # Indices below the first mean the first colour.
    colours = np.array([[200, 10, 10]] * 3 + [[10, 200, 10]], np.uint8)
    assert furthest(content, colours[indices]) == 0


def test_run_lengths() -> None:
    planes = [PIXELS[..., number].tobytes() for number in range(3)]
    assert furthest(files.dicom(files.run_lengths(planes), SIZE, syntax=files.RLE), PIXELS) == 0


def test_run_lengths_made_to_be_slow() -> None:
    # A literal of one byte takes two, and a step of the decoder.
    plane = b"\0\7" * (WIDTH * HEIGHT)
    heads = np.array([3, 64, 64 + len(plane), 64 + 2 * len(plane), *[0] * 12], "<u4").tobytes()
    content = files.dicom(files.fragment(heads + plane * 3), SIZE, syntax=files.RLE)
    assert refusal(content).startswith("is a DICOM in RLE of more bytes than its pixels need, made")


def test_a_jpeg_is_decoded_as_any_other() -> None:
    stream = io.BytesIO()
    files.photograph().save(stream, "JPEG", quality=90)
    content = files.dicom(files.packed("JPEG", quality=90), SIZE, "YBR_FULL_422", files.JPEG)
    assert furthest(content, np.asarray(to_rgb(stream.getvalue()))) == 0
    # Its decoder divides, as it does with other JPEGs.
    assert open_file(content).decode(HEIGHT // 2).rgb.size == (WIDTH // 2, HEIGHT // 2)


@pytest.mark.parametrize("said", ["RGB", "YBR_FULL_422"])
def test_marks_in_a_jpeg_count_more_than_the_file_around_it(said: str) -> None:
    content = files.dicom(files.packed("JPEG", quality=95), SIZE, said, files.JPEG)
    assert furthest(content, PIXELS) < 20


@pytest.mark.parametrize("in_rgb", [True, False])
def test_a_jpeg_without_marks_has_the_colours_that_the_file_states(in_rgb: bool) -> None:
    image = files.photograph() if in_rgb else files.photograph().convert("YCbCr")
    stream = io.BytesIO()
    # As three colours that are not converted, without a mark.
    Image.fromarray(np.asarray(image), "RGB").save(stream, "JPEG", quality=95, keep_rgb=True)
    jpeg = stream.getvalue()
    adobe = jpeg.index(b"\xff\xee")
    bare = jpeg[:adobe] + jpeg[adobe + 16 :]
    # Nor do the names of the components tell the colours.
    for new, old in zip(b"\1\2\3", b"RGB", strict=True):
        bare = bare.replace(bytes([old, 0x11, 0]), bytes([new, 0x11, 0]))
    frame = bare.index(b"\xff\xc0")
    head = bare[frame : frame + 19]
    for new, old in zip(b"\1\2\3", b"RGB", strict=True):
        head = head.replace(bytes([old, 0x11]), bytes([new, 0x11]))
    bare = bare[:frame] + head + bare[frame + 19 :]
    scan = bare.index(b"\xff\xda")
    body = bare[scan : scan + 14]
    for new, old in zip(b"\1\2\3", b"RGB", strict=True):
        body = body.replace(bytes([old]), bytes([new]))
    bare = bare[:scan] + body + bare[scan + 14 :]
    said = "RGB" if in_rgb else "YBR_FULL"
    content = files.dicom(files.fragment(bare), SIZE, said, files.JPEG)
    assert furthest(content, PIXELS) < 20


def test_jpeg_2000() -> None:
    pixels = files.packed("JPEG2000", no_jp2=True)
    content = files.dicom(pixels, SIZE, "YBR_RCT", files.JPEG_2000)
    assert furthest(content, PIXELS) == 0
    # Its decoder halves the sides, and the rest is divided afterwards.
    decoded = open_file(content).decode(HEIGHT // 3)
    assert (decoded.rgb.size, decoded.size) == ((WIDTH // 2, HEIGHT // 2), SIZE)
    expected = np.asarray(files.photograph().reduce(2)).astype(int)
    assert np.abs(np.asarray(decoded.rgb) - expected).mean() < 3


def test_a_jpeg_2000_that_can_not_be_halved() -> None:
    pixels = files.packed("JPEG2000", no_jp2=True, num_resolutions=1)
    content = files.dicom(pixels, SIZE, "YBR_RCT", files.JPEG_2000)
    decoded = open_file(content).decode(HEIGHT // 2)
    assert np.array_equal(np.asarray(decoded.rgb), np.asarray(files.photograph().reduce(2)))
    grey = files.packed("JPEG2000", Image.fromarray(255 - GREY), no_jp2=True)
    content = files.dicom(grey, SIZE, "MONOCHROME1", files.JPEG_2000)
    assert furthest(content, np.repeat(GREY[..., None], 3, axis=2)) == 0
    grey = files.packed("JPEG2000", Image.fromarray(GREY), no_jp2=True)
    content = files.dicom(grey, SIZE, "MONOCHROME2", files.JPEG_2000)
    assert open_file(content).decode(HEIGHT // 4).rgb.size == (WIDTH // 4, -(-HEIGHT // 4))


def test_a_jpeg_is_not_turned_by_its_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = files.dicom(files.packed("JPEG", exif=exif), SIZE, "YBR_FULL_422", files.JPEG)
    assert to_rgb(content).size == SIZE


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"syntax": "1.2.840.10008.1.2.1.99"},
            "is a DICOM file in the transfer syntax 1.2.840.10008.1.2.1.99; expected uncompressed "
            f"little-endian, RLE, JPEG or JPEG 2000: {EXPORT}",
        ),
        (
            {"syntax": "1.2.840.10008.1.2.4.80", "pixels": files.packed("JPEG")},
            "is a DICOM file in the transfer syntax 1.2.840.10008.1.2.4.80; expected uncompressed "
            f"little-endian, RLE, JPEG or JPEG 2000: {EXPORT}",
        ),
        (
            {"iod": "1.2.840.10008.5.1.4.1.1.2"},
            "is a DICOM file of the kind 1.2.840.10008.5.1.4.1.1.2; expected VL Photographic "
            f"Image, Dermoscopic Photography or Secondary Capture: {EXPORT}",
        ),
        (
            {"NumberOfFrames": 12},
            "is a multi-frame DICOM file of 12 frames; expected one still image: export one of "
            "them as PNG or JPEG.",
        ),
        (
            {"BitsAllocated": 16, "BitsStored": 12},
            f"is a DICOM file of 12 bits a sample in 16; expected 8 without a sign: {EXPORT}",
        ),
        (
            {"PixelRepresentation": 1},
            f"is a DICOM file of 8 bits a sample in 8; expected 8 without a sign: {EXPORT}",
        ),
        (
            {"photometric": "YBR_PARTIAL_420"},
            "is a DICOM file in another photometric interpretation than MONOCHROME1, MONOCHROME2, "
            "RGB, YBR_FULL, YBR_FULL_422 and PALETTE COLOR, which are read in its transfer syntax: "
            + EXPORT,
        ),
        (
            {"SamplesPerPixel": 4},
            f"is a DICOM file of 4 samples a pixel; expected 3 in RGB: {EXPORT}",
        ),
        (
            {"photometric": "PALETTE COLOR"},
            f"is a DICOM file without a whole palette of plain values; expected one: {EXPORT}",
        ),
        (
            {"PixelData": None},
            f"is a DICOM file without pixels; expected a photograph: {EXPORT}",
        ),
        (
            {"Rows": 60_000, "Columns": 60_000},
            "(60000 x 60000 pixels) has more than the 12 million pixels that are accepted of a "
            "DICOM; scale it down first.",
        ),
        (
            {"Rows": 2450, "Columns": 2450, "syntax": files.RLE, "pixels": files.packed("PNG")},
            "(2450 x 2450 pixels) has more than the 6 million pixels that are accepted of a DICOM "
            "in RLE; scale it down first.",
        ),
        ({"Rows": HEIGHT + 1}, CUT),
        ({"Rows": HEIGHT - 1}, CUT),
        ({"Rows": 0}, CUT),
        ({"Rows": None}, CUT),
        ({"pixels": b"\0" * 10}, CUT),
        ({"photometric": "YBR_FULL_422", "Columns": WIDTH - 1}, CUT),
    ],
)
def test_what_is_not_read_is_refused_by_name(attributes: dict[str, Any], expected: str) -> None:
    given = {"pixels": PIXELS.tobytes(), "size": SIZE, **attributes}
    assert refusal(files.dicom(**given)) == expected


@pytest.mark.parametrize(
    ("pixels", "syntax", "expected"),
    [
        (files.packed("JPEG", Image.new("RGB", (64, 64))), files.JPEG, "states two sizes for one"),
        (
            files.packed("JPEG2000", Image.new("RGB", (64, 64)), no_jp2=True),
            files.JPEG_2000,
            "states two sizes for one",
        ),
        (files.packed("JPEG2000"), files.JPEG_2000, CUT),
        (files.packed("PNG"), files.JPEG, "is a DICOM file that is damaged or cut short;"),
        (files.packed("PNG"), files.JPEG_2000, CUT),
        (files.packed("JPEG")[:3000], files.JPEG, CUT),
        (files.run_lengths([b"\0" * 100] * 3), files.RLE, CUT),
        (files.packed("PNG"), files.RLE, CUT),
    ],
    ids=["JPEG", "JPEG 2000", "JP2", "PNG", "PNG as 2000", "cut JPEG", "short RLE", "no RLE"],
)
def test_packed_pixels_of_another_kind(pixels: bytes, syntax: str, expected: str) -> None:
    photometric = "YBR_RCT" if syntax == files.JPEG_2000 else "RGB"
    assert refusal(files.dicom(pixels, SIZE, photometric, syntax)).startswith(expected)


def test_a_jpeg_2000_of_many_tiles() -> None:
    pixels = bytearray(files.packed("JPEG2000", no_jp2=True))
    start = pixels.index(b"\xff\x4f\xff\x51")
    pixels[start + 24 : start + 32] = struct.pack(">2I", 1, 1)
    text = refusal(files.dicom(bytes(pixels), SIZE, "YBR_RCT", files.JPEG_2000))
    assert text.startswith("is a JPEG 2000 of more than 1,000 tiles, made to be slow to read;")


def element(tag: int, kind: bytes, length: int) -> bytes:
    """The head of an element whose length takes four bytes."""
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind + b"\0\0" + struct.pack("<I", length)


HEAD = files.plain()[: files.plain().index(struct.pack("<HH", 0x0008, 0x0016))]
"""A file as far as its data set begins."""

OPEN_SEQUENCE = element(0x0009_1001, b"SQ", 0xFFFF_FFFF)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFF_FFFF)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (b"", "is a DICOM file without pixels"),
        (b"\x08\0", CUT),
        (element(0x0009_1001, b"OB", 0xFFFF_FFF0), CUT),
        (OPEN_SEQUENCE, CUT),
        (OPEN_SEQUENCE + OPEN_ITEM * 3, CUT),
        ((OPEN_SEQUENCE + OPEN_ITEM) * 40, "is a DICOM of sequences more than 16 deep, made to"),
        (
            struct.pack("<HH2sH", 9, 16, b"LO", 0) * 100_001,
            "is a DICOM of more than 100,000 elements, made to",
        ),
        (
            OPEN_SEQUENCE + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 100_001,
            "is a DICOM of more than 100,000 elements, made to",
        ),
        (element(0x7FE0_0010, b"OB", 0xFFFF_FFFF), "is a DICOM file of 8 bits a sample in 0"),
    ],
    ids=["end", "cut", "length", "open", "items", "deep", "many", "many items", "bare pixels"],
)
def test_forged_elements(after: bytes, expected: str) -> None:
    assert refusal(HEAD + after).startswith(expected)


def test_a_file_cut_anywhere_is_refused() -> None:
    content = files.plain()
    for end in (*range(133, len(content) - 1, 9973), len(content) - 2):
        assert refusal(content[:end])


def test_changed_bytes_never_end_in_another_error() -> None:
    content = bytearray(files.plain(syntax=files.IMPLICIT))
    random = np.random.default_rng(5)
    start = len(content) - PIXELS.size
    for _ in range(300):
        changed = bytearray(content)
        for place in random.integers(0, start, 3):
            changed[place] = random.integers(0, 256)
        with contextlib.suppress(ImageError):
            to_rgb(bytes(changed))


def nameless(name: str) -> bytes:
    """A file with the patient's name in an element that describes the pixels."""
    # pydicom writes no such number, and warns of the others.
    if name == "NumberOfFrames":
        digits = "1234567890123456"
        return files.plain(NumberOfFrames=digits).replace(digits.encode(), files.NAME.encode())
    return files.plain(**{name: files.NAME})


def test_nothing_of_a_patient_goes_further(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    content = files.plain()
    assert content.count(files.NAME.encode()) > 10
    assert b"Erika" not in open_file(content)._still.content
    described = ("PhotometricInterpretation", "SOPClassUID", "NumberOfFrames")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bad = [nameless(name) for name in described]
    syntax = files.EXPLICIT.encode() + b"\0"
    bad.append(content.replace(syntax, b"Erika".ljust(len(syntax), b"\0"), 1))
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_rgb(content)
        for file in bad:
            refusal(file)
    assert caught == []
    assert "Erika" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_folder_of_dicom_files_is_scored_without_a_name_in_any_result(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.dcm").write_bytes(files.plain())
    (images / "b.DCM").write_bytes(files.plain(NumberOfFrames=3))
    (images / "IM0001").write_bytes(files.plain())
    command = [sys.executable, "-m", "dermhub", "predict"]
    out = tmp_path / "scores.csv"
    for given in ([images, "--format", "json"], ["--images", images, "--out", out]):
        done = subprocess.run([*command, *map(str, given)], capture_output=True, text=True)
        written = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
        said = done.stdout + done.stderr + written
        assert "Erika" not in said
        assert "multi-frame DICOM file of 3 frames" in said
        assert "1 image(s) without an image's ending" in done.stderr
    assert "a.dcm" in out.read_text()


def test_without_pydicom_the_refusal_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    expected = (
        "is a DICOM file, which needs pydicom: pip install pydicom, or export its photograph as "
        "PNG or JPEG."
    )
    assert refusal(files.plain()) == expected
    monkeypatch.setattr(installation, "is_package", lambda: True)
    assert "pip install 'dermhub[dicom]', or" in refusal(files.plain())
    # A JPEG inside is Pillow's.
    jpeg = files.dicom(files.packed("JPEG"), SIZE, "YBR_FULL_422", files.JPEG)
    assert to_rgb(jpeg).size == SIZE


def test_other_limits_are_those_of_any_file() -> None:
    small = files.dicom(bytes(20 * 20 * 3), (20, 20))
    assert refusal(small).startswith("is 20 x 20 pixels, too small to classify")
    narrow = files.dicom(bytes(40 * 1000 * 3), (1000, 40))
    assert refusal(narrow).startswith("is 1000 x 40 pixels, too narrow to classify")


def test_walk_over_what_is_not_read() -> None:
    elements = dicom_elements.read_elements(files.plain(), (files.EXPLICIT,))
    groups = {tag >> 16 for tag in elements.values}
    assert groups == {0x0002, 0x0008, 0x0028}
    assert set(elements.values) & {0x0008_0016, 0x0002_0010} == {0x0008_0016, 0x0002_0010}
    # The rows of the sequence inside are not those of the photograph.
    assert elements.number(0x0028_0010) == HEIGHT
    assert not re.search(rb"Erika", b"".join(elements.values.values()))
    assert odd_files.lesion().size == SIZE
