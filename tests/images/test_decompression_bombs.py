"""Decompression bombs: small files that would keep a decoder busy are recognised by structure.

Ordinary files are not mistaken for them.
"""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from dermhub.images.decode import to_rgb
from dermhub.images.decompression_bombs import MOST_SCANS, bomb_in
from tests.support import odd_files


def verdict(content: bytes) -> str:
    """Return the verdict on the bytes of a file."""
    return bomb_in(io.BytesIO(content))


def scans(count: int, within: bytes = b"") -> bytes:
    """Write the markers of a JPEG with `count` scans: start, an APP1 segment, the scans, end."""
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(within)) + within
    # A scan: its header of six bytes, a stuffed FF 00, a restart, and a fill byte before the next
    # marker.
    return (
        b"\xff\xd8"
        + segment
        + b"\xff\xda\0\x06abcd\x01\xff\0\x02\xff\xd0\x03\xff" * count
        + b"\xff\xd9"
    )


def directory(order: str, kind: int, count: int, big: bool = False) -> bytes:
    """Write a TIFF with a field of `count` values of a type."""
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        return head + struct.pack(order + "QHHQQQ", 1, 273, kind, count, 0, 0)
    return mark + struct.pack(order + "HIHHHIII", 42, 8, 1, 273, kind, count, 0, 0)


def test_scans_are_counted() -> None:
    assert verdict(scans(MOST_SCANS)) == ""
    assert verdict(scans(MOST_SCANS + 1)) == "a JPEG of more than 50 scans"


def test_a_preview_and_what_follows_the_end_are_no_scans() -> None:
    assert verdict(scans(1, within=b"\xff\xda\0\x02" * 60)) == ""
    assert verdict(scans(1) + b"\xff\xda\0\x02" * 60) == ""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_values_of_a_tiff_are_counted(order: str, big: bool) -> None:
    assert verdict(directory(order, 4, 50_000, big)) == ""
    assert verdict(directory(order, 4, 50_001, big)) == "a TIFF in more than 50,000 pieces"
    # A colour profile is bytes of type 7: however many, they cost what they weigh.
    assert verdict(directory(order, 7, 9_000_000, big)) == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"II", b"II*\0", b"MM\0+\0", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\0"],
)
def test_what_is_cut_short_is_left_to_the_decoder(content: bytes) -> None:
    assert verdict(content) == ""


def test_ordinary_files_pass() -> None:
    for name, case in odd_files.ACCEPTED.items():
        assert verdict(case.make()) == "", name
    assert verdict(odd_files.saved("TIFF", Image.new("RGB", (400, 4000)))) == ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_large_image_is_read_at_a_quarter(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("dermhub.images.decode.LARGE", 100_000)
    # Left half 40, right half 200, in 402 x 1026 pixels: neither is a multiple of 4, nor the height
    # one of a band.
    whole = Image.new("L", (402, 1026), 200)
    whole.paste(40, (0, 0, 200, 1026))
    small = to_rgb(odd_files.saved(kind, whole.convert("RGB")))
    assert (small.mode, small.size) == ("RGB", (101, 257))
    assert {small.getpixel((x, y)) for x in (0, 49) for y in (0, 128, 256)} == {(40, 40, 40)}
    assert {small.getpixel((x, y)) for x in (50, 100) for y in (0, 128, 256)} == {(200, 200, 200)}


@pytest.mark.parametrize(
    ("mode", "value"), [("I;16", 25_700), ("RGBA", (100, 100, 100, 255)), ("LA", (100, 255))]
)
def test_every_kind_of_pixel_is_reduced(
    monkeypatch: pytest.MonkeyPatch, mode: str, value: object
) -> None:
    monkeypatch.setattr("dermhub.images.decode.LARGE", 10_000)
    image = Image.new(mode, (200, 300), value)  # type: ignore[arg-type]
    assert to_rgb(odd_files.saved("PNG", image)).getcolors() == [(50 * 75, (100, 100, 100))]


def test_a_large_image_is_turned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermhub.images.decode.LARGE", 20_000)
    assert to_rgb(odd_files.oriented(1)).size == (50, 38)
    assert to_rgb(odd_files.oriented(6)).size == (38, 50)


@pytest.mark.parametrize("number", range(1, 9))
def test_an_upright_image_is_not_turned_again(number: int) -> None:
    upright = to_rgb(odd_files.oriented(number))
    assert upright.info == {}
    assert to_rgb(upright).tobytes() == upright.tobytes()


def test_an_image_that_is_given_stays_as_it_is() -> None:
    given = Image.new("RGB", (40, 40), "tan")
    given.info["comment"] = "mine"
    to_rgb(given).paste("black", (0, 0, 40, 40))
    assert (given.getpixel((0, 0)), given.info) == ((210, 180, 140), {"comment": "mine"})
