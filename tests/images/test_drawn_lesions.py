"""Drawn lesions: the same for a seed, different between seeds, and dark in the right place."""

from __future__ import annotations

import numpy as np
import pytest

from dermhub.images.drawn_lesions import draw
from tests.support.tiny import pixels


def test_a_drawing_is_an_rgb_image_of_the_size_that_is_asked_for() -> None:
    image = draw(0, (123, 45))
    assert (image.size, image.mode) == ((123, 45), "RGB")
    assert draw(0).size == (200, 150)


def test_a_seed_gives_one_drawing() -> None:
    assert np.array_equal(pixels(5), pixels(5))
    assert len({pixels(seed).tobytes() for seed in range(20)}) == 20


def test_numpys_global_generator_plays_no_part() -> None:
    np.random.seed(0)
    before = pixels(1)
    np.random.seed(1)
    assert np.array_equal(before, pixels(1))


@pytest.mark.parametrize("seed", range(5))
def test_a_lesion_is_darker_than_the_skin_around_it(seed: int) -> None:
    for darkness in (0.0, 0.5, 1.0):
        drawn = np.asarray(draw(seed, (80, 80), darkness), float)
        corners = drawn[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
        assert drawn[35:45, 35:45].mean() < corners - 20


@pytest.mark.parametrize("seed", range(5))
def test_darkness_makes_the_lesion_darker(seed: int) -> None:
    light, dark = (
        np.asarray(draw(seed, (80, 80), darkness), float)[35:45, 35:45] for darkness in (0.0, 1.0)
    )
    assert dark.mean() < light.mean() - 10


@pytest.mark.parametrize("size", [(1, 1), (32, 90), (640, 480)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    assert draw(0, size).size == size
