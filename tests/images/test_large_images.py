"""Images that are reduced or turned while they are decoded."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dermhub.images.decode import to_rgb
from tests.support import odd_files


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


def test_an_image_in_bands_is_the_image_in_one() -> None:
    # Four bands of 32 rows and a rest of 5, in grey of 16 bits: a multiple of 257 is a grey value.
    grey = np.arange(133 * 40).reshape(133, 40).astype(np.uint16) % 256
    content = odd_files.saved("PNG", Image.fromarray(grey * np.uint16(257)))
    rgb = np.asarray(to_rgb(content))
    assert (rgb == grey[..., None]).all()


@pytest.mark.parametrize("number", range(1, 9))
def test_a_tiff_is_turned_once(number: int) -> None:
    # Pillow turns a TIFF while it decodes it, and no other format.
    exif = Image.Exif()
    exif[0x0112] = number
    turned = odd_files.saved("TIFF", exif=exif.tobytes())
    png = odd_files.saved("PNG", exif=exif)
    assert to_rgb(turned).tobytes() == to_rgb(png).tobytes()
    assert to_rgb(turned).size == ((150, 200) if number >= 5 else (200, 150))
