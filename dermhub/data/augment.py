"""Training augmentation: an RGB image and a random generator give one array.

Every random number comes from the generator that is passed in, which is seeded by (seed, epoch,
position): the same crop is drawn whatever the number of workers, and in a resumed run.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Floats32
from dermhub.images.view import InputSpec, normalise, view_box

JPEG_SHARE = 0.3
"""Share of views that are compressed as JPEG."""

ALIKE_JPEG_SHARE = 0.5
"""Share of views that are compressed as JPEG, where the images come from several sources."""

ALIKE_GAINS = 2.0
"""Factor on the changes of brightness and white balance, where there are several sources.

From image to image of one source, the share of red varies by 8 to 16 % (standard deviation), and
the means of sources differ by as much; a single source is changed by 4 %.
"""

VIGNETTE_SHARE = 0.2
"""Share of views with a dark surround, where there are several sources.

Of the images of ISIC's collection of 2020, 7 to 20 % have dark corners, of the others 0 to 7 %.
"""

VIGNETTES = (0.95, 1.3)
"""Smallest and largest radius of a dark surround, in halves of the short side."""

VIGNETTE_EDGE = 0.15
"""Width of the edge of a dark surround, in halves of the short side."""

DARKEST = 0.05
"""Share of the light that a dark surround leaves."""

BLUR_SHARE = 0.3
"""Share of views that lose resolution."""

TURNS = (None, *Image.Transpose)
"""Identity and the seven other symmetries of the square: a lesion has no upright position."""


def augment(
    rgb: Image.Image,
    spec: InputSpec,
    size: int,
    min_scale: float,
    rng: np.random.Generator,
    alike: bool = False,
) -> Floats32:
    """Return a random view of an RGB image, float32 of shape (3, size, size).

    The crop covers between `min_scale` and 1 of the area that `spec` shows the model, but may lie
    anywhere in the frame. Resolution and JPEG quality are varied for every class alike, so that
    sharpness can't stand for a diagnosis. With `alike`, for images of several sources, colour and
    compression vary more, and some views get a dark surround, so that sources are hard to tell
    apart.
    """
    if alike and rng.random() < VIGNETTE_SHARE:
        rgb = vignette(rgb, rng.uniform(*VIGNETTES))
    box = random_box(rgb.size, view_box(rgb.size, spec), min_scale, rng)
    image = _random_resolution(rgb, box, size, rng)
    turn = TURNS[rng.integers(len(TURNS))]
    if turn is not None:
        image = image.transpose(turn)
    if rng.random() < (ALIKE_JPEG_SHARE if alike else JPEG_SHARE):
        image = _jpeg(image, int(rng.integers(40, 95)))
    gains = ALIKE_GAINS if alike else 1.0
    return normalise(random_colour(np.asarray(image), rng, gains), spec)


def vignette(rgb: Image.Image, radius: float) -> Image.Image:
    """Darken an RGB image outside a circle about its centre, as the tube of a dermatoscope does.

    `radius` is in halves of the short side: at 1, the circle touches the long sides.
    """
    width, height = rgb.size
    half = min(width, height) / 2
    across = (np.arange(width) + 0.5 - width / 2) / half
    down = (np.arange(height) + 0.5 - height / 2) / half
    distance = np.hypot(across, down[:, None])
    light = np.clip((radius + VIGNETTE_EDGE - distance) / VIGNETTE_EDGE, DARKEST, 1.0)
    darkened = np.asarray(rgb) * light[:, :, None].astype(np.float32)
    return Image.fromarray(np.rint(darkened).astype(np.uint8))


def random_box(
    size: tuple[int, int],
    view: tuple[float, float, float, float],
    min_scale: float,
    rng: np.random.Generator,
) -> tuple[float, float, float, float]:
    """Draw a crop box (left, top, right, bottom) anywhere in a frame of `size` (width, height).

    Its area is a share in [min_scale, 1] of that of `view`, and its sides differ by up to 4:3. It
    is smaller only where a side would be longer than the frame's.
    """
    width, height = size
    area = (view[2] - view[0]) * (view[3] - view[1]) * rng.uniform(min_scale, 1.0)
    ratio = math.exp(rng.uniform(-math.log(4 / 3), math.log(4 / 3)))
    w = min(math.sqrt(area * ratio), width)
    h = min(math.sqrt(area / ratio), height)
    left = rng.uniform(0, width - w)
    top = rng.uniform(0, height - h)
    return (left, top, left + w, top + h)


def random_colour(
    pixels: NDArray[np.uint8], rng: np.random.Generator, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Vary brightness, white balance, contrast and saturation of a uint8 (H, W, 3) image.

    Brightness varies by 15 % and white balance by 7 %, both times `strength`.
    """
    brightness, balance = 0.15 * strength, 0.07 * strength
    level = rng.uniform(1 - brightness, 1 + brightness)
    gains = level * rng.uniform(1 - balance, 1 + balance, size=3)
    contrast, saturation = rng.uniform(0.8, 1.2, size=2)
    # A third of an epoch's work on images was here. numpy is several times as fast on whole rows of
    # numbers and in place, so each colour becomes a plane of its own.
    height, width, _ = pixels.shape
    gains_of_row = np.tile(gains.astype(np.float32), width)
    values = (pixels.reshape(height, -1) * gains_of_row).reshape(-1)
    mean = values.mean()
    planes: NDArray[np.float32] = np.ascontiguousarray(
        values.reshape(pixels.shape).transpose(2, 0, 1)
    )
    planes -= mean
    planes *= np.float32(contrast)
    planes += mean
    grey = planes[0] + planes[1]
    grey += planes[2]
    grey /= np.float32(3)
    planes -= grey
    planes *= np.float32(saturation)
    planes += grey
    np.clip(np.rint(planes, out=planes), 0, 255, out=planes)
    return planes.astype(np.uint8).transpose(1, 2, 0)


def _random_resolution(
    rgb: Image.Image, box: tuple[float, float, float, float], size: int, rng: np.random.Generator
) -> Image.Image:
    """Scale a part of an image to a square, by way of a smaller one in `BLUR_SHARE` of the cases.

    The smaller square has 40 to 100 % of the side.
    """
    if rng.random() < BLUR_SHARE:
        small = max(16, round(size * rng.uniform(0.4, 1.0)))
        rgb = rgb.resize((small, small), Image.Resampling.BICUBIC, box=box)
        box = (0.0, 0.0, float(small), float(small))
    return rgb.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Compress an image as JPEG and decode it again."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")
