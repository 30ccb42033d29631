"""Decoding: every kind of image becomes the same array, and anything else is refused.

A refusal is one clear sentence.
"""

from __future__ import annotations

import io
import os
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dermhub.data import batches
from dermhub.errors import ImageError
from dermhub.images.decode import MAX_PIXELS, to_rgb
from dermhub.images.view import InputSpec, normalise, to_array, view_box
from dermhub.models.classifier import Classifier
from dermhub.models.engines.pytorch import TorchEngine
from tests.support.tiny import TINY_SPEC, pixels


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Write a PNG by hand.

    Pillow does not write some of them (16 bit), and would have to hold others in memory (bombs).
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def colour_of(image: Image.Image) -> Any:
    """Return the colour in the middle of the image that `to_rgb` makes."""
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    return rgb.getpixel((rgb.width // 2, rgb.height // 2))


def refusal(image: Any) -> str:
    """Return the sentence with which an input is refused."""
    with pytest.raises(ImageError) as raised:
        to_rgb(image)
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_prediction_and_evaluation_see_the_same_bits(tiny_lesion_model: Path, photo: Path) -> None:
    classifier = Classifier(tiny_lesion_model)
    seen: list[torch.Tensor] = []
    assert isinstance(classifier.engine, TorchEngine)
    stem = classifier.engine.folded.get_submodule("conv_stem")
    stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    classifier.predict(photo)
    view = batches.as_predicted(classifier.config.input)
    (expected,) = batches.map_batches(np.stack, [str(photo)], view)
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.from_numpy(expected))


def test_path_bytes_pil_and_array_give_the_same_array(photo: Path) -> None:
    content = photo.read_bytes()
    opened = Image.open(io.BytesIO(content))
    decoded = opened.convert("RGB")
    inputs = [photo, str(photo), content, bytearray(content), opened, decoded, np.asarray(decoded)]
    arrays = [to_array(to_rgb(image), TINY_SPEC) for image in inputs]  # type: ignore[arg-type]
    assert arrays[0].std() > 0.1
    assert all(np.array_equal(array, arrays[0]) for array in arrays)


def test_lossless_formats_keep_every_pixel() -> None:
    array = pixels()
    for kind, options in (("PNG", {}), ("TIFF", {}), ("BMP", {}), ("WEBP", {"lossless": True})):
        content = encoded(Image.fromarray(array), kind, **options)
        assert np.array_equal(np.asarray(to_rgb(content)), array), kind


@pytest.mark.parametrize(
    ("orientation", "stored"),
    # How a camera held that way stores an upright picture (EXIF 2.32, tag 0x0112: row 0 and column
    # 0).
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: a.transpose(1, 0, 2)[::-1]),
        (7, lambda a: a.transpose(1, 0, 2)[::-1, ::-1]),
        (8, lambda a: a.transpose(1, 0, 2)[:, ::-1]),
    ],
    ids=range(1, 9),
)
def test_exif_orientation(orientation: int, stored: Any) -> None:
    upright = pixels(height=40, width=48)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(stored(upright))), "PNG", exif=exif)
    assert np.array_equal(np.asarray(to_rgb(content)), upright)
    assert np.array_equal(np.asarray(to_rgb(Image.open(io.BytesIO(content)))), upright)


def test_cmyk_jpeg() -> None:
    # No ink but half a black: grey; cyan absorbs red.
    assert colour_of(Image.new("CMYK", (40, 40), (0, 0, 0, 155))) == (100, 100, 100)
    red, green, blue = to_rgb(
        encoded(Image.new("CMYK", (40, 40), (255, 0, 0, 0)), "JPEG")
    ).getpixel((20, 20))  # type: ignore[misc]
    assert (red < 5, green > 250, blue > 250) == (True, True, True)


def test_palette_keeps_its_colours() -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert colour_of(image) == (200, 100, 50)
    assert to_rgb(encoded(image, "GIF")).getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (200, 100, 50, 255), (200, 100, 50)),
        ("RGBA", (200, 100, 50, 0), (255, 255, 255)),
        # 51 of 255 is a fifth: 255 * 4/5 + 200 / 5 = 244, 255 * 4/5 + 100 / 5 = 224, 255 * 4/5 + 50
        # / 5 = 214.
        ("RGBA", (200, 100, 50, 51), (244, 224, 214)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (100, 51), (224, 224, 224)),
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("I", 100, (100, 100, 100)),
        ("F", 100.0, (100, 100, 100)),
        # 100 * 257 = 25,700 is 100 in 16 bits; Pillow's own conversion makes all of these white.
        ("I;16", 25_700, (100, 100, 100)),
        ("I", 25_700, (100, 100, 100)),
        ("F", 25_700.0, (100, 100, 100)),
    ],
)
def test_other_modes_become_rgb(mode: str, colour: Any, expected: tuple[int, int, int]) -> None:
    assert colour_of(Image.new(mode, (40, 40), colour)) == expected


