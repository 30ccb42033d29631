"""HEIC and AVIF: the picture as it was saved, upright once, and refusals before any decoding."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from dermhub import installation
from dermhub.errors import ImageError
from dermhub.images.decode import TURNS, open_file, to_rgb
from dermhub.images.optional import coded_size
from dermhub.images.optional.boxes import boxes
from dermhub.images.optional.heif import MOST_PIXELS

pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: pip install pillow-heif")

from tests.support import heif_files as files
from tests.support.odd_files import lesion

LESION = np.asarray(lesion()).astype(int)

CUT = "is damaged or cut short and can't be decoded; expected a whole image: copy or save it anew."

TWO_SIZES = "states two sizes for one picture; expected an ordinary image: save it anew."

SEVERAL = "is an animation or a stack of several frames, expected one still image."

with_avif = pytest.mark.skipif(
    "avif" not in features.modules or not features.check("avif"),
    reason="this Pillow reads no AVIF: it needs version 11.3",
)

both = pytest.mark.parametrize("kind", ["HEIC", pytest.param("AVIF", marks=with_avif)])


def refusal(content: bytes) -> str:
    """The sentence with which a file is refused, without its name."""
    with pytest.raises(ImageError) as raised:
        to_rgb(content)
    text = str(raised.value)
    assert "\n" not in text
    return text.removeprefix("the uploaded data ")


def distance(content: bytes, expected: NDArray[Any] = LESION) -> float:
    """The mean difference of a file's pixels from others."""
    decoded = np.asarray(to_rgb(content)).astype(int)
    assert decoded.shape == expected.shape
    return float(np.abs(decoded - expected).mean())


@both
def test_pixels(kind: str, tmp_path: Path) -> None:
    content = files.saved(kind)
    assert distance(content) < 2
    path = tmp_path / "IMG_0001"
    path.write_bytes(content)
    assert np.array_equal(np.asarray(to_rgb(path)), np.asarray(to_rgb(content)))
    # Both decoders know no smaller scales; the copy is reduced.
    decoded = open_file(content).decode(75)
    assert (decoded.rgb.size, decoded.size) == ((100, 75), (200, 150))


