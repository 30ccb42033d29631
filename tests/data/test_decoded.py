"""Decoded training images: the same pixels, from memory once they were read."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermhub.data import decoded
from dermhub.data.decoded import DecodedImages, decoded_images
from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Draw two images of 48 x 40 pixels and one of 40 x 48."""
    names = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(names):
        draw(number, (40, 48) if number == 2 else (48, 40)).save(path)
    return list(map(str, names))


def pixels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_an_image_is_read_once(paths: list[str]) -> None:
    kept = decoded_images([*paths, paths[0]], 1)
    assert kept is not None
    expected = [pixels(to_rgb(path)) for path in paths]
    for _ in range(2):
        assert all(map(np.array_equal, map(pixels, map(kept.open, paths)), expected))
    for path in paths:
        Path(path).unlink()
    assert [np.array_equal(pixels(kept.open(path)), expected[0]) for path in paths[:2]] == [
        True,
        False,
    ]
    # One of another size, and a file of which nothing was said, are read each time.
    for path in (paths[2], "elsewhere.jpg"):
        with pytest.raises(ImageError, match="There is no file"):
            kept.open(path)


def read(kept: DecodedImages, path: str) -> None:
    kept.open(path)


def test_what_a_forked_process_reads_all_have(paths: list[str]) -> None:
    kept = DecodedImages(paths, (48, 40))
    child = multiprocessing.get_context("fork").Process(target=read, args=(kept, paths[1]))
    child.start()
    child.join()
    expected = pixels(to_rgb(paths[1]))
    Path(paths[1]).unlink()
    assert np.array_equal(pixels(kept.open(paths[1])), expected)


def test_it_takes_a_third_of_the_free_memory_at_most(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decoded_images([], 1) is None
    # Three images of 48 x 40 pixels and three bytes: 17,280; three times that are 51,840.
    for free, processes, takes in ((51_840, 1, True), (51_839, 1, False), (103_679, 2, False)):
        monkeypatch.setattr(decoded, "free_memory", lambda free=free: free)
        assert (decoded_images(paths, processes) is not None) == takes


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [("max", "5", 2048), ("1500", "500", 1000), ("9000", "1", 2048), ("5", "9", 0)],
)
def test_free_memory_is_that_of_the_container(
    limit: str, used: str, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  4 kB\nMemAvailable:   2 kB\n")
    monkeypatch.setattr(decoded, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(decoded, "CGROUP", tmp_path)
    assert decoded.free_memory() == 2048
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    assert decoded.free_memory() == expected
    (tmp_path / "meminfo").write_text("nothing")
    assert decoded.free_memory() == 0
