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
    randaugment: int = 0,
) -> Floats32:
    """Return a random view of an RGB image, float32 of shape (3, size, size).

    The crop covers between `min_scale` and 1 of the area that `spec` shows the model, but may lie
    anywhere in the frame. Resolution and JPEG quality are varied for every class alike, so that
    sharpness can't stand for a diagnosis. `randaugment` is the magnitude in [0, 30] of two further
    changes (RandAugment, Cubuk et al. 2020, section 3), which need torchvision; 0 makes none.
    """
    box = random_box(rgb.size, view_box(rgb.size, spec), min_scale, rng)
    image = _random_resolution(rgb, box, size, rng)
    turn = TURNS[rng.integers(len(TURNS))]
    if turn is not None:
        image = image.transpose(turn)
    if randaugment:
        image = _changed(image, randaugment, int(rng.integers(2**32)))
    if rng.random() < JPEG_SHARE:
        image = _jpeg(image, int(rng.integers(40, 95)))
    return normalise(random_colour(np.asarray(image), rng), spec)


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


def random_colour(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary brightness, white balance, contrast and saturation of a uint8 (H, W, 3) image."""
    gains = rng.uniform(0.85, 1.15) * rng.uniform(0.93, 1.07, size=3)
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


def _changed(image: Image.Image, magnitude: int, seed: int) -> Image.Image:
    """Apply two random changes of RandAugment, drawn by `seed`."""
    # Imported here, because the rest of the augmentation does without PyTorch.
    import torch
    from torchvision.transforms import RandAugment

    # torchvision draws from the CPU's generator, whose state is restored afterwards.
    # torch.manual_seed would also seed the GPUs' generators.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        changed: Image.Image = RandAugment(num_ops=2, magnitude=magnitude)(image)
    return changed


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Compress an image as JPEG and decode it again."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")
