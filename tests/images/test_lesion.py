"""Segmentation without a model: drawn discs with known outlines, and images without a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermhub.arrays import Mask
from dermhub.errors import DataError
from dermhub.images import lesion as images_lesion
from dermhub.images.drawn_lesions import draw
from dermhub.release import class_maps

SKIN, SPOT = (222, 178, 160), (120, 80, 60)


def disc(size: tuple[int, int], radius: float, centre: tuple[float, float] = (0.5, 0.5)) -> Mask:
    """Return the mask of a disc in a picture of (height, width).

    Its radius is a share of the height, and its centre a share of each side.
    """
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    return np.asarray(np.hypot(x - centre[0] * size[0], y - centre[1] * size[1]) < radius * size[1])


def picture(mask: Mask, spot: tuple[int, int, int] = SPOT) -> Image.Image:
    """Draw skin with a spot where the mask is."""
    return Image.fromarray(
        np.where(mask[..., None], np.array(spot), np.array(SKIN)).astype(np.uint8)
    )


def dice(first: Mask, other: Mask) -> float:
    return float(2 * (first & other).sum() / (first.sum() + other.sum()))


@pytest.mark.parametrize("size", [(200, 150), (600, 450), (48, 40), (150, 200), (1200, 1200)])
@pytest.mark.parametrize("radius", [0.12, 0.3])
def test_a_disc_is_found_at_every_size(size: tuple[int, int], radius: float) -> None:
    true = disc(size, radius)
    lesion = images_lesion.find_lesion(picture(true))
    assert lesion.found
    assert max(lesion.small.shape) == 64
    assert dice(lesion.over(size), true) > 0.9


def test_contrast_is_a_share_of_the_blue_of_the_skin() -> None:
    assert images_lesion.find_lesion(picture(disc((200, 150), 0.3))).contrast == pytest.approx(
        (160 - 60) / 160, abs=0.01
    )


def test_the_central_one_of_two_counts() -> None:
    true = disc((200, 150), 0.15)
    far = disc((200, 150), 0.2, (0.85, 0.2))
    assert dice(images_lesion.find_lesion(picture(true | far)).over((200, 150)), true) > 0.9


def test_holes_are_filled() -> None:
    true = disc((200, 150), 0.3)
    assert (
        dice(
            images_lesion.find_lesion(picture(true & ~disc((200, 150), 0.12))).over((200, 150)),
            true,
        )
        > 0.9
    )


def test_a_dark_surround_is_no_lesion() -> None:
    true = disc((200, 150), 0.15)
    pixels = np.array(picture(true))
    pixels[~disc((200, 150), 0.6)] = 5
    lesion = images_lesion.find_lesion(Image.fromarray(pixels))
    assert dice(lesion.over((200, 150)), true) > 0.9
    expected = ~np.asarray(Image.fromarray(disc((200, 150), 0.6)).resize((64, 48)))
    assert dice(lesion.surround, expected) > 0.9


def test_uneven_light_is_no_lesion() -> None:
    true = disc((200, 150), 0.15)
    light = np.linspace(0.6, 1.1, 200)[None, :, None]
    lesion = images_lesion.find_lesion(
        Image.fromarray((np.array(picture(true)) * light).astype(np.uint8))
    )
    assert dice(lesion.over((200, 150)), true) > 0.85


@pytest.mark.parametrize("colour", [SKIN, (255, 255, 255), (90, 60, 50), (0, 0, 0)])
def test_nothing_is_found_where_nothing_is(colour: tuple[int, int, int]) -> None:
    lesion = images_lesion.find_lesion(Image.new("RGB", (200, 150), colour))
    assert not lesion.found
    assert lesion.contrast == 0
    assert not lesion.over((20, 10)).any()
    assert lesion.over((20, 10)).shape == (10, 20)


def test_a_faint_spot_is_not_told_from_skin() -> None:
    faint = images_lesion.find_lesion(picture(disc((200, 150), 0.3), (220, 175, 155)))
    assert 0 < faint.contrast < images_lesion.CONTRAST
    assert not faint.found
    assert faint.small.any()


@pytest.mark.parametrize(
    ("spot", "share"),
    [
        # Blue-grey, as light as its skin in blue: (222 - 100) / 222 in red.
        ((100, 110, 160), (222 - 100) / 222),
        # Pink and pale: hardly darker in blue, (178 - 130) / 178 in green.
        ((220, 130, 155), (178 - 130) / 178),
    ],
)
def test_a_lesion_that_blue_does_not_show(spot: tuple[int, int, int], share: float) -> None:
    true = disc((200, 150), 0.3)
    lesion = images_lesion.find_lesion(picture(true, spot))
    assert lesion.found
    assert dice(lesion.over((200, 150)), true) > 0.9
    assert lesion.contrast == pytest.approx(share, abs=0.01)


def test_the_mask_of_a_part() -> None:
    lesion = images_lesion.find_lesion(picture(disc((200, 150), 0.3)))
    left = lesion.over((40, 60), (0.0, 0.0, 0.5, 1.0))
    assert left.shape == (60, 40)
    assert left[30].tolist() == sorted(left[30].tolist())
    assert left[30, -1]


def test_drawn_lesions_are_found() -> None:
    for seed in range(8):
        assert images_lesion.find_lesion(draw(seed, darkness=seed / 7)).found


def test_growing() -> None:
    within = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]], bool)
    seed = np.zeros((3, 4), bool)
    seed[0, 0] = True
    assert images_lesion.flood_fill(seed, within).astype(int).tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    assert not images_lesion.flood_fill(~within, within).any()
    # The end of a row is no neighbour of the beginning of the next one.
    corner = np.array([[0, 1], [1, 0]], bool)
    assert images_lesion.flood_fill(np.array([[0, 1], [0, 0]], bool), corner).astype(
        int
    ).tolist() == [[0, 1], [0, 0]]


def test_otsu_lies_between_two_groups() -> None:
    limit = images_lesion.otsu(np.array([1.0, 2, 2, 3, 17, 18, 18, 19]))
    assert 3 <= limit <= 17


def test_masks_that_people_made(tmp_path: Path) -> None:
    true = np.zeros((90, 120), np.uint8)
    true[30:60, 40:80] = 255
    Image.fromarray(true).save(tmp_path / "ISIC_1_segmentation.png")
    read = class_maps.read_mask(tmp_path, "ISIC_1", (12, 9))
    assert read.shape == (9, 12)
    assert np.argwhere(read).min(axis=0).tolist() == [3, 4]
    assert read.sum() == 3 * 4
    Image.fromarray(true * 0).save(tmp_path / "ISIC_2_segmentation.png")
    with pytest.raises(
        DataError, match=r"ISIC_2_segmentation\.png is empty: expected a PNG in which the lesion"
    ):
        class_maps.read_mask(tmp_path, "ISIC_2", (12, 9))
    with pytest.raises(
        DataError, match=r"ISIC_3_segmentation\.png can't be read \(.*\): expected a PNG in which"
    ):
        class_maps.read_mask(tmp_path, "ISIC_3", (12, 9))
