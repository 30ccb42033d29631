"""TIFF and BigTIFF: the directory that a decoder is given, and what is refused."""

from __future__ import annotations

import lzma
import struct

import pytest
from PIL import Image

from dermhub.images.containers import tiff
from dermhub.images.containers.ifd import first_directory
from dermhub.images.containers.still import RefusedError
from dermhub.images.decode import to_rgb
from tests.support import odd_files
from tests.support.hostile import tiffs


def refusal(content: bytes) -> str:
    """Return why a TIFF is not decoded, "" if it is."""
    try:
        tiff.still(content)
    except RefusedError as error:
        return str(error)
    return ""


def directory(order: str, tag: int, kind: int, count: int, big: bool = False) -> bytes:
    """Write a TIFF with a field of `count` values of a type."""
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        return head + struct.pack(order + "QHHQQQ", 1, tag, kind, count, 0, 0)
    return mark + struct.pack(order + "HIHHHIII", 42, 8, 1, tag, kind, count, 0, 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pieces_are_counted(order: str, big: bool) -> None:
    assert refusal(directory(order, 273, 4, 50_000, big)) == ""
    assert refusal(directory(order, 273, 4, 50_001, big)).startswith(
        "is a TIFF in more than 50,000 pieces, made to be slow to read"
    )
    # A colour profile is not kept: however many bytes it has.
    assert refusal(directory(order, 34_675, 7, 9_000_000, big)) == ""
    assert "more than 1 values in field 256" in refusal(directory(order, 256, 4, 2, big))


@pytest.mark.parametrize("big", [False, True])
def test_only_what_pixels_need_is_kept(big: bool) -> None:
    more = {270: (2, 5000, 16), 34_675: (7, 9000, 16), 34_665: (4, 1, 16), 700: (7, 900, 16)}
    still = tiff.still(tiffs.tiff(tiffs.grey() | more, tiffs.GREY, big))
    assert still is not None
    kept = first_directory(still.content)
    assert kept is not None
    assert set(kept.fields) == {256, 257, 258, 259, 262, 273, 277, 278, 279}
    assert kept.numbers(256, 1) == (200,)
    assert (kept.big, kept.following) == (big, 0)


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"MM\0+\0", b"II*\0\xff\xff\xff\xff"])
def test_without_a_directory_it_is_no_tiff(content: bytes) -> None:
    assert tiff.still(content) is None


def test_ordinary_tiffs_pass() -> None:
    assert refusal(odd_files.saved("TIFF", Image.new("RGB", (400, 4000)))) == ""
    assert refusal(tiffs.tiff_cycle()) == ""
    assert refusal(odd_files.tiff_pages(1)).startswith("is an animation or a stack of several")


def test_tiles_may_be_as_large_as_the_image_needs() -> None:
    # 200 x 150 pixels: tiles of up to 4 million pixels in all.
    assert refusal(tiffs.tiff_tile(2000)) == ""
    assert "tiles are larger than its image" in refusal(tiffs.tiff_tile(2001))


def test_pieces_may_lie_over_one_another_once() -> None:
    # 600 pieces of 5000 bytes in a file of some 10,000 bytes claim 3 million.
    assert "pieces lie over one another" in refusal(tiffs.tiff_overlapping(600, 5000))
    assert refusal(tiffs.tiff_overlapping(2, 5000)) == ""


def test_jpegs_in_a_tiff_have_few_scans() -> None:
    assert "JPEGs of more than 4 scans" in refusal(tiffs.tiff_of_jpeg(9, 64))
    assert refusal(odd_files.saved("TIFF", compression="jpeg")) == ""


@pytest.mark.parametrize("compression", [34_712, 34_887, 33_003])
def test_compressions_that_no_decoder_reads(compression: int) -> None:
    assert refusal(tiffs.tiff_compressed(compression)) == (
        f"is a TIFF packed in a way that can't be read (compression {compression}); expected none, "
        "LZW, Deflate or JPEG: save it as PNG."
    )


def test_the_kind_of_pixels_is_named() -> None:
    still = tiff.still(tiffs.tiff_channels(5, 8, 1))
    assert still is not None
    assert still.kind == (
        "a TIFF with 5 channel(s) of 8-bit numbers; expected grey, RGB or CMYK of 8 or 16 bits: "
        "save it as PNG"
    )


@pytest.mark.parametrize("preset", [0, 6, 9])
def test_dictionaries_of_lzma_that_encoders_write(preset: int) -> None:
    delta = [{"id": lzma.FILTER_DELTA, "dist": 3}, {"id": lzma.FILTER_LZMA2, "preset": preset}]
    data = lzma.compress(bytes(40 * 60), lzma.FORMAT_XZ, filters=delta)
    fields = tiffs.grey(60, 40) | {259: (3, 1, 34_925), 279: (4, 1, len(data))}
    assert to_rgb(tiffs.tiff(fields, data)).size == (60, 40)


def test_a_dictionary_of_lzma_that_no_encoder_asks_for() -> None:
    assert "in LZMA with a dictionary of more than 64 MB" in refusal(tiffs.tiff_lzma(60, 40))
