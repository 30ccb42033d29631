"""What of an image itself speaks against relying on an answer: too small, blurred, badly lit, or
without a lesion.

Nothing here needs a model. Every measure but the size is taken from a small copy, so that it means
the same for 200 x 150 pixels and for a photograph of 12 million. The limits were set on the
validation images of HAM10000, all of which were good enough to be published, so that each turns up
in at most 1 % of them; `benchmarks/quality.py` reports test images, PH2, and damaged images. What
is found are concerns: none of them withholds an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dermhub.concern import Concern
from dermhub.images import lesion as images_lesion
from dermhub.images.lesion import Lesion

SHORT = 80
"""Pixels of the short side below which an image is too small.

Of validation images scaled to it, 7 % get another most probable class than at 150 pixels; at 64
pixels it is 11 %, at 48 15 %, and there the AUROC of malignancy falls as well
(`benchmarks/small.py`).
"""

SIDE = 128
"""The central square is measured in at most this many pixels a side: what is finer does not reach a
model.
"""

SHARPNESS = 0.9
"""Least sharpness: 99 % of the validation images have more. A blur of 1.5 pixels in 150 takes all
of them below it.
"""

LIGHTEST = 110
"""Least luminance, 0 to 255, of the lightest twentieth of what the surround leaves.

The darkest validation image has 133; the limit is lower, because nearly all of them show light
skin.
"""

BURNT = 0.02
"""Largest share of pixels with two channels of at least `WHITE`; 99.5 % of the validation images
have less.
"""

WHITE = 250
"""A channel from here on holds no detail."""

SURROUND = 0.15
"""Largest share of the image that a dark surround may take; 99.5 % of the validation images have
less.
"""


@dataclass(frozen=True)
class Quality:
    """What was measured of an image.

    `size` is (width, height) in pixels; `sharpness` at least 0; `lightest` a luminance from 0 to
    255; `burnt` and `surround` shares of the image; `lesion` what was found in it.
    """

    size: tuple[int, int]
    sharpness: float
    lightest: float
    burnt: float
    surround: float
    lesion: Lesion


def measure(rgb: Image.Image) -> Quality:
    """Measure an upright RGB image."""
    pixels = images_lesion.thumbnail(rgb)
    lesion = images_lesion.segment(pixels)
    seen = pixels[~lesion.surround] if not lesion.surround.all() else pixels.reshape(-1, 3)
    return Quality(
        size=rgb.size,
        sharpness=sharpness(rgb),
        lightest=float(np.percentile(seen @ np.array([0.299, 0.587, 0.114]), 95)),
        burnt=float((np.sort(seen, axis=1)[:, 1] >= WHITE).mean()),
        surround=float(lesion.surround.mean()),
        lesion=lesion,
    )


def sharpness(rgb: Image.Image) -> float:
    """How fine the structures of the central square are: mean Laplacian by mean gradient, both
    absolute.

    About 0.6 for smooth shading and 1.2 for a sharp image. The Laplacian alone (Pech-Pacheco et al.
    2000) also calls a pale lesion on even skin blurred; its quotient with the gradient does not
    depend on contrast.
    """
    width, height = rgb.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    # A small image is not enlarged, which would blur it.
    edge = min(side, SIDE)
    small = rgb.resize((edge, edge), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    grey = np.asarray(small.convert("L"), np.float64)
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    gradient = np.hypot(grey[2:, 1:-1] - grey[:-2, 1:-1], grey[1:-1, 2:] - grey[1:-1, :-2]) / 2
    # Half a level: an image without any structure is not sharp.
    return float(np.abs(laplacian).mean() / (gradient.mean() + 0.5))


def concerns(rgb: Image.Image) -> tuple[Concern, ...]:
    """The concerns about an upright RGB image, in the order of `judge`."""
    return judge(measure(rgb))


def judge(found: Quality) -> tuple[Concern, ...]:
    """The concerns that follow from what was measured.

    Their codes are too-small, blurred, too-dark, too-bright, vignette and no-lesion.
    """
    return tuple(_judge(found))


def _judge(found: Quality) -> Iterator[Concern]:
    # What a small, dark or overexposed image can't show says nothing more about it.
    width, height = found.size
    small, dark, burnt = min(width, height) < SHORT, found.lightest < LIGHTEST, found.burnt > BURNT
    if small:
        yield Concern(
            "too-small",
            f"The image has {width} x {height} pixels, too few to show a lesion's structures: use "
            f"one with at least {SHORT} on its short side.",
        )
    if found.sharpness < SHARPNESS and not (small or burnt):
        yield Concern(
            "blurred",
            "The image is blurred: take a sharp one, with the dermatoscope resting on the skin.",
        )
    if dark:
        yield Concern(
            "too-dark",
            f"The image is too dark, even its lightest parts reach only {found.lightest / 255:.0%} "
            "of white: take it with more light or a longer exposure.",
        )
    if burnt:
        yield Concern(
            "too-bright",
            f"The image is overexposed, {found.burnt:.0%} of it shows no detail: take it with less "
            "light or a shorter exposure.",
        )
    if found.surround > SURROUND and not dark:
        yield Concern(
            "vignette",
            f"A dark surround covers {found.surround:.0%} of the image: crop it, so that skin "
            "fills the frame.",
        )
    if not (found.lesion.found or dark):
        yield Concern(
            "no-lesion",
            "Nothing that stands out from the skin was found near the middle of the image: take "
            "one with the lesion in the middle, and do not rely on an answer about a lesion as "
            "pale as its skin.",
        )


LAPLACIAN_SIDE = 150
"""Sharpness is measured on a square of this side, so that it does not depend on the file's size
alone.
"""


def laplacian_variance(rgb: Image.Image) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000) of the grey central square, at
    `SIDE` pixels.
    """
    width, height = rgb.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    grey = np.asarray(
        rgb.convert("L").resize(
            (LAPLACIAN_SIDE, LAPLACIAN_SIDE), Image.Resampling.BICUBIC, box=box
        ),
        np.float64,
    )
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var())
