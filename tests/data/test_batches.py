"""Many images in batches: complete, in order, by any number of threads, and few at a time."""

from __future__ import annotations

import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermhub.data import batches
from dermhub.data.augment import augment
from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.images.view import to_array
from tests.support.tiny import TINY_SPEC


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Nineteen drawn images: four batches of four, and three more. Read only."""
    folder = tmp_path_factory.mktemp("batches")
    for number in range(19):
        draw(number, (48 + number, 40)).save(folder / f"{number:02d}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_all_items_in_their_order(threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(batches.in_order(work, range(40), threads)) == [n * n for n in range(40)]
    assert list(batches.in_order(work, [], threads)) == []


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_comes_at_its_place(threads: int) -> None:
    results = batches.in_order(lambda item: 12 // item, [3, 2, 0, 1], threads)
    assert [next(results), next(results)] == [4, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_more_is_done_than_is_taken() -> None:
    done: list[int] = []
    results = batches.in_order(done.append, range(100), 2)
    next(results)
    time.sleep(0.2)
    assert len(done) <= 2 * batches.AHEAD
    results.close()
    assert len(done) < 100


@pytest.mark.parametrize("threads", [0, 2])
def test_batches_are_of_four_and_hold_what_predict_sees(paths: list[str], threads: int) -> None:
    caller = threading.get_ident()
    threads_of_views, threads_of_answers = set(), set()

    def view(photo: Photo, place: int) -> tuple[int, int]:
        threads_of_views.add(threading.get_ident())
        return place, photo.rgb.width

    def answer(views: list[tuple[int, int]]) -> list[tuple[int, int]]:
        threads_of_answers.add(threading.get_ident())
        return views

    found = batches.map_batches(answer, paths, view, threads)
    assert [len(views) for views in found] == [4, 4, 4, 4, 3]
    assert [one for views in found for one in views] == [(n, 48 + n) for n in range(19)]
    assert threads_of_answers == {caller}
    assert (caller in threads_of_views) == (threads == 0)
    images = batches.map_batches(np.stack, paths, batches.as_predicted(TINY_SPEC), threads)
    expected = [to_array(to_rgb(path), TINY_SPEC) for path in paths]
    assert np.array_equal(np.concatenate(images), np.stack(expected))


@pytest.mark.parametrize("threads", [0, 2])
def test_every_second_view_is_varied(paths: list[str], threads: int) -> None:
    (first, *_) = batches.map_batches(list, paths, batches.varied(TINY_SPEC), threads)
    for place, (path, view) in enumerate(zip(paths, first, strict=False)):
        rgb, rng = to_rgb(path), np.random.default_rng(place)
        expected = (
            augment(rgb, TINY_SPEC, 64, batches.LEAST_CROP, rng)
            if place % 2
            else to_array(rgb, TINY_SPEC)
        )
        assert np.array_equal(view, expected)


def test_a_scaled_view() -> None:
    rgb = draw(1, (60, 40))
    half = rgb.resize((30, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(batches.scaled(rgb, TINY_SPEC, 0.5), to_array(half, TINY_SPEC))


@pytest.mark.parametrize("threads", [0, 2])
def test_a_damaged_image_is_one_sentence(paths: list[str], tmp_path: Path, threads: int) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    (tmp_path / "empty.jpg").touch()
    given = [*paths[:9], str(tmp_path / "bad.jpg"), str(tmp_path / "empty.jpg"), *paths[9:]]
    with pytest.raises(ImageError) as raised:
        batches.map_batches(len, given, batches.as_predicted(TINY_SPEC), threads)
    assert str(raised.value) == (
        f"{tmp_path / 'bad.jpg'} is a text file; expected an image as JPEG, PNG, WebP, GIF, TIFF, "
        "BMP, HEIC, AVIF or DICOM."
    )


def test_warnings_are_as_before(paths: list[str]) -> None:
    # Each image is opened with warnings off; threads that take turns must not leave them so.
    before = list(warnings.filters)
    batches.map_batches(len, paths * 4, batches.as_predicted(TINY_SPEC), 4)
    assert list(warnings.filters) == before