def test_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert to_rgb(encoded(image, "PNG", transparency=1)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("colour_type", "values", "expected"),
    [
        (0, (25_700,), (100, 100, 100)),
        (4, (25_700, 65_535), (100, 100, 100)),
        (2, (51_400, 25_700, 12_850), (200, 100, 50)),
        (6, (51_400, 25_700, 12_850, 0), (255, 255, 255)),
    ],
    ids=["grey", "grey+alpha", "rgb", "rgba"],
)
def test_png_of_16_bits(
    colour_type: int, values: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    row = b"\0" + struct.pack(f">{len(values)}H", *values) * 40
    assert to_rgb(png(40, 40, 16, colour_type, row * 40)).getpixel((20, 20)) == expected


def test_dark_16_bit_image_is_not_brightened() -> None:
    # All values fit 8 bits, but the file says 16.
    assert to_rgb(png(40, 40, 16, 0, (b"\0" + struct.pack(">H", 200) * 40) * 40)).getpixel(
        (0, 0)
    ) == (1, 1, 1)


def test_mpo_is_the_photo_and_not_its_preview() -> None:
    main, preview = Image.new("RGB", (48, 40), "white"), Image.new("RGB", (48, 40), "black")
    content = encoded(main, "MPO", save_all=True, append_images=[preview])
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    assert to_rgb(content).getpixel((20, 20)) == (255, 255, 255)


def test_the_given_image_and_array_stay_as_they_are() -> None:
    image, array = Image.new("RGBA", (40, 40), (1, 2, 3, 4)), pixels()
    before = array.copy()
    to_rgb(image)
    to_array(to_rgb(array), TINY_SPEC)
    assert image.getpixel((0, 0)) == (1, 2, 3, 4)
    assert np.array_equal(array, before)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_is_refused(kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("white", "black", "red")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    expected = (
        "the uploaded data is an animation or a stack of several frames, expected one still image."
    )
    assert refusal(content) == expected
    assert refusal(Image.open(io.BytesIO(content))) == expected.replace("uploaded data", "image")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_file_cut_short_is_refused(kind: str, tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(pixels()), kind)
    path = tmp_path / "photo"
    path.write_bytes(whole)
    assert to_rgb(path).size == (48, 40)
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert re.match(
            rf"^{re.escape(str(path))} is .*(damaged or cut short|not an image)", refusal(path)
        ), share


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"diagnosis,image\nmel,1\n", "a text file"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'/>",
            "an SVG drawing: save it as PNG",
        ),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive or an Office document"),
        # Pillow would start Ghostscript on this one.
        (encoded(Image.new("RGB", (40, 40)), "EPS"), "a PostScript drawing"),
    ],
    ids=["text", "svg", "html", "pdf", "zip", "eps"],
)
def test_file_that_is_no_image(content: bytes, what: str) -> None:
    assert (
        refusal(content)
        == f"the uploaded data is {what}; expected an image as JPEG, PNG, WebP, GIF, TIFF, BMP, "
        "HEIC, AVIF or DICOM."
    )


def test_file_that_nothing_tells_of() -> None:
    expected = (
        "the uploaded data is not an image that can be read; expected JPEG, PNG, WebP, GIF, TIFF, "
        "BMP, HEIC, AVIF or DICOM."
    )
    assert refusal(bytes(1000)) == refusal(b"\x80\x81" * 300) == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert (
        refusal(tmp_path / "pipe.jpg")
        == f"{tmp_path / 'pipe.jpg'} is a pipe or a device, expected an image file."
    )


