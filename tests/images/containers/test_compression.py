"""Strength of compression, as JPEG and WebP state it, against the quality that was asked for."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dermhub.images.containers import compression, jpeg, webp
from dermhub.images.photo import Photo
from tests.support.odd_files import lesion


def saved(kind: str, quality: int, **options: Any) -> bytes:
    """The lesion, saved with losses."""
    stream = io.BytesIO()
    lesion().save(stream, kind, quality=quality, **options)
    return stream.getvalue()


def table(content: bytes) -> bytes:
    """The tables of the first segment of quantisation of a JPEG."""
    place = content.index(b"\xff\xdb")
    return content[place + 4 : place + 2 + int.from_bytes(content[place + 2 : place + 4])]


@pytest.mark.parametrize("quality", [30, 50, 60, 70, 75, 90, 95])
def test_quality_of_a_jpeg(quality: int) -> None:
    estimate = compression.jpeg_quality(table(saved("JPEG", quality)))
    # Steps are rounded.
    assert estimate == pytest.approx(quality, abs=1.5)


def test_tables_by_hand() -> None:
    # Of a sum of twice the standard's, and a quarter of it.
    standard = np.full(64, compression.STANDARD // 64)
    standard[0] += compression.STANDARD % 64
    assert compression.jpeg_quality(bytes([0, *standard])) == 50
    assert compression.jpeg_quality(bytes([0, *(2 * standard)])) == 25
    long = (standard * 2).astype(">u2").tobytes()
    assert compression.jpeg_quality(b"\x10" + long) == 25
    # Behind the table of the colours.
    assert compression.jpeg_quality(bytes([1, *[9] * 64, 0, *standard])) == 50
    for damaged in (b"", b"\0", bytes([0, *standard[:63]]), bytes([1, *standard])):
        assert compression.jpeg_quality(damaged) is None


@pytest.mark.parametrize(
    ("quality", "index"), [(10, 92), (50, 52), (70, 39), (80, 27), (90, 12), (95, 6)]
)
def test_index_of_a_webp(quality: int, index: int) -> None:
    content = saved("WEBP", quality)
    frame = content[content.index(b"VP8 ") + 8 :]
    assert compression.webp_index(frame) == index
    assert compression.webp_index(frame[:12]) is None
    assert compression.webp_index(b"") is None


@pytest.mark.parametrize("progressive", [False, True])
def test_strongly_compressed_jpegs(progressive: bool) -> None:
    for quality, expected in ((50, "JPEG"), (60, "JPEG"), (70, ""), (75, ""), (95, "")):
        content = saved("JPEG", quality, progressive=progressive)
        assert jpeg.still(content).compressed == expected
        assert Photo.open(content).quality.compressed == expected
        # A file without its end mark, too.
        assert jpeg.still(content[:-2]).compressed == expected


def test_strongly_compressed_webps() -> None:
    for quality, expected in ((50, "WebP"), (80, "WebP"), (90, ""), (95, "")):
        content = saved("WEBP", quality)
        assert webp.still(content).compressed == expected
        assert Photo.open(content).quality.compressed == expected
    assert webp.still(saved("WEBP", 10, lossless=True)).compressed == ""
    transparent = io.BytesIO()
    Image.new("RGBA", (64, 64), (9, 9, 9, 9)).save(transparent, "WEBP", quality=50)
    assert webp.still(transparent.getvalue()).compressed == "WebP"


def test_it_travels_with_a_photo() -> None:
    photo = Photo.open(saved("JPEG", 30))
    assert Photo.from_bytes(photo.reduced(100).to_bytes()).quality.compressed == "JPEG"
    assert Photo.open(lesion()).quality.compressed == ""
