"""Photos: decoded once, and each measurement made once, whoever asks for it."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dermhub
from dermhub.errors import ImageError, ModelError
from dermhub.images import near_duplicates, photo, quality
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec, to_array
from tests.support import odd_files


def jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def test_it_opens_what_is_accepted_and_stays_itself(tmp_path: Path) -> None:
    content = jpeg(draw(1))
    (tmp_path / "a.jpg").write_bytes(content)
    pixels = np.asarray(to_rgb(content))
    for image in (content, tmp_path / "a.jpg", Image.fromarray(pixels), pixels):
        opened = Photo.open(image)
        assert opened.rgb.mode == "RGB"
        assert np.array_equal(np.asarray(opened.rgb), pixels)
        assert Photo.open(opened) is opened
    assert dermhub.Photo is Photo


def test_what_is_no_image_is_refused_when_it_is_opened() -> None:
    with pytest.raises(ImageError, match=r"^the uploaded data is empty \(0 bytes\), expected an "):
        Photo.open(b"")


def test_figures_are_those_of_its_pixels() -> None:
    rgb = draw(3, (320, 240), 0.8)
    drawn, spec = Photo(rgb), InputSpec(64)
    measured = quality.measure(rgb)
    assert quality.judge(drawn.quality) == quality.judge(measured)
    assert (drawn.quality.size, drawn.quality.sharpness) == ((320, 240), measured.sharpness)
    assert drawn.lesion is drawn.quality.lesion
    assert np.array_equal(drawn.lesion.small, measured.lesion.small)
    assert np.array_equal(drawn.array(spec), to_array(rgb, spec))
    # A frame of 4:3 is looked up in its eight symmetries, a square also as one that was stretched
    # or padded; an image without structure by nothing.
    assert drawn.hashes.shape == (8, 6)
    assert Photo(draw(3, (80, 80))).hashes.shape == (32, 6)
    assert Photo(Image.new("RGB", (80, 60))).hashes.shape == (0, 6)
    coefficients = near_duplicates.transform(rgb)
    assert coefficients is not None
    assert np.array_equal(drawn.hashes.view(np.uint8), near_duplicates.symmetries(coefficients))


def test_each_figure_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counting(name: str, work: object) -> object:
        def wrapped(*given: object) -> object:
            calls.append(name)
            return work(*given)  # type: ignore[operator]

        return wrapped

    monkeypatch.setattr(quality, "measure", counting("measure", quality.measure))
    monkeypatch.setattr(near_duplicates, "hashes", counting("hashes", near_duplicates.hashes))
    monkeypatch.setattr(photo, "to_array", counting("to_array", to_array))
    drawn = Photo(draw(1))
    assert calls == []
    first = drawn.array(InputSpec(64))
    # Equal specifications share an array, though they are two objects.
    assert drawn.array(InputSpec(64)) is first
    assert drawn.quality is drawn.quality
    assert drawn.lesion is drawn.quality.lesion
    assert not drawn.measured
    assert drawn.hashes is drawn.hashes
    assert drawn.measured
    assert sorted(calls) == ["hashes", "measure", "to_array"]
    # Only the last one is kept.
    assert drawn.array(InputSpec(48)).shape == (3, 48, 48)
    assert np.array_equal(drawn.array(InputSpec(64)), first)
    assert calls.count("to_array") == 3


def test_its_arrays_cannot_be_written_into() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Photo(draw(1)).array(InputSpec(64))[0, 0, 0] = 1


def test_photos_are_told_apart_by_identity() -> None:
    rgb = draw(1)
    drawn, other = Photo(rgb), Photo(rgb)
    assert drawn != other
    assert len({drawn, other, drawn}) == 2
    assert repr(drawn).startswith("Photo(rgb=<PIL.Image.Image ")


def test_threads_may_share_it() -> None:
    rgb, specs = draw(5, (400, 300)), [InputSpec(size) for size in (32, 48, 64, 80)]
    expected = [to_array(rgb, spec) for spec in specs]
    drawn, start = Photo(rgb), threading.Barrier(8)

    def ask(number: int) -> bool:
        start.wait(timeout=60)
        return all(
            np.array_equal(drawn.array(specs[index]), expected[index])
            and len(drawn.hashes) == 8
            and drawn.quality.size == (400, 300)
            for index in [(number + turn) % 4 for turn in range(40)]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_one_photo_does_not_wait_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a lock for all photos would make it: each waits inside until the other is there as well.
    inside, measure = threading.Barrier(2), quality.measure

    def meeting(rgb: Image.Image) -> quality.Quality:
        inside.wait(timeout=60)
        return measure(rgb)

    monkeypatch.setattr(quality, "measure", meeting)
    with ThreadPoolExecutor(2) as pool:
        sizes = pool.map(lambda drawn: drawn.quality.size, [Photo(draw(1)), Photo(draw(2))])
        assert list(sizes) == [(200, 150), (200, 150)]


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((200, 150), (200, 150)),
        ((640, 480), (640, 480)),
        ((641, 480), (321, 240)),
        ((1920, 1281), (640, 427)),
    ],
)
def test_a_reduced_photo_has_the_measurements_of_the_whole(
    size: tuple[int, int], reduced: tuple[int, int]
) -> None:
    rgb, specs = draw(3, (200, 150), 0.8).resize(size), [InputSpec(64), InputSpec(48, "squash")]
    whole = Photo(rgb)
    small = whole.reduced(640, specs)
    assert small.rgb.size == reduced
    assert small.quality.size == size
    assert small.quality.sharpness == whole.quality.sharpness
    assert np.array_equal(small.hashes, whole.hashes)
    for spec in specs:
        assert np.array_equal(small.array(spec), whole.array(spec))
    # Of another specification, it is made of the picture that is left, as any photo is.
    assert np.array_equal(small.array(InputSpec(32)), Photo(small.rgb).array(InputSpec(32)))


@pytest.mark.parametrize(
    ("size", "copy"),
    [
        # Halved: 447 // 224 is 1 and 448 // 224 is 2, and odd sides are rounded up.
        ((600, 447), (600, 447)),
        ((600, 448), (300, 224)),
        ((451, 601), (226, 301)),
        # The decoder of JPEG divides by 4, and 281 // 224 is 1; other pictures are divided by 5.
        ((1500, 1124), (375, 281)),
    ],
)
def test_the_working_copy_is_decoded_small(size: tuple[int, int], copy: tuple[int, int]) -> None:
    rgb = draw(3, (200, 150), 0.8).resize(size)
    opened = Photo.open(jpeg(rgb))
    assert opened.working_copy.size == copy
    assert opened.size == opened.quality.size == size
    assert repr(opened).startswith("Photo(")
    assert opened.rgb.size == size
    assert np.array_equal(np.asarray(opened.rgb), np.asarray(to_rgb(jpeg(rgb))))
    assert opened.quality.size == size
    # Any other way to divide gives nearly the same pixels.
    divided = Photo(opened.rgb).working_copy.resize(copy)
    levels = np.abs(np.asarray(divided, int) - np.asarray(opened.working_copy, int))
    assert levels.mean() < 1.5
    assert np.array_equal(
        opened.array(InputSpec(192)), to_array(opened.working_copy, InputSpec(192))
    )


def test_a_larger_model_sees_a_larger_copy() -> None:
    opened = Photo.open(jpeg(draw(3, (200, 150), 0.8).resize((1024, 768))))
    assert opened.working_copy.size == (512, 384)
    # The copy of 512 x 384 pixels has too few, and the next larger is the whole.
    assert np.array_equal(opened.array(InputSpec(400)), to_array(opened.rgb, InputSpec(400)))
    # 768 // 256 is 3; the decoder can halve, and 384 // 256 is 1.
    assert np.array_equal(
        opened.array(InputSpec(256)), to_array(opened.working_copy, InputSpec(256))
    )


@pytest.mark.parametrize("number", range(1, 9))
def test_a_turned_file_is_turned_at_every_scale(number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    content = odd_files.saved("JPEG", draw(3, (960, 720), 0.8), exif=exif)
    opened = Photo.open(content)
    assert opened.size == to_rgb(content).size
    assert opened.working_copy.size == (tuple(side // 2 for side in opened.size))
    assert np.array_equal(np.asarray(opened.rgb), np.asarray(to_rgb(content)))
    small = np.asarray(opened.rgb.reduce(2), int)
    assert np.abs(small - np.asarray(opened.working_copy, int)).mean() < 3


def test_a_large_file_is_shown_at_most_that_large(monkeypatch: pytest.MonkeyPatch) -> None:
    # Above `LARGE` pixels the whole picture is a quarter of each side, rounded up.
    monkeypatch.setattr("dermhub.images.decode.LARGE", 100_000)
    opened = Photo.open(jpeg(draw(3, (200, 150), 0.8).resize((2401, 1801))))
    assert opened.size == (601, 451)
    assert opened.rgb.size == (601, 451)
    assert opened.working_copy.size == (301, 226)
    assert max(opened.reduced(200).rgb.size) <= 200
    assert opened.reduced(601).rgb.size == (601, 451)


def test_a_photo_survives_as_bytes() -> None:
    specs = [InputSpec(64), InputSpec(48, "squash", (0.5, 0.25, 0.125), (0.1, 0.2, 0.3))]
    photo = Photo(draw(3, (320, 240), 0.8)).reduced(200, specs)
    content = photo.to_bytes()
    again = Photo.from_bytes(content)
    assert again.to_bytes() == content
    assert again.rgb.size == (160, 120)
    assert again.quality.size == (320, 240)
    assert quality.judge(again.quality) == quality.judge(photo.quality)
    assert again.lesion.small.dtype == bool
    for spec in specs:
        assert np.array_equal(again.array(spec), photo.array(spec))
        assert not again.array(spec).flags.writeable
    with pytest.raises(ModelError, match=r"^the photo is no complete safetensors file"):
        Photo.from_bytes(content[:-1])
