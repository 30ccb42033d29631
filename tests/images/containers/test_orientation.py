"""The turn that EXIF or XMP state (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import struct
import time

import pytest

from dermhub.images.containers.orientation import orientation
from tests.support.odd_files import TURNED


def exif(order: str, kind: int, count: int, value: bytes, after: int = 0x112) -> bytes:
    """Write EXIF of one field."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    field = struct.pack(order + "HHI", after, kind, count) + value
    return mark + struct.pack(order + "IH", 8, 1) + field + bytes(4)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (TURNED, 6),
        (TURNED[6:], 6),
        (TURNED[:6] + TURNED, 6),
        (exif("<", 3, 1, b"\3\0\0\0"), 3),
        (exif(">", 3, 1, b"\0\3\0\0"), 3),
        (exif("<", 4, 1, b"\7\0\0\0"), 7),
        (exif(">", 4, 1, b"\0\0\0\7"), 7),
        # Nine numbers lie elsewhere, from place 26 on; the first counts.
        (exif("<", 3, 9, b"\x1a\0\0\0")[:26] + b"\5\0" + bytes(16), 5),
        (exif("<", 3, 9, b"\xff\xff\xff\xff"), 1),
        (exif("<", 12, 1, b"\x1a\0\0\0"), 1),
        (exif("<", 99, 1, b"\3\0\0\0"), 1),
        (exif("<", 3, 1, b"\3\0\0\0", after=0x110), 1),
        (b"", 1),
        (b"Exif\0\0", 1),
        (b"II*\0\xff\xff\xff\xff", 1),
        (b"nothing of the kind", 1),
    ],
)
def test_of_exif(data: bytes, expected: int) -> None:
    assert orientation(data, b"") == expected


def test_a_field_that_leads_out_of_the_file_hides_no_other() -> None:
    # Make (0x10F) claims bytes that aren't there; Orientation stands after it.
    fields = struct.pack("<HHII", 0x10F, 2, 9999, 9999) + struct.pack("<HHII", 0x112, 3, 1, 8)
    assert orientation(b"II*\0" + struct.pack("<IH", 8, 2) + fields + bytes(4), b"") == 8


@pytest.mark.parametrize(
    ("xmp", "expected"),
    [
        (b'<rdf:Description tiff:Orientation="8"/>', 8),
        (b"<tiff:Orientation>3</tiff:Orientation>", 3),
        (b"<tiff:Orientation/>", 1),
        (bytes(2**20) + b"<tiff:Orientation>3</tiff:Orientation>", 1),
    ],
)
def test_of_xmp(xmp: bytes, expected: int) -> None:
    assert orientation(b"", xmp) == expected
    assert orientation(TURNED, xmp) == 6


def test_marks_again_and_again_cost_nothing() -> None:
    began = time.perf_counter()
    assert orientation(b"Exif\0\0" * 1_000_000 + TURNED, b"") == 6
    assert time.perf_counter() - began < 1
