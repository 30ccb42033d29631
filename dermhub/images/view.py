"""The part of an image that a model sees, and the numbers it becomes.

The result is the same to the bit on little- and big-endian machines: Pillow resamples in 8-bit
integers, and the normalisation is elementwise float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.errors import ModelError
from dermhub.layout import LARGEST_SIDE

LARGEST = 1e30
"""Bound on the numbers of a configuration: beyond any sensible one, and within a float32."""

SMALLEST_STD = 1e-4
"""Smallest std of a channel, for values in [0, 1]; one divided by it is the largest."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)

IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """Geometry and normalisation of a model's input.

    `size` is height and width in pixels. `crop_mode` "center" scales the short side to `size` and
    keeps the central square; "squash" stretches the whole frame to the square. `mean` and `std`
    are per RGB channel for values in [0, 1]. Resampling is Pillow's antialiased bicubic.
    """

    size: int = 192
    crop_mode: Literal["center", "squash"] = "center"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def to_timm(self) -> dict[str, Any]:
        """Return the keys that timm reads from `pretrained_cfg`."""
        return {
            "input_size": [3, self.size, self.size],
            "crop_mode": self.crop_mode,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_timm(cls, block: dict[str, Any]) -> InputSpec:
        """Read the geometry back from `pretrained_cfg`.

        Raises ModelError for a geometry that dermhub does not honour.
        """
        try:
            channels, height, width = block["input_size"]
            spec = cls(height, block["crop_mode"], tuple(block["mean"]), tuple(block["std"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"config.json: pretrained_cfg lacks or garbles {error}.") from error
        numbers = all(is_number(value) for value in (*spec.mean, *spec.std))
        numbers = numbers and all(abs(value) <= 1 / SMALLEST_STD for value in spec.mean)
        numbers = numbers and all(SMALLEST_STD <= value <= 1 / SMALLEST_STD for value in spec.std)
        square = type(height) is int and height > 0 and (channels, width) == (3, height)
        if not square or len(spec.mean) != 3 or len(spec.std) != 3 or not numbers:
            raise ModelError(
                "config.json: pretrained_cfg must describe a square RGB input with three means and "
                f"three stds above 0, of sensible size ({SMALLEST_STD:g} to {1 / SMALLEST_STD:g})."
            )
        if height > LARGEST_SIDE:
            raise ModelError(
                f"config.json: the input has {height} x {height} pixels, expected at most "
                f"{LARGEST_SIDE} x {LARGEST_SIDE}."
            )
        if spec.crop_mode not in ("center", "squash") or block.get("crop_pct", 1.0) != 1.0:
            raise ModelError(
                "config.json: only crop_mode 'center' or 'squash' with crop_pct 1.0 is understood."
            )
        if block.get("interpolation", "bicubic") != "bicubic":
            raise ModelError(
                f"config.json: interpolation {block['interpolation']!r} is not understood, only "
                "'bicubic'."
            )
        return spec


def to_array(rgb: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """Scale, crop and normalise an RGB image to a float32 array of shape (3, size, size)."""
    pixels = np.asarray(
        rgb.resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=view_box(rgb.size, spec))
    )
    return normalise(pixels, spec)


def view_box(size: tuple[int, int], spec: InputSpec) -> tuple[float, float, float, float]:
    """Return the part of a (width, height) image that a model sees.

    The box is (left, top, right, bottom) in pixels, not rounded.
    """
    width, height = size
    if spec.crop_mode == "squash":
        return (0.0, 0.0, float(width), float(height))
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def normalise(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Subtract mean and divide by std: uint8 (H, W, 3) in RGB order -> float32 (3, H, W)."""
    values = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    values /= np.float32(255)
    values -= np.array(spec.mean, np.float32)[:, None, None]
    values /= np.array(spec.std, np.float32)[:, None, None]
    return values


def is_number(value: Any) -> bool:
    """Return whether a value of a configuration is a number of sensible size, and no bool."""
    return type(value) in (int, float) and abs(value) < LARGEST
