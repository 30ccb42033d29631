"""PNG: header, palette, transparency and pixels are kept, and nothing else."""

from __future__ import annotations

import struct
import zlib

import pytest

from dermhub.images.containers import png
from dermhub.images.containers.still import RefusedError
from dermhub.images.decode import to_rgb
from tests.support.hostile import pngs
from tests.support.odd_files import TURNED, chunk, saved

XMP = b'<rdf:Description tiff:Orientation="6"/>'

EXIF = TURNED[6:]


def test_what_holds_no_pixels_is_left_out() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0))
    palette, clear = chunk(b"PLTE", b"\1\2\3\4\5\6"), chunk(b"tRNS", b"\0")
    rows = zlib.compress(b"\0\0\1")
    content = (
        png.START
        + header
        + chunk(b"gAMA", b"\0\0\0\1")
        + palette
        + clear
        + chunk(b"IDAT", rows[:3])
        + chunk(b"tEXt", b"in\0between")
        + chunk(b"IDAT", rows[3:])
        + chunk(b"IDAT", b"")
        + chunk(b"PLTE", b"\7" * 6)
        + chunk(b"IEND", b"")
        + b"anything"
    )
    expected = png.START + header + palette + clear + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert png.still(content).content == expected


def test_chunks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert png.MOST_CHUNKS == 100_000
    monkeypatch.setattr(png, "MOST_CHUNKS", 1000)
    # One for the header, one for the pixels, and one for the end.
    assert png.still(pngs.png_many(b"abCd", 997)).content == png.still(saved("PNG")).content
    with pytest.raises(RefusedError, match=r"^is a PNG of more than 1,000 chunks, made to be slow"):
        png.still(pngs.png_many(b"abCd", 998))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", EXIF),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(XMP + bytes(2**21))),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n32\n" + EXIF.hex().encode()),
        chunk(
            b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n\n\n" + EXIF.hex().encode())
        ),
    ],
    ids=["EXIF", "XMP", "packed XMP", "EXIF as text", "EXIF as packed text"],
)
def test_the_turn_is_read_wherever_it_stands(extra: bytes) -> None:
    whole = saved("PNG")
    assert png.still(pngs.png_with(extra)).orientation == 6
    assert png.still(whole[:-12] + extra + whole[-12:]).orientation == 6
    assert to_rgb(pngs.png_with(extra)).size == (150, 200)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", b"none"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0not packed"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n\n\nnot hexadecimal")),
        chunk(b"iCCP", b"no zero byte"),
        chunk(b"tEXt", b"Comment\0text")[:-1] + b"?",
    ],
)
def test_broken_metadata_does_no_harm(extra: bytes) -> None:
    assert to_rgb(pngs.png_with(extra)).tobytes() == to_rgb(saved("PNG")).tobytes()


@pytest.mark.parametrize(
    ("control", "first", "animated"),
    # An image before the first frame (without a frame control) is one frame more.
    [
        (1, True, False),
        (1, False, True),
        (2, True, True),
        (0, True, False),
        (2**32 - 1, True, False),
    ],
)
def test_frames_are_counted(control: int, first: bool, animated: bool) -> None:
    content = pngs.png_with(
        chunk(b"acTL", struct.pack(">II", control, 0)), *[chunk(b"fcTL", bytes(26))] * first
    )
    if animated:
        with pytest.raises(RefusedError, match="an animation"):
            png.still(content)
    else:
        assert png.still(content).content == png.still(saved("PNG")).content


def test_without_a_header_there_is_nothing_to_decode() -> None:
    assert png.still(png.START + chunk(b"IDAT", b"abc")).content == png.START


@pytest.mark.parametrize(
    ("bits", "channels", "refused"), [(16, 4, True), (16, 2, True), (16, 1, False), (8, 4, False)]
)
def test_large_images_of_16_bits(bits: int, channels: int, refused: bool) -> None:
    png.still(pngs.png_promise(8000, 4000, bits, channels))
    large = pngs.png_promise(8000, 4001, bits, channels)
    if refused:
        with pytest.raises(RefusedError, match="accepted of a PNG with colours of 16 bits"):
            png.still(large)
    else:
        png.still(large)
