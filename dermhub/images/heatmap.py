"""Heat maps: a class map laid over its photograph as a picture, and its share on a lesion.

The class map comes from a model (`models.engines.base.Engine.class_maps`); here it is an array.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Sampled from matplotlib's viridis (CC0): lightness rises evenly, and it reads the same with any
# colour vision.
COLOURS = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
    np.float32,
)

GRID = 64
"""Rows and columns of the grid on which a map is compared with a lesion's mask."""


def mask_in_view(
    mask: NDArray[np.bool_], view: tuple[float, float, float, float]
) -> NDArray[np.bool_]:
    """Cut the box `view`, in pixels, out of a mask (H, W), and scale it to (GRID, GRID)."""
    levels = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(levels.resize((GRID, GRID), Image.Resampling.BOX, box=view)) > 127


def energy_inside(evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the share of a class map's energy inside a mask (S, S) over the same view.

    0 to 1; 0 for a map without energy. The energy-based pointing game of Wang et al., "Score-CAM",
    CVPR workshops 2020, section 5.2.
    """
    heat = _over(evidence, mask)
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else 0.0


def peak_inside(evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Return whether a class map's peak lies in a mask (S, S) over the same view.

    The pointing game of Zhang et al., IJCV 126, 2018.
    """
    heat = _over(evidence, mask)
    return bool(heat.any() and mask.flat[heat.argmax()])


def to_frame(
    evidence: NDArray[np.float32], size: tuple[int, int], view: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Scale a class map (h, w) to [0, 1] and lay it over the part of the image that the model saw.

    `size` is (width, height) of the image and `view` the box in it; the result is (height, width),
    0 outside the view, and all 0 when there is no evidence at all.
    """
    peak = float(evidence.max())
    heat = np.zeros((size[1], size[0]), np.float32)
    if peak <= 0:
        return heat
    left, top, right, bottom = (round(edge) for edge in view)
    small = (evidence / peak).astype(np.float32)
    rows, columns = small.shape
    # Two small products, because an answer has dozens of maps.
    part = _bicubic(rows, bottom - top) @ small @ _bicubic(columns, right - left).T
    heat[top:bottom, left:right] = np.clip(part, 0.0, 1.0)
    return heat


@functools.lru_cache(maxsize=64)
def _bicubic(count: int, size: int) -> NDArray[np.float32]:
    """Return the matrix (size, count) that scales `count` values to `size`, as Pillow does it.

    It is shared, so nobody writes into it.
    """
    ones = Image.fromarray(np.eye(count, dtype=np.float32))
    return np.asarray(ones.resize((size, count), Image.Resampling.BICUBIC)).T


def levels(heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the values in [0, 1] of a heat map as levels, 0 to 255, for `palette`."""
    return np.rint(heatmap * 255).astype(np.uint8)


@functools.cache
def palette() -> NDArray[np.uint8]:
    """Return the RGBA colours of the levels, (256, 4); shared, so nobody writes into it.

    Strong evidence covers what lies below.
    """
    values = np.arange(256, dtype=np.float32) / 255
    # A linear blend of the two colours between which a value lies.
    stops = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(values, stops, channel) for channel in COLOURS.T]
    colours = np.rint(np.stack([*channels, 255 * values], axis=1))
    return np.asarray(colours, np.uint8)


def heat_layer(heatmap: NDArray[np.float32]) -> Image.Image:
    """Colour a heat map (H, W) as an RGBA picture; see `palette`."""
    return Image.fromarray(palette()[levels(heatmap)])


def heat_overlay(
    rgb: Image.Image, heatmap: NDArray[np.float32], opacity: float = 0.6
) -> Image.Image:
    """Lay a heat map over its image; skin without evidence keeps its colour."""
    heat = heat_layer(heatmap)
    cover = heat.getchannel("A").point([round(value * opacity) for value in range(256)])
    return Image.composite(heat.convert("RGB"), rgb, cover)


def _over(evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scale a class map to the size of a mask over the same view."""
    height, width = mask.shape
    whole = (0.0, 0.0, float(width), float(height))
    return to_frame(evidence, (width, height), whole).astype(np.float64)