def test_nothing_to_open(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert (
        refusal(tmp_path / "empty.jpg")
        == f"{tmp_path / 'empty.jpg'} is empty (0 bytes), expected an image file."
    )
    assert refusal(b"") == "the uploaded data is empty (0 bytes), expected an image file."
    assert refusal(tmp_path) == f"{tmp_path} is a folder, expected an image file."
    assert refusal(tmp_path / "no.jpg") == f"There is no file {tmp_path / 'no.jpg'}."
    assert refusal("a\0.jpg") == "'a\\x00.jpg' can't be opened: embedded null byte."
    assert "can't be opened: File name too long" in refusal("a" * 5000)


def test_too_small() -> None:
    assert to_rgb(Image.new("RGB", (32, 32))).size == (32, 32)
    expected = "is 31 x 40 pixels, too small to classify: expected at least 32 on each side."
    image = Image.new("RGB", (31, 40))
    assert refusal(image) == f"the image {expected}"
    assert refusal(encoded(image, "PNG")) == f"the uploaded data {expected}"
    assert refusal(np.zeros((40, 31, 3), np.uint8)) == f"the array {expected}"


def test_too_narrow() -> None:
    # The demo enlarges to a fixed width: a strip of 32 x 60,000 pixels would become one of 768
    # million.
    assert to_rgb(Image.new("L", (40, 800))).size == (40, 800)
    for size in ((40, 801), (801, 40)):
        assert "too narrow to classify: expected one side to be at most 20 times" in refusal(
            Image.new("L", size)
        )


@pytest.mark.parametrize(
    "size", [(8001, 8000), (12_000, 12_000), (50_000, 50_000), (2**31 - 1, 2**31 - 1)]
)
def test_bomb_is_refused_without_decoding(size: tuple[int, int]) -> None:
    start = time.perf_counter()
    text = refusal(png(*size, 8, 2, b""))
    assert time.perf_counter() - start < 1
    assert text.endswith(
        "has more than the 64 million pixels that are accepted; scale it down first."
    )


def test_too_large_array_and_image() -> None:
    # No memory is touched: all rows are the same one.
    array = np.broadcast_to(np.zeros((1, 8000), np.uint8), (MAX_PIXELS // 8000 + 1, 8000))
    assert refusal(array).startswith(
        "the array (8000 x 8001 pixels) has more than the 64 million pixels"
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.full((40, 40, 3), np.nan),
            "Expected an array of uint8 values 0-255, got float64; scale and convert it",
        ),
        (np.ones((40, 40, 3), np.float32), "got float32"),
        (np.ones((40, 40, 3), np.int64), "got int64"),
        (np.ones((40, 40, 3), bool), "got bool"),
        (np.full((40, 40, 3), None), "got object"),
        (
            np.zeros((40, 40, 4), np.uint8),
            r"Expected an array of shape \(H, W, 3\), got \(40, 40, 4\)",
        ),
        (np.zeros((3, 40, 40), np.uint8), r"got \(3, 40, 40\)"),
        (np.zeros((1, 40, 40, 3), np.uint8), r"got \(1, 40, 40, 3\)"),
        (np.zeros(40, np.uint8), r"got \(40,\)"),
        (np.zeros((0, 40, 3), np.uint8), r"got \(0, 40, 3\)"),
    ],
)
def test_array_that_is_no_image(array: Any, message: str) -> None:
    assert re.search(message, refusal(array))


def test_grey_values_that_are_none() -> None:
    assert "not finite numbers" in refusal(Image.fromarray(np.full((40, 40), np.nan, np.float32)))
    assert "not finite numbers of at most 16 bits" in refusal(Image.new("I", (40, 40), 70_000))
    assert "between 0 and 1, expected 0 to 255" in refusal(Image.new("F", (40, 40), 0.5))


@pytest.mark.parametrize(
    "thing", [None, 5, 2.5, {"image": 1}, {1}, io.BytesIO(b""), torch.zeros(3, 40, 40)]
)
def test_thing_that_is_no_image(thing: Any) -> None:
    expected = "Expected a path, the bytes of an image file, a PIL image or a uint8 array, got"
    assert refusal(thing) == f"{expected} {type(thing).__name__}."


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        ((600, 450), "center", (75, 0, 525, 450)),
        ((450, 600), "center", (0, 75, 450, 525)),
        ((601, 450), "center", (75.5, 0, 525.5, 450)),
        ((50, 50), "center", (0, 0, 50, 50)),
        ((600, 450), "squash", (0, 0, 600, 450)),
    ],
)
def test_part_that_the_model_sees(
    size: tuple[int, int], mode: Any, expected: tuple[float, ...]
) -> None:
    assert view_box(size, InputSpec(64, mode)) == expected


def test_center_leaves_the_edges_out_and_squash_does_not() -> None:
    # White left and right thirds around a black middle third.
    array = np.zeros((64, 192, 3), np.uint8)
    array[:, :64] = array[:, 128:] = 255
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    center = to_array(to_rgb(array), InputSpec(64, "center", **plain))
    squash = to_array(to_rgb(array), InputSpec(64, "squash", **plain))
    assert center.shape == squash.shape == (3, 64, 64)
    assert center.max() == 0
    assert float(squash.mean()) == pytest.approx(2 / 3, abs=0.01)


def test_normalise_by_hand() -> None:
    spec = InputSpec(1, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.4))
    values = normalise(np.array([[[51, 153, 255]]], np.uint8), spec)
    # (0.2 - 0.2) / 0.1, (0.6 - 0.4) / 0.2, (1 - 0.6) / 0.4
    assert values.dtype == np.float32
    assert values.shape == (3, 1, 1)
    assert values.flatten().tolist() == pytest.approx([0.0, 1.0, 1.0], abs=1e-6)


def test_array_keeps_rows_columns_and_rgb_order() -> None:
    array = np.zeros((64, 64, 3), np.uint8)
    array[:32, :, 0] = 255  # red above
    array[:, 32:, 2] = 255  # blue on the right
    values = to_array(to_rgb(array), InputSpec(64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    assert np.array_equal(values, array.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_an_opened_tiff_is_turned_once(turn: int) -> None:
    pixels = np.arange(64 * 80 * 3, dtype=np.uint32).reshape(64, 80, 3) // 61 % 256
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "TIFF", tiffinfo={0x0112: turn})
    content = stream.getvalue()
    opened = to_rgb(Image.open(io.BytesIO(content)))
    assert np.array_equal(np.asarray(opened), np.asarray(to_rgb(content)))
    assert opened.size == ((80, 64) if turn < 5 else (64, 80))
