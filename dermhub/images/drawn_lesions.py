"""Drawn lesions for tests, golden files and the demo's examples; no photograph of anyone."""

from __future__ import annotations

import numpy as np
from PIL import Image


def draw(seed: int, size: tuple[int, int] = (200, 150), darkness: float = 0.5) -> Image.Image:
    """Draw a pigmented lesion on skin, as an RGB image of (width, height) pixels.

    `darkness` in [0, 1] goes from a light and even spot to a dark, ragged and mottled one. The same
    seed gives the same drawing, but for the last bit of the platform's sine.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    radius = min(size) * rng.uniform(0.24, 0.34)
    centre = np.array([width, height]) / 2 + rng.uniform(-0.06, 0.06, 2) * min(size)
    angle = np.arctan2(y - centre[1], x - centre[0])
    waves = sum(rng.normal() * np.cos(k * angle + rng.uniform(0, 6.28)) / k for k in range(2, 7))
    edge = radius * (1 + (0.03 + 0.15 * darkness) * waves)
    distance = np.hypot(x - centre[0], (y - centre[1]) * rng.uniform(1.0, 1.3))
    inside = 1 / (1 + np.exp((distance - edge) / (0.02 + 0.03 * darkness) / min(size)))
    skin = np.array([222, 178, 160]) + rng.uniform(-12, 12, 3)
    spot = np.array([150, 98, 72]) * (1.15 - 0.75 * darkness) + rng.uniform(-8, 8, 3)
    mottle = _clouds(rng, size, 5) * 60 * darkness + _clouds(rng, size, 24) * 10
    colour = skin + (spot - skin) * inside[..., None] + (mottle * inside)[..., None]
    colour += (_clouds(rng, size, 40) * 8 + rng.normal(0, 2.5, (height, width)))[..., None]
    return Image.fromarray(np.clip(np.rint(colour), 0, 255).astype(np.uint8))


def _clouds(
    rng: np.random.Generator, size: tuple[int, int], cells: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return smooth noise (height, width): random values on a coarse grid, enlarged."""
    small = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float64)
