"""Skin tone, resolution and sharpness of images: by hand, and against values from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from dermhub.evaluation import robustness
from dermhub.evaluation.bootstrap import Resamples
from dermhub.evaluation.robustness import robustness_figures
from dermhub.images import quality, skin_tone
from dermhub.images.drawn_lesions import draw
from dermhub.models.config import ModelConfig
from dermhub.tasks import BINARY
from tests.support.tiny import make_config

SCORE = np.array([0.9, 0.6, 0.4, 0.1])
MALIGNANT = np.array([True, False, True, False])
RESAMPLES = Resamples.draw(np.array(list("ABCD")))


def table(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"image_id": list("abcd"), **columns})


def test_columns_that_are_missing_give_no_figures() -> None:
    assert robustness_figures(table(), SCORE, MALIGNANT, RESAMPLES) == {}


def test_figures_by_hand() -> None:
    figures = robustness_figures(
        table(
            ita=[60, 60, 30, -40],
            sharpness=[1, 2, 3, 4],
            malignancy_half=[0.9, 0.8, 0.85, 0.1],
            malignancy_double=[0.9, 0.6, 0.4, 0.1],
        ),
        SCORE,
        MALIGNANT,
        RESAMPLES,
    )
    assert figures["skin"] == {
        "very light": 2,
        "light": 0,
        "intermediate": 1,
        "tan": 0,
        "brown": 0,
        "dark": 1,
        "unknown": 0,
    }
    resolution = figures["resolution"]
    # Of four pairs 0.4 < 0.6 alone is the wrong way round, and at half the size none.
    assert resolution["auroc"] == 0.75
    assert resolution["half"]["auroc"] == 1.0
    assert resolution["double"]["auroc"] == 0.75
    assert resolution["half"]["mean_benign"] == pytest.approx(0.45)
    assert resolution["half"]["mean_malignant"] == pytest.approx(0.875)
    # Blurred first: 1 and 3 are ill, 2 and 4 are not.
    assert resolution["blur_alone_auroc"] == 0.75
    # The same probabilities in every resample: an interval of no width says nothing.
    assert resolution["double"]["difference_bounds"] is None
    # Benign images move by 0.2 and 0: the mean of a resample by either, or by what lies between.
    assert resolution["half"]["rise_benign"] == [0.0, 0.2]
    assert resolution["half"]["rise_malignant"] == [0.0, 0.45]
    assert resolution["double"]["rise_benign"] is None


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize(
    ("colour", "lab"),
    # Lindbloom's calculator, sRGB, D65, no adaptation: red, a light and a dark skin of the
    # ColorChecker chart.
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab(colour: tuple[int, int, int], lab: tuple[float, ...]) -> None:
    assert skin_tone.to_lab(np.array([colour]))[0] == pytest.approx(lab, abs=0.05)


def test_the_angle_of_one_colour_is_its_arctangent() -> None:
    lightness, _, yellow = skin_tone.to_lab(np.array([[200, 150, 125]]))[0]
    assert skin_tone.ita(plain((200, 150, 125))) == pytest.approx(
        np.degrees(np.arctan((lightness - 50) / yellow))
    )


def test_lighter_skin_has_a_larger_angle() -> None:
    angles = [
        skin_tone.ita(plain(c))
        for c in ((245, 225, 210), (200, 150, 125), (120, 80, 60), (70, 45, 35))
    ]
    assert angles == sorted(angles, reverse=True)  # type: ignore[type-var]
    assert list(robustness.bands(np.array(angles, float)).values())[-3:] == [0, 2, 0]


def test_the_lesion_in_the_middle_does_not_count() -> None:
    image = plain((200, 150, 125))
    image.paste((40, 20, 20), (12, 8, 48, 32))
    assert skin_tone.ita(image) == skin_tone.ita(plain((200, 150, 125)))


def test_a_dark_frame_is_no_skin() -> None:
    assert skin_tone.ita(plain((5, 5, 5))) is None
    image = plain((5, 5, 5))
    image.paste((200, 150, 125), (0, 0, 60, 20))
    assert skin_tone.ita(image) == skin_tone.ita(plain((200, 150, 125)))


def test_a_bluish_rim_tells_no_skin_tone() -> None:
    assert skin_tone.to_lab(np.array([[200, 180, 200]]))[0, 2] < 0
    assert skin_tone.ita(plain((200, 180, 200))) is None
    assert skin_tone.ita(plain((180, 180, 180))) is None


def test_bands_by_hand() -> None:
    counts = robustness.bands(np.array([80, 55, 54, 41, 40, 28, 27, 10, 9, -30, -31, np.nan]))
    assert counts == {
        "very light": 1,
        "light": 2,
        "intermediate": 2,
        "tan": 2,
        "brown": 2,
        "dark": 2,
        "unknown": 1,
    }


def test_blur_lowers_sharpness_and_size_alone_does_not() -> None:
    image = draw(1, (400, 300), 0.6)
    assert quality.laplacian_variance(
        image.filter(ImageFilter.GaussianBlur(3))
    ) < quality.laplacian_variance(image)
    assert quality.laplacian_variance(plain((90, 90, 90))) == 0


def compressed_table(config: ModelConfig) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Six test images, of which the first four were saved anew, and their probabilities."""
    chances = [0.9, 0.8, 0.3, 0.1, 0.5, 0.6]
    classes = list(config.task.classes)
    probabilities = np.zeros((6, 2))
    probabilities[:, classes.index("malignant")] = chances
    probabilities[:, classes.index("benign")] = 1 - np.array(chances)
    columns: dict[str, list[Any]] = {"lesion_id": list("abcdef")}
    labels = ["malignant", "malignant", "benign", "benign"]
    for name in robustness.COMPRESSIONS:
        # As they are; of WebP at 50 the second changes its class, its zone, and the order.
        values = [0.9, 0.2, 0.3, 0.1] if name == "webp_50" else chances[:4]
        changed = ["malignant", "benign", *labels[2:]] if name == "webp_50" else labels
        columns[f"malignancy_{name}"] = [*values, np.nan, np.nan]
        columns[f"label_{name}"] = [*changed, None, None]
    return pd.DataFrame(columns), probabilities


