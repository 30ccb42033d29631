"""Image-quality checks that need no model: too small, blurred, badly lit, or without a lesion.

Every measure but the size is taken from a small copy, so that it means the same for 200 x 150
pixels and for a photograph of 12 million. The limits were set on the validation images of HAM10000,
all of which were good enough to be published: each check warns about at most 1 % of them.
`benchmarks/quality.py` reports test images, PH2, and damaged images. The results are concerns,
which warn but never withhold an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.images import lesion as images_lesion
from dermhub.images.concern import Concern
from dermhub.images.lesion import Lesion

SHORT = 80
"""Pixels of the short side below which an image is too small.

Of validation images scaled to it, 7 % get another most probable class than at 150 pixels; at 64
pixels it is 11 %, at 48 15 %, and there the AUROC of malignancy falls as well
(`benchmarks/small.py`).
"""

SIDE = 128
"""Largest side, in pixels, at which sharpness is measured: finer detail does not reach a model."""

SHARPNESS = 0.9
"""Least sharpness; 99 % of the validation images have more.

A blur of 1.5 pixels in 150 takes all of them below it.
"""

LIGHTEST = 110
"""Least luminance, 0 to 255, of the lightest twentieth of the pixels outside the surround.

The darkest validation image has 133; the limit is lower, because nearly all of them show light
skin.
"""

BURNT = 0.02
"""Largest share of pixels with two channels of at least `WHITE`.

99.5 % of the validation images have less.
"""

WHITE = 250
"""Level, 0 to 255, from which on a channel holds no detail."""

SURROUND = 0.15
"""Largest share of the image that a dark surround may take.

99.5 % of the validation images have less.
"""

COMPRESSED = 448
"""Pixels of the short side from which on compression counts no more.

Models and measurements see a larger image at half its size or less, where losses even out.
"""

LAPLACIAN_SIDE = 150
"""Side in pixels of the square on which `laplacian_variance` is measured."""


@dataclass(frozen=True)
class Quality:
    """Measurements of an image's quality.

    `size` is (width, height) in pixels; `sharpness` is at least 0; `lightest` is a luminance from 0
    to 255; `burnt` is a share of the pixels outside the surround, and `surround` one of all pixels;
    `lesion` is the central lesion; `compressed` is "JPEG" or "WebP" for a file that is compressed
    strongly (`containers.compression`), else "".
    """

    size: tuple[int, int]
    sharpness: float
    lightest: float
    burnt: float
    surround: float
    lesion: Lesion
    compressed: str = ""


def measure(rgb: Image.Image) -> Quality:
    """Measure an upright RGB image."""
    pixels = images_lesion.thumbnail(rgb)
    lesion = images_lesion.segment(pixels)
    inside = pixels.reshape(-1, 3)
    if not lesion.surround.all():
        inside = inside.compress(~lesion.surround.ravel(), axis=0)
    red, green, blue = np.ascontiguousarray(inside.T)
    luminance = red * 0.299 + green * 0.587 + blue * 0.114
    # Two channels reach a level where the middle one of the three does.
    middle = np.maximum(np.minimum(red, green), np.minimum(np.maximum(red, green), blue))
    # Faster than np.percentile, which also weighs two neighbours.
    place = round(0.95 * (len(luminance) - 1))
    return Quality(
        size=rgb.size,
        sharpness=sharpness(rgb),
        lightest=float(np.partition(luminance, place)[place]),
        burnt=float((middle >= WHITE).mean()),
        surround=float(lesion.surround.mean()),
        lesion=lesion,
    )


def sharpness(rgb: Image.Image) -> float:
    """Divide the mean absolute Laplacian of the central square by its mean absolute gradient.

    The result is about 0.6 for smooth shading and 1.2 for a sharp image. The Laplacian alone
    (Pech-Pacheco et al. 2000) also calls a pale lesion on even skin blurred; its quotient with the
    gradient does not depend on contrast.
    """
    # A small image is not enlarged, which would blur it.
    side = min(*rgb.size, SIDE)
    box = _central_square(rgb.size)
    # Grey first: one channel takes a third of the time of three.
    small = rgb.convert("L").resize(
        (side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0
    )
    grey = np.asarray(small, np.float32)
    down = grey[2:, 1:-1] - grey[:-2, 1:-1]
    across = grey[1:-1, 2:] - grey[1:-1, :-2]
    # Squares of whole numbers up to 255 are exact. np.hypot takes four times as long.
    gradient = np.sqrt(down * down + across * across) / 2
    # Half a level more, so that an image without any structure is not sharp.
    return float(np.abs(_laplacian(grey)).mean() / (gradient.mean() + 0.5))


def laplacian_variance(rgb: Image.Image) -> float:
    """Return the variance of the Laplacian of the grey central square (Pech-Pacheco et al. 2000).

    The square is brought to `LAPLACIAN_SIDE` pixels a side.
    """
    side = (LAPLACIAN_SIDE, LAPLACIAN_SIDE)
    box = _central_square(rgb.size)
    grey = rgb.convert("L").resize(side, Image.Resampling.BICUBIC, box=box)
    return float(_laplacian(np.asarray(grey, np.float64)).var())


def judge(measured: Quality) -> tuple[Concern, ...]:
    """List the concerns that follow from the measurements.

    Their codes are too-small, blurred, compressed, too-dark, too-bright, vignette and no-lesion.
    """
    return tuple(_judge(measured))


def _judge(measured: Quality) -> Iterator[Concern]:
    # A small, dark or overexposed image also looks blurred or without a lesion: it gets one
    # concern, and not the others that follow from it.
    width, height = measured.size
    small = min(width, height) < SHORT
    dark = measured.lightest < LIGHTEST
    burnt = measured.burnt > BURNT
    if small:
        yield Concern(
            "too-small",
            f"The image is too small ({width} x {height} pixels). Use one with at least {SHORT} on "
            "its short side.",
        )
    if measured.sharpness < SHARPNESS and not (small or burnt):
        yield Concern(
            "blurred",
            "The image is blurred. A sharper one may change the result.",
        )
    if measured.compressed and not small and min(width, height) < COMPRESSED:
        yield Concern(
            "compressed",
            f"The image is a strongly compressed {measured.compressed}, which may change the "
            "result. Use the original file.",
        )
    if dark:
        yield Concern(
            "too-dark",
            "The image is too dark. Take it with more light or a longer exposure.",
        )
    if burnt:
        yield Concern(
            "too-bright",
            f"The image is overexposed: {measured.burnt:.0%} of it shows no detail. Take it with "
            "less light or a shorter exposure.",
        )
    if measured.surround > SURROUND and not dark:
        yield Concern(
            "vignette",
            f"A dark rim covers {measured.surround:.0%} of the image. Crop it, so that skin fills "
            "the frame.",
        )
    if not (measured.lesion.found or dark):
        yield Concern(
            "no-lesion",
            "We couldn't find the outline of a lesion, so the map may be off. Check that it is in "
            "the middle.",
        )


def _central_square(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest square in the middle of an image: (left, top, right, bottom)."""
    width, height = size
    side = min(width, height)
    left = (width - side) / 2
    top = (height - side) / 2
    return left, top, left + side, top + side


def _laplacian(grey: NDArray[Any]) -> NDArray[Any]:
    """Return the four neighbours of each inner pixel less four times itself, (h - 2, w - 2)."""
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return np.asarray(around - 4 * middle)
