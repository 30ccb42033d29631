"""The training augmentation: a function of its generator alone, inside the frame, and blind to the
class.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dermhub.data import augment as data_augment
from dermhub.data.augment import augment, random_box, random_colour
from dermhub.images.drawn_lesions import draw
from dermhub.images.view import InputSpec, view_box
from tests.support.tiny import TINY_SPEC, pixels

FRAMES = [(200, 150), (150, 200), (64, 64), (320, 100)]


def view(key: list[int], min_scale: float = 0.35, alike: bool = False) -> NDArray[np.float32]:
    return augment(draw(1, (60, 48)), TINY_SPEC, 40, min_scale, np.random.default_rng(key), alike)


def test_a_view_is_a_normalised_array_of_the_training_size() -> None:
    out = view([0, 0, 0])
    assert (out.shape, out.dtype) == ((3, 40, 40), np.dtype(np.float32))
    # Pixels 0 and 255 after ImageNet's mean and deviation.
    assert -2.2 < float(out.min()) < float(out.max()) < 2.7


def test_one_key_gives_one_view() -> None:
    for position in range(20):
        assert np.array_equal(view([7, 3, position]), view([7, 3, position]))


def test_other_seeds_epochs_and_positions_give_other_views() -> None:
    keys = [
        [seed, epoch, position] for seed in range(3) for epoch in range(3) for position in range(3)
    ]
    assert len({view(key).tobytes() for key in keys}) == 27


@pytest.mark.parametrize("alike", [False, True])
def test_torchs_own_generator_plays_no_part(alike: bool) -> None:
    torch.manual_seed(1)
    before = view([0, 0, 1], alike=alike)
    torch.manual_seed(2)
    expected = torch.random.get_rng_state()
    assert np.array_equal(before, view([0, 0, 1], alike=alike))
    assert torch.equal(torch.random.get_rng_state(), expected)


def test_a_vignette_by_hand() -> None:
    # Half the short side is 50 pixels. The circle of radius 1 touches the long sides; beyond 1.15
    # a twentieth of the light is left, and in between the light falls evenly.
    image = Image.new("RGB", (200, 100), (200, 100, 40))
    dark = np.asarray(data_augment.vignette(image, 1.0)).astype(float)
    assert dark[50, 100].tolist() == [200, 100, 40]
    assert dark[0, 0].tolist() == dark[50, 199].tolist() == [10, 5, 2]
    # The centre of this pixel is 53.5 pixels right and 0.5 down: 1.07 in halves of the short side.
    assert dark[50, 153, 0] == pytest.approx(200 * (1.15 - 1.07) / 0.15, abs=1)


def test_views_of_several_sources_vary_more() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))

    def draws(alike: bool) -> NDArray[np.float32]:
        return np.stack(
            [
                augment(grey, TINY_SPEC, 32, 0.9, np.random.default_rng([5, 0, key]), alike)
                for key in range(200)
            ]
        )

    plain, alike = draws(False), draws(True)
    # The white balance, red against blue, varies twice as much.
    spread = [(views[:, 0, 16, 16] - views[:, 2, 16, 16]).std() for views in (plain, alike)]
    assert 1.5 < spread[1] / spread[0] < 2.5
    surrounds = np.ptp(alike.mean(axis=1), axis=(1, 2)) > 1
    assert not (np.ptp(plain.mean(axis=1), axis=(1, 2)) > 1).any()
    assert 0.05 < surrounds.mean() < 0.3


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("size", FRAMES)
@pytest.mark.parametrize("min_scale", [0.05, 0.35, 1.0])
def test_boxes_stay_inside_the_frame(
    size: tuple[int, int], min_scale: float, crop_mode: str
) -> None:
    spec = InputSpec(64, "center" if crop_mode == "center" else "squash")
    rng = np.random.default_rng(0)
    for _ in range(300):
        left, top, right, bottom = random_box(size, view_box(size, spec), min_scale, rng)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


@pytest.mark.parametrize("size", FRAMES)
def test_boxes_have_the_area_and_the_shape_that_is_asked_for(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    square = min(size) ** 2
    boxes = [random_box(size, view_box(size, InputSpec(64)), 0.35, rng) for _ in range(1000)]
    areas = [(right - left) * (bottom - top) / square for left, top, right, bottom in boxes]
    ratios = [(right - left) / (bottom - top) for left, top, right, bottom in boxes]
    assert 0.35 <= min(areas) < 0.40
    assert 0.9 < max(areas) <= 1.0 + 1e-9
    assert 3 / 4 - 1e-9 <= min(ratios) < 0.8
    assert 1.25 < max(ratios) <= 4 / 3 + 1e-9


def test_boxes_reach_the_borders_that_the_central_square_leaves_out() -> None:
    rng = np.random.default_rng(0)
    boxes = [
        random_box((200, 150), view_box((200, 150), InputSpec(64)), 0.35, rng) for _ in range(500)
    ]
    assert min(box[0] for box in boxes) < 5
    assert max(box[2] for box in boxes) > 195


def test_nothing_of_the_augmentation_can_know_the_class() -> None:
    # Sharpness must not stand for a diagnosis: images of all classes go through one function,
    # without a label.
    assert list(inspect.signature(augment).parameters) == [
        "rgb",
        "spec",
        "size",
        "min_scale",
        "rng",
        "alike",
    ]
    assert list(inspect.signature(random_box).parameters) == ["size", "view", "min_scale", "rng"]


def test_some_views_are_blurred_and_most_are_not() -> None:
    # Large squares have sharp edges, across which the whole contrast is one step of a pixel or two.
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((32, 32))) * 200 + 20
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    sharpness = []
    for position in range(100):
        out = augment(image, TINY_SPEC, 128, 1.0, np.random.default_rng([0, 0, position]))
        steps = max(np.abs(np.diff(out, axis=axis)).max() for axis in (1, 2))
        sharpness.append(steps / (out.max() - out.min()))
    # Three in ten are made again from as few as 0.4 of the pixels.
    assert 10 <= sum(value < 0.7 * max(sharpness) for value in sharpness) <= 40


def test_views_are_turned_and_mirrored_in_all_eight_ways() -> None:
    # One bright corner and a less bright one beside it tell the eight symmetries of the square
    # apart.
    corners = np.zeros((64, 64, 3), np.uint8)
    corners[:32, :32], corners[:32, 32:] = 250, 120
    seen = set()
    for position in range(80):
        out = augment(
            Image.fromarray(corners), TINY_SPEC, 64, 1.0, np.random.default_rng([1, 0, position])
        ).mean(axis=0)
        quarters = [
            out[row : row + 16, column : column + 16].mean()
            for row in (0, 48)
            for column in (0, 48)
        ]
        seen.add(tuple(np.argsort(np.array(quarters), kind="stable")[-2:].tolist()))
    assert len(seen) == 8


def test_random_colour_keeps_type_shape_and_range() -> None:
    extremes = np.zeros((32, 32, 3), np.uint8)
    extremes[:16] = 255
    for seed in range(50):
        out = random_colour(extremes, np.random.default_rng(seed))
        assert out.dtype.name == "uint8"
        assert out.shape == (32, 32, 3)
        # Clipped, never wrapped around: what was white stays lighter than what was black.
        assert out[:16].min() > 150 > 100 > out[16:].max()


def test_random_colour_is_its_formula_to_the_bit() -> None:
    # As one would write it down; the function does the same in an order of memory that numpy is
    # faster in.
    for seed in range(20):
        image, rng = pixels(seed), np.random.default_rng(seed)
        gains = rng.uniform(0.85, 1.15) * rng.uniform(0.93, 1.07, size=3)
        contrast, saturation = rng.uniform(0.8, 1.2, size=2)
        values = image.astype(np.float32) * gains.astype(np.float32)
        values = (values - values.mean()) * np.float32(contrast) + values.mean()
        grey = values.mean(axis=2, keepdims=True)
        values = (values - grey) * np.float32(saturation) + grey
        expected = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        assert np.array_equal(random_colour(image, np.random.default_rng(seed)), expected)


def test_random_colour_leaves_its_input_alone() -> None:
    before = pixels(2)
    copy = before.copy()
    random_colour(before, np.random.default_rng(0))
    assert np.array_equal(before, copy)


def test_random_colour_varies_the_white_balance_but_keeps_the_lesion_dark() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    means = np.array(
        [random_colour(grey, np.random.default_rng(seed)).mean(axis=(0, 1)) for seed in range(300)]
    )
    # 128 x 0.85 x 0.93 to 128 x 1.15 x 1.07; saturation moves the channels apart by at most a fifth
    # more.
    assert means.min() > 128 * 0.85 * 0.9
    assert means.max() < 128 * 1.15 * 1.1
    assert (means.max(axis=1) - means.min(axis=1)).max() > 10
    assert np.ptp(means.mean(axis=1)) > 30


def test_a_small_frame_can_be_enlarged(tmp_path: Path) -> None:
    draw(0, (33, 40)).save(tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as image:
        out = augment(image.convert("RGB"), TINY_SPEC, 96, 0.35, np.random.default_rng(0))
    assert out.shape == (3, 96, 96)


def test_the_eight_turns_are_the_identity_and_pillows_seven() -> None:
    assert len(data_augment.TURNS) == len(set(data_augment.TURNS)) == 8
    assert data_augment.TURNS[0] is None