def test_compression_by_hand() -> None:
    config = make_config(BINARY)
    part, probabilities = compressed_table(config)
    malignant = np.array([True, True, False, False, True, False])
    lesions = part["lesion_id"].to_numpy(str)
    figures = robustness.compression_figures(part, probabilities, malignant, lesions, config)
    assert (figures["n"], figures["lesions"], figures["auroc"]) == (4, 4, 1.0)
    assert set(figures) == {"n", "lesions", "auroc", *robustness.COMPRESSIONS}
    same, other = figures["jpeg_50"], figures["webp_50"]
    assert same["labels_changed"]["share"] == same["zones_changed"]["share"] == 0.0
    assert same["auroc"] == 1.0
    # One of four images; three of the four pairs of a malignant and a benign one are in order.
    assert other["labels_changed"]["share"] == other["zones_changed"]["share"] == 0.25
    assert other["auroc"] == 0.75
    low, high = other["labels_changed"]["bounds"]
    assert 0 <= low < 0.25 < high <= 1
    # A table of an earlier version has none of it.
    assert (
        robustness.compression_figures(
            part.drop(columns="label_jpeg_50"), probabilities, malignant, lesions, config
        )
        == {}
    )
    nothing = part.assign(**dict.fromkeys(robustness.LABELS))
    assert robustness.compression_figures(nothing, probabilities, malignant, lesions, config) == {}


def test_images_to_be_saved_anew_are_chosen_by_their_ids() -> None:
    few = np.array(["c", "a", "b"])
    assert robustness.chosen(few).tolist() == [0, 1, 2]
    many = np.array([f"{number:04}" for number in range(1597)])
    assert robustness.chosen(many).tolist() == list(range(0, 1597, 4))
    # The order of the table does not matter.
    backwards = many[::-1]
    assert set(backwards[robustness.chosen(backwards)]) == set(many[::4])