@pytest.mark.slow
@both
@pytest.mark.parametrize("orientation", [1, *TURNS])
def test_turned_once(kind: str, orientation: int) -> None:
    content = files.turned(kind, orientation)
    turn = TURNS.get(orientation)
    upright = lesion() if turn is None else lesion().transpose(turn)
    assert distance(content, np.asarray(upright).astype(int)) < 2
    decoded = open_file(content).decode(75)
    assert decoded.size == upright.size
    assert decoded.rgb.size == (upright.width // 2, upright.height // 2)


@pytest.mark.slow
def test_10_bits() -> None:
    assert distance(files.of_10_bits()) < 2


@pytest.mark.slow
@both
def test_transparent_pixels_are_laid_over_white(kind: str) -> None:
    image = lesion().convert("RGBA")
    image.putalpha(0)
    assert np.asarray(to_rgb(files.saved(kind, image))).min() > 250


@pytest.mark.slow
@both
@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey(kind: str, mode: str) -> None:
    grey = lesion().convert("L")
    expected = np.asarray(grey.convert("RGB")).astype(int)
    assert distance(files.saved(kind, grey.convert(mode)), expected) < 2


@pytest.mark.slow
def test_a_picture_of_tiles() -> None:
    image = lesion().resize((192, 128))
    tiles = [image.crop((x, y, x + 64, y + 64)) for y in (0, 64) for x in (0, 64, 128)]
    assert distance(files.grid(tiles, 3, (192, 128)), np.asarray(image).astype(int)) < 2
    # The last tiles may reach beyond the picture.
    cut = np.asarray(image).astype(int)[:100, :150]
    assert distance(files.grid(tiles, 3, (150, 100)), cut) < 2


@pytest.mark.slow
@both
def test_a_preview_is_never_taken_for_the_picture(kind: str) -> None:
    image = lesion().resize((400, 300))
    content = files.saved(kind, image, thumbnails=[200])
    rgb = open_file(content).decode(75).rgb
    expected = np.asarray(to_rgb(content).reduce(4)).astype(int)
    assert np.array_equal(np.asarray(rgb).astype(int), expected)


@pytest.mark.slow
@both
def test_metadata_do_not_reach_the_decoder(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Erika Musterfrau"
    content = files.saved(kind, exif=exif)
    assert b"Erika" in content
    still = open_file(content)._still
    assert still.opener
    with still.opener(still.content) as image:
        assert not image.info.get("exif")
    assert to_rgb(content).info == {}


@both
def test_too_many_pixels(kind: str) -> None:
    text = f"(6000 x 5000 pixels) has more than the {MOST_PIXELS // 1_000_000} million pixels that "
    text += f"are accepted of a {kind}; scale it down first."
    assert refusal(files.with_size(files.saved(kind), 6000, 5000)) == text
    text = text.replace("6000 x 5000", "4294967295 x 4294967295")
    assert refusal(files.with_size(files.saved(kind), 2**32 - 1, 2**32 - 1)) == text


@both
def test_two_sizes(kind: str) -> None:
    assert refusal(files.with_size(files.saved(kind), 100, 75)) == TWO_SIZES


@pytest.mark.slow
def test_two_sizes_in_a_picture_of_tiles() -> None:
    tiles = [Image.new("RGB", (64, 64))] * 2
    assert refusal(files.grid(tiles, 2, (128, 64), (60, 60))) == TWO_SIZES
    text = refusal(files.grid(tiles, 2, (128, 64), (60_000, 60_000)))
    assert text.startswith("(60000 x 60000 pixels) has more than the 26 million pixels")


@pytest.mark.slow
def test_one_tile_many_times() -> None:
    tile = files.coded(Image.new("RGB", (1024, 1024)))
    layout = bytes([0, 0, 15, 15]) + struct.pack(">2H", 4096, 4096)
    numbers = struct.pack(">256H", *[2] * 256)
    pictures = [(b"grid", layout, [files.size_box(4096, 4096)]), tile]
    content = files.made(pictures, [files.box(b"dimg", struct.pack(">HH", 1, 256), numbers)])
    assert refusal(content).startswith("is a HEIF with tiles far larger than its picture, made to")


@pytest.mark.slow
def test_a_size_among_the_pixels_counts() -> None:
    kind, data, properties = files.coded(Image.new("RGB", (64, 64)))
    _, _, (settings, _) = files.coded(Image.new("RGB", (640, 480)))
    # The parameters of a larger picture, before the pixels of a small one.
    at = settings.index(b"\x61\0\1", 30)
    length = int.from_bytes(settings[at + 3 : at + 5])
    unit = settings[at + 5 : at + 5 + length]
    inside = struct.pack(">I", length) + unit + data
    assert refusal(files.made([(kind, inside, properties)])) == TWO_SIZES
    assert to_rgb(files.made([(kind, data, properties)])).size == (64, 64)


@pytest.mark.slow
@both
def test_several_pictures(kind: str) -> None:
    others = [lesion().rotate(180)]
    assert refusal(files.saved(kind, save_all=True, append_images=others)) == SEVERAL


@pytest.mark.slow
def test_a_hidden_picture_and_a_video_beside() -> None:
    content = files.saved("HEIC")
    assert refusal(content + files.box(b"moov", bytes(8))) == SEVERAL
    # A phone's moving photograph has a video of its own behind it.
    assert distance(content + files.box(b"mpvd", bytes(80))) < 2
    first, second = (files.coded(Image.new("RGB", (64, 64))) for _ in range(2))
    assert refusal(files.made([first, second])) == SEVERAL
    reference = files.box(b"thmb", struct.pack(">HHH", 2, 1, 1))
    assert to_rgb(files.made([first, second], [reference])).size == (64, 64)


@pytest.mark.parametrize("kind", [b"jpeg", b"avc1", b"iovl", b"\0\0\0\0"])
def test_other_codings(kind: bytes) -> None:
    _, data, properties = files.coded(Image.new("RGB", (64, 64)))
    assert refusal(files.made([(kind, data, properties)])) == (
        "is a HEIF file with a picture that is coded neither as HEVC nor as AV1: save it as JPEG "
        "or PNG."
    )


@pytest.mark.parametrize("kind", [b"meta", b"pitm", b"iloc", b"iprp", b"ispe", b"hvcC"])
def test_a_box_that_is_missing(kind: bytes) -> None:
    content = files.saved("HEIC")
    assert refusal(content.replace(kind, b"free", 1)) == CUT


@pytest.mark.slow
def test_boxes_that_stand_there_twice() -> None:
    content = files.saved("HEIC")
    (meta,) = [box for box in boxes(content, 0, len(content)) if box.kind == b"meta"]
    assert refusal(content + files.box(b"meta", content[meta.begin : meta.end])) == CUT
    place = content.index(b"pitm") - 4
    twice = content[place : place + int.from_bytes(content[place : place + 4])]
    longer = struct.pack(">I", meta.end - meta.begin + 8 + len(twice))
    start = meta.begin - 8
    content = content[:start] + longer + content[start + 4 : meta.end] + twice + content[meta.end :]
    assert refusal(content) == CUT


def test_forged_numbers() -> None:
    content = files.saved("HEIC")
    primary = content.index(b"pitm") + 8
    assert refusal(content[:primary] + b"\xff\xff" + content[primary + 2 :]) == CUT
    places = content.index(b"iloc")
    # Sizes of the numbers, the count of items, and offset and length of the first.
    for place in (8, 9, 11, 20, 24):
        changed = bytearray(content)
        changed[places + place] = 0xEE
        with pytest.raises(ImageError):
            to_rgb(bytes(changed))


@pytest.mark.slow
def test_many_items_and_boxes() -> None:
    picture = files.coded(Image.new("RGB", (64, 64)))
    empty: list[tuple[bytes, bytes, list[bytes]]] = [(b"none", b"", [])] * 2001
    assert refusal(files.made([picture, *empty])).startswith("is a HEIF of more than 2,000 items")
    reference = files.box(b"cdsc", struct.pack(">HH", 1, 10_001), bytes(20_002))
    content = files.made([picture], [reference])
    assert refusal(content).startswith("is a HEIF of more than 10,000 references")
    content = files.saved("HEIC") + files.box(b"free") * 20_001
    assert refusal(content).startswith("is a file of more than 20,000 boxes")
    kind, _, properties = picture
    # Ten thousand parts of no length.
    inside = bytes(4) * 10_002
    content = files.made([(kind, inside, properties)])
    assert refusal(content).startswith("is a picture of more than 10,000 parts")


@pytest.mark.slow
def test_pictures_that_share_their_bytes() -> None:
    picture = files.coded(Image.new("RGB", (64, 64)))
    previews = [files.box(b"thmb", struct.pack(">HHH", number, 1, 1)) for number in range(2, 10)]
    content = bytearray(files.made([picture] * 9, previews))
    base = content.index(b"mdat") + 4
    # Every item is the whole file.
    content += bytes(5000)
    place = content.index(b"iloc") + 12
    for number in range(9):
        begin = place + 14 * number + 6
        content[begin : begin + 8] = struct.pack(">II", base, len(content) - base)
    assert refusal(bytes(content)).startswith("is a HEIF whose pictures overlap in the file")


@pytest.mark.slow
@both
def test_a_file_cut_anywhere_is_refused(kind: str) -> None:
    content = files.saved(kind)
    ends = [*range(16, len(content) - 1, len(content) // 40), len(content) - 1]
    for end in ends:
        with pytest.raises(ImageError):
            to_rgb(content[:end])


@pytest.mark.slow
@both
def test_changed_bytes_never_end_in_another_error(kind: str) -> None:
    content = files.saved(kind, lesion().resize((64, 64)))
    random = np.random.default_rng(3)
    for _ in range(60):
        changed = bytearray(content)
        for place in random.integers(0, len(content), 3):
            changed[place] = random.integers(0, 256)
        with contextlib.suppress(ImageError):
            to_rgb(bytes(changed))


def test_without_pillow_heif_the_refusal_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert refusal(files.saved("HEIC")) == (
        "is a HEIC photo, which needs pillow-heif: pip install pillow-heif, or save it as JPEG."
    )
    monkeypatch.setattr(installation, "is_package", lambda: True)
    assert "pip install 'dermhub[heic]', or" in refusal(files.saved("HEIC"))


@with_avif
def test_without_avif_in_pillow_the_refusal_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = files.saved("AVIF")
    monkeypatch.delitem(features.modules, "avif")
    assert refusal(content) == (
        "is an AVIF image, which needs Pillow 11.3 or later: pip install -U pillow, or save it as "
        "JPEG or PNG."
    )


@both
def test_an_opened_image_of_somebody_else(kind: str) -> None:
    with Image.open(io.BytesIO(files.saved(kind))) as image:
        rgb = np.asarray(to_rgb(image)).astype(int)
    assert np.abs(rgb - LESION).mean() < 2


def test_sizes_of_av1_in_its_long_form() -> None:
    # Profile 0, no still picture, long form, no timing, no delays, one operating point of level 8
    # with a tier; then 10 bits for each side: 640 and 480.
    bits = "000000000000" + "0" * 12 + "01000010011001"
    bits += f"{639:010b}{479:010b}"
    unit = int(bits.ljust(64, "0"), 2).to_bytes(8)
    # Type 1 with a length, after a delimiter.
    picture = b"\x12\0" + bytes([0x0A, len(unit)]) + unit
    assert list(coded_size.of_av1(b"", picture)) == [(640, 480)]
