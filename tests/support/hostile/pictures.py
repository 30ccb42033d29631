"""Honest pictures that are costly to decode."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from tests.support.odd_files import saved


def noise(width: int, height: int, kind: str, channels: int, **options: Any) -> bytes:
    """An image of noise."""
    values = np.random.default_rng(1).integers(0, 255, (height, width, channels), np.uint8)
    return saved(kind, Image.fromarray(values.squeeze()), **options)


def progressive(width: int, height: int, channels: int) -> bytes:
    """A progressive JPEG of noise."""
    return noise(width, height, "JPEG", channels, progressive=True, quality=30)


def lossless(width: int, height: int) -> bytes:
    """A lossless WebP of noise."""
    return noise(width, height, "WEBP", 3, lossless=True, method=0, quality=0)


def stored(width: int, height: int) -> bytes:
    """A PNG of noise that isn't packed."""
    return noise(width, height, "PNG", 3, compress_level=0)


def plain_webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour."""
    return saved("WEBP", Image.new("RGB", (width, height)), lossless=True, method=0)


def progressive_cmyk(width: int, height: int) -> bytes:
    """A progressive JPEG of CMYK."""
    return saved("JPEG", Image.new("CMYK", (width, height)), progressive=True)


def alpha(width: int, height: int) -> bytes:
    """A WebP with transparency."""
    image = Image.new("RGBA", (width, height), (1, 2, 3, 4))
    return saved("WEBP", image, quality=100, method=0)


def mpo(count: int) -> bytes:
    """An MPO of so many images."""
    frames = [Image.new("RGB", (200, 150), (n, n, n)) for n in range(count)]
    return saved("MPO", frames[0], save_all=True, append_images=frames[1:])


def interlaced_gif(width: int, height: int) -> bytes:
    """An interlaced GIF."""
    return saved("GIF", Image.new("P", (width, height)), interlace=1)
