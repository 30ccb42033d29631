"""Image quality: drawn images, damaged in one way at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from dermhub.images import lesion, quality
from dermhub.images.drawn_lesions import draw
from dermhub.images.lesion import Lesion
from dermhub.images.quality import Quality
from dermhub.models.classifier import Classifier

GOOD = draw(3, (200, 150), 0.8)
NOTHING = np.zeros((4, 4), bool)


def codes(rgb: Image.Image) -> list[str]:
    return [concern.code for concern in quality.judge(quality.measure(rgb))]


def rimmed(rgb: Image.Image, radius: float) -> Image.Image:
    """Blacken an image outside a disc in its middle; the radius is a share of its height."""
    pixels = np.array(rgb)
    y, x = np.mgrid[0 : rgb.height, 0 : rgb.width]
    pixels[np.hypot(x - rgb.width / 2, y - rgb.height / 2) > radius * rgb.height] = 0
    return Image.fromarray(pixels)


@pytest.mark.parametrize("seed", range(6))
def test_a_good_image_has_no_concern(seed: int) -> None:
    assert codes(draw(seed, (200, 150), seed / 5)) == []


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (GOOD.resize((96, 72)), ["too-small"]),
        (GOOD.resize((72, 96)), ["too-small"]),
        (GOOD.filter(ImageFilter.GaussianBlur(2)), ["blurred"]),
        (ImageEnhance.Brightness(GOOD).enhance(0.4), ["too-dark"]),
        (Image.new("RGB", (200, 150)), ["blurred", "too-dark"]),
        (ImageEnhance.Brightness(GOOD).enhance(2), ["too-bright"]),
        (rimmed(GOOD, 0.5), ["vignette"]),
        (rimmed(GOOD, 0.75), []),
        (GOOD.crop((0, 0, 200, 30)).resize((200, 150)).effect_spread(2), ["no-lesion"]),
    ],
)
def test_each_damage_is_named(damaged: Image.Image, expected: list[str]) -> None:
    assert codes(damaged) == expected


def test_sentences_say_what_came() -> None:
    (small,) = quality.judge(quality.measure(GOOD.resize((96, 72))))
    assert small.sentence.startswith("The image is too small (96 x 72 pixels). ")
    assert small.sentence.endswith(" Use one with at least 80 on its short side.")
    (rim,) = quality.judge(quality.measure(rimmed(GOOD, 0.5)))
    share = 1 - np.pi * 0.5**2 * 150**2 / (200 * 150)
    assert rim.sentence.startswith(f"A dark rim covers {share:.0%}"[:-2])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"size": (79, 500)}, ["too-small"]),
        ({"size": (80, 500)}, []),
        ({"size": (79, 500), "sharpness": 0.5}, ["too-small"]),
        ({"sharpness": 0.89}, ["blurred"]),
        ({"compressed": "JPEG"}, ["compressed"]),
        ({"compressed": "WebP", "size": (900, 447)}, ["compressed"]),
        ({"compressed": "WebP", "size": (900, 448)}, []),
        ({"compressed": "JPEG", "size": (79, 500)}, ["too-small"]),
        ({"lightest": 109.0}, ["too-dark"]),
        (
            {"lightest": 109.0, "surround": 0.5, "lesion": Lesion(NOTHING, NOTHING, 0.0)},
            ["too-dark"],
        ),
        ({"burnt": 0.03, "surround": 0.2, "sharpness": 0.5}, ["too-bright", "vignette"]),
        ({"lesion": Lesion(NOTHING, NOTHING, 0.077)}, ["no-lesion"]),
    ],
)
def test_limits(changed: dict[str, object], expected: list[str]) -> None:
    fine: dict[str, object] = {
        "size": (200, 150),
        "sharpness": 1.2,
        "lightest": 180.0,
        "burnt": 0.0,
        "surround": 0.05,
        "lesion": Lesion(NOTHING, NOTHING, 0.5),
    }
    concerns = quality.judge(Quality(**(fine | changed)))  # type: ignore[arg-type]
    assert [concern.code for concern in concerns] == expected
    # What is the matter, and what to do about it.
    assert all(concern.sentence.count(". ") == 1 for concern in concerns)
    assert all(concern.sentence.endswith(".") for concern in concerns)


def test_sharpness_of_hand_made_pictures() -> None:
    ramp = np.repeat(np.arange(128, dtype=np.uint8)[None], 128, axis=0)
    # A slope of 1 everywhere, and no second derivative at all.
    assert quality.sharpness(Image.fromarray(ramp).convert("RGB")) == 0
    assert quality.sharpness(Image.new("RGB", (128, 128), (90, 90, 90))) == 0
    # Rows 0, 0, 80, 80, 0, 0 ...: the Laplacian is 80 and the gradient 40 everywhere.
    bands = np.repeat((np.arange(128) // 2 % 2 * 80).astype(np.uint8)[:, None], 128, axis=1)
    assert quality.sharpness(Image.fromarray(bands).convert("RGB")) == pytest.approx(80 / 40.5)


def test_sharpness_depends_little_on_contrast_and_size() -> None:
    sharp = quality.sharpness(GOOD)
    assert quality.sharpness(ImageEnhance.Contrast(GOOD).enhance(0.6)) == pytest.approx(
        sharp, rel=0.15
    )
    assert quality.sharpness(GOOD.filter(ImageFilter.GaussianBlur(1.5))) < 0.8 * sharp
    large = GOOD.resize((800, 600), Image.Resampling.BICUBIC)
    assert quality.sharpness(large) == pytest.approx(sharp, rel=0.25)


def test_burnt_and_light_leave_the_surround_out() -> None:
    measured = quality.measure(rimmed(GOOD, 0.5))
    assert measured.lightest == pytest.approx(quality.measure(GOOD).lightest, rel=0.1)
    assert measured.lesion.contrast == lesion.find_lesion(rimmed(GOOD, 0.5)).contrast
    assert measured.size == (200, 150)


def test_every_model_looks_at_the_image(tiny_binary_model: Path) -> None:
    classifier = Classifier(tiny_binary_model)
    blurred = GOOD.filter(ImageFilter.GaussianBlur(2))
    unsharp, other = classifier.predict([blurred, GOOD])
    assert unsharp.concerns == quality.judge(quality.measure(blurred))
    assert other.concerns == ()
    # A poor image is a reason for doubt, not for no answer.
    assert unsharp.abstention == ""
    assert classifier.explain(blurred).prediction.concerns == unsharp.concerns
