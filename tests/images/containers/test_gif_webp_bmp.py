"""GIF, WebP and BMP: what a decoder is given, and what is refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from PIL import Image

from dermhub.images.containers import bmp, gif, webp
from dermhub.images.containers.first_still import first_still
from dermhub.images.containers.still import RefusedError
from dermhub.images.decode import to_rgb
from tests.support import odd_files
from tests.support.hostile import others
from tests.support.odd_files import TURNED, saved

CONTROL = b"!\xf9\4\1\0\0\7\0"

PICTURE = b"," + bytes(8) + b"\x80" + bytes(6) + b"\2" + b"\2ab\0"
"""Size, a palette of two colours, bits of a code, and a block of two bytes."""


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Write a WebP."""
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def test_of_a_gif_palettes_and_picture_are_kept() -> None:
    head = b"GIF89a" + bytes(4) + b"\x81" + bytes(2) + bytes(12)
    content = (
        head
        + b"!\xfe\3abc\1d\0"
        + bytes(9)
        + b"!\xff\1a\0"
        + CONTROL
        + PICTURE
        + b"!\xfe\1c\0"
        + CONTROL.replace(b"\7", b"\6")
        + b";more"
    )
    assert gif.still(content).content == head + CONTROL + PICTURE + b";"


def test_a_second_picture_is_an_animation() -> None:
    with pytest.raises(RefusedError, match="an animation"):
        gif.still(b"GIF89a" + bytes(7) + PICTURE + PICTURE)


@pytest.mark.parametrize(
    "content", [b"GIF89a", b"GIF89a" + bytes(7) + b"!", b"GIF89a" + b"\xff" * 9]
)
def test_a_gif_that_is_cut_short_is_left_to_the_decoder(content: bytes) -> None:
    assert gif.still(content).content == content.rstrip(b"!")


def test_blocks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gif.MOST_BLOCKS == 400_000
    monkeypatch.setattr(gif, "MOST_BLOCKS", 1000)
    # The picture has some hundred blocks. The end of a row of blocks counts, too.
    assert gif.still(others.gif_comments(400))
    for content in (others.gif_comments(500), others.gif_letters(1000)):
        with pytest.raises(RefusedError, match="a GIF of more than 1,000 blocks"):
            gif.still(content)


def test_of_a_webp_pixels_are_kept() -> None:
    content = riff(
        (b"VP8X", b"\x3c\0\0\0" + bytes(6)),
        (b"ICCP", b"profile"),
        (b"ALPH", b"abc"),
        (b"VP8 ", b"pixels"),
        (b"EXIF", TURNED),
        (b"XMP ", b"xmp"),
        (b"JUNK", b""),
    )
    # Of the flags 0x3c (profile, transparency, EXIF, XMP) transparency is left.
    expected = riff((b"VP8X", b"\x10\0\0\0" + bytes(6)), (b"ALPH", b"abc"), (b"VP8 ", b"pixels"))
    still = webp.still(content)
    assert (still.content, still.orientation) == (expected, 6)


def test_frames_and_chunks_of_a_webp_are_counted() -> None:
    assert webp.still(riff((b"ANMF", b"")))
    with pytest.raises(RefusedError, match="an animation"):
        webp.still(riff((b"ANMF", b""), (b"ANMF", b"")))
    with pytest.raises(RefusedError, match="a WebP of more than 1,000 chunks"):
        webp.still(riff(*[(b"JUNK", b"")] * 1000))


def sides(width: int, height: int) -> bytes:
    """Two sides as the extended header of a WebP states them."""
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (b"VP8X", lambda width, height: bytes(4) + sides(width, height)),
        (b"VP8 ", lambda width, height: bytes(6) + struct.pack("<HH", width, height)),
        # The highest bits are a scale, and say nothing of the size.
        (b"VP8 ", lambda width, height: bytes(6) + struct.pack("<HH", width | 1 << 14, height)),
        (
            b"VP8L",
            lambda width, height: (
                b"/" + struct.pack("<I", width - 1 | height - 1 << 14 | 1 << 28) + bytes(9)
            ),
        ),
    ],
)
def test_the_size_of_a_webp_is_known_before_it_is_decoded(
    kind: bytes, head: Callable[[int, int], bytes]
) -> None:
    # 13 million pixels, and one row more.
    assert webp.still(riff((kind, head(4160, 3125)))).content
    with pytest.raises(
        RefusedError,
        match=r"^\(4160 x 3126 pixels\) has more than the 13 million pixels that are accepted of a "
        r"WebP; scale it down first\.$",
    ):
        webp.still(riff((kind, head(4160, 3126))))


def test_xmp_turns_a_webp() -> None:
    xmp = b"<x tiff:Orientation>6</x>"
    content = saved("WEBP", xmp=xmp)
    assert to_rgb(content).size == (150, 200)


def test_packed_rows_of_a_bmp() -> None:
    assert bmp.still(others.bmp(2000, 1000, 1, b"")).content
    for content in (others.bmp(2000, 1001, 1, b""), others.bmp(40, 40, 2, bytes(1_000_000))):
        with pytest.raises(
            RefusedError, match=r"^is a BMP of packed rows \(RLE\) with more than 2 "
        ):
            bmp.still(content)
    # Rows that aren't packed may be as many as of any image.
    assert bmp.still(others.bmp(8000, 8000, 0, b"")).content
    assert bmp.still(b"BM").content == b"BM"


def test_packed_rows_are_read() -> None:
    # Twenty rows of pixels 5 and twenty of pixels 200, from below; the palette is reversed grey.
    rows = (b"\x28\x05\0\0" * 20) + (b"\x28\xc8\0\0" * 20) + b"\0\1"
    rgb = to_rgb(others.bmp(40, 40, 1, rows))
    assert rgb.getpixel((0, 39)) == (250, 250, 250)
    assert rgb.getpixel((39, 0)) == (55, 55, 55)


def test_ordinary_files_keep_their_pixels() -> None:
    for name in odd_files.ACCEPTED.keys() - {"PNG, 200 MB of comment", "11 MB"}:
        content = odd_files.ACCEPTED[name].make()
        still = first_still(content)
        assert still is not None, name
        with Image.open(io.BytesIO(content)) as image:
            expected = image.convert("RGBA").tobytes()
        with Image.open(io.BytesIO(still.content)) as image:
            assert image.convert("RGBA").tobytes() == expected, name


def test_another_kind_of_file_is_none() -> None:
    assert first_still(b"") is None
    assert first_still(b"%PDF-1.7") is None
    assert first_still(b"\xff\xd8") is None
