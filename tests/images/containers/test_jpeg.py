"""JPEG: what is kept of it, and what is refused before any decoding."""

from __future__ import annotations

import re
import struct

import pytest

from dermhub.errors import ImageError
from dermhub.images.containers import jpeg
from dermhub.images.containers.still import RefusedError
from dermhub.images.decode import to_rgb
from tests.support import odd_files
from tests.support.hostile import jpegs

START, END = b"\xff\xd8", b"\xff\xd9"

SCAN = b"\xff\xda\0\x06abcd\x01\xff\0\x02\xff\xd0\x03"
"""Its header of six bytes, a stuffed FF 00, and a restart."""


def scans(count: int, within: bytes = b"") -> bytes:
    """Write the markers of a JPEG: start, an APP1 segment, the scans with a fill byte, end."""
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(within)) + within
    return START + segment + (SCAN + b"\xff") * count + END


def refusal(content: bytes) -> str:
    """Return why a JPEG is not decoded, "" if it is."""
    try:
        jpeg.still(content)
    except RefusedError as error:
        return str(error)
    return ""


def test_scans_are_counted() -> None:
    assert refusal(scans(jpeg.MOST_SCANS)) == ""
    assert refusal(scans(jpeg.MOST_SCANS + 1)).startswith(
        "is a JPEG of more than 50 scans, made to"
    )


def test_a_preview_and_what_follows_the_end_are_no_scans() -> None:
    assert refusal(scans(1, within=b"\xff\xda\0\x02" * 60)) == ""
    assert refusal(scans(1) + b"\xff\xda\0\x02" * 60) == ""


@pytest.mark.parametrize("content", [b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\0"])
def test_what_is_cut_short_is_left_to_the_decoder(content: bytes) -> None:
    assert jpeg.still(content).content == START


def test_pixels_and_what_tells_their_colours_are_kept() -> None:
    jfif, adobe = jpegs.segment(0xE0, b"JFIF\0rest"), jpegs.segment(0xEE, b"Adobe rest")
    table = jpegs.segment(0xDB, b"table")
    content = (
        START
        + jpegs.segment(0xE2, b"ICC_PROFILE\0profile")
        + jfif
        + b"junk"
        + jpegs.segment(0xFE, b"a comment")
        + table
        + adobe
        + SCAN
        + b"\xff\xff\xff"
        + jpegs.segment(0xE9, b"anything")
        + END
        + b"a video"
    )
    assert jpeg.still(content).content == START + jfif + adobe + table + SCAN + END


def test_segments_and_tables_are_counted() -> None:
    assert refusal(jpegs.jpeg_many(0xE5, b"", jpeg.MOST_SEGMENTS - 20)) == ""
    assert "of more than 10,000 segments" in refusal(jpegs.jpeg_many(0xE5, b"", jpeg.MOST_SEGMENTS))
    assert refusal(jpegs.jpeg_many(0xDB, b"", jpeg.MOST_TABLES - 20)) == ""
    assert "of more than 1,000 tables" in refusal(jpegs.jpeg_many(0xDB, b"", jpeg.MOST_TABLES))


def test_visits_are_counted() -> None:
    # 1,000 million visits are accepted; in arithmetic coding each counts as four. 8000 x 4000
    # pixels are 32 million: seven scans are 7 x 4 x 32 = 896 million, eight are 1,024 million.
    assert refusal(jpegs.jpeg_arithmetic(6, 8000, 4000)) == ""
    assert "a JPEG of more than 7 scans of this size" in refusal(
        jpegs.jpeg_arithmetic(7, 8000, 4000)
    )
    # The same in 800 x 400 pixels, which are a hundredth: 50 scans are 64 million.
    assert refusal(jpegs.jpeg_arithmetic(49, 800, 400)) == ""


def test_a_component_of_a_quarter_counts_as_a_quarter() -> None:
    # Y in 2 x 2, Cb and Cr in 1 x 1: a scan of all three visits 1 + 1/4 + 1/4 of 32 million
    # samples. 20 scans are 960 million, 21 are 1,008.
    frame = struct.pack(">BHHB", 8, 4000, 8000, 3) + b"\1\x22\0\2\x11\0\3\x11\0"
    scan = jpegs.segment(0xDA, b"\3\1\0\2\0\3\0\0\0\x11")
    head = START + jpegs.segment(0xC2, frame)
    assert refusal(head + scan * 20 + END) == ""
    assert "a JPEG of more than 20 scans of this size" in refusal(head + scan * 21 + END)


def test_fill_bytes_among_the_pixels() -> None:
    whole = odd_files.saved("JPEG")
    filled = whole[:-2] + b"\xff" * 5000 + END
    assert jpeg.still(filled).content == jpeg.still(whole).content
    assert "thousands of fill bytes" in refusal(whole[:-2] + b"\xff" * 5000 + b"\0" + END)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 3])
def test_a_file_without_its_end_is_whole(progressive: bool, restarts: int) -> None:
    whole = odd_files.saved("JPEG", progressive=progressive, restart_marker_blocks=restarts)
    expected = to_rgb(whole).tobytes()
    for content in (whole[:-1], whole[:-2], whole[:-2] + bytes(40), whole + b"anything"):
        assert to_rgb(content).tobytes() == expected
    starts = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7\xda\xc4]", whole)]
    cuts = [*starts, *(start + 2 for start in starts), len(whole) - 30, len(whole) // 2]
    for place in cuts[-20:]:
        for content in (whole[:place], whole[:place] + bytes(1000)):
            with pytest.raises(ImageError, match="damaged or cut short"):
                to_rgb(content)


def test_a_large_file_without_its_end_is_refused() -> None:
    # Three decodings would take too long.
    still = jpeg.still(jpegs.jpeg_divided(4000, 4001)[:-2])
    assert (still.equal, still.unequal) == (b"", b"")
    assert jpeg.still(jpegs.jpeg_divided(4000, 4000)[:-2]).equal


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (
            (0xC1, 12, 1),
            "is a JPEG of 12 bits a sample and 1 component(s); expected 8 bits and one",
        ),
        ((0xC0, 8, 2), "is a JPEG of 8 bits a sample and 2 component(s); expected 8 bits and one"),
        ((0xC6, 8, 1), "is a lossless or hierarchical JPEG; expected an ordinary one: save it as"),
    ],
)
def test_kinds_that_no_decoder_reads(frame: tuple[int, int, int], sentence: str) -> None:
    assert refusal(jpegs.jpeg_frame(*frame)).startswith(sentence)


def test_components_in_scans_of_their_own_need_memory_for_all_coefficients() -> None:
    # 5656 squared is just below 32 million, 5657 squared just above.
    assert refusal(jpegs.jpeg_divided(5656, 5656)) == ""
    assert refusal(jpegs.jpeg_divided(5657, 5657)).startswith(
        "(5657 x 5657 pixels) has more than the 32 million pixels that are accepted of a JPEG of "
    )


def test_a_large_progressive_jpeg_is_refused_by_its_size_and_not_as_slow() -> None:
    small, large = (
        jpegs.jpeg_divided(side, side).replace(b"\xff\xc0", b"\xff\xc2", 1) for side in (5656, 5657)
    )
    assert refusal(small) == ""
    assert refusal(large) == (
        "(5657 x 5657 pixels) has more than the 32 million pixels that are accepted of a "
        "progressive JPEG; scale it down first."
    )
