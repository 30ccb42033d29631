"""What test images are like, and whether a model leans on it: skin tone as counts, resolution,
sharpness.

A table of predictions may hold, for its test images, `ita` (degrees, see `robustness.ita`),
`sharpness`, and the probability of malignancy of the same image scaled to half (`malignancy_half`)
and to twice its size (`malignancy_double`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Floats64
from dermhub.evaluation import bootstrap, metrics

TRAITS = ("ita", "sharpness", "malignancy_half", "malignancy_double")


SCALES = {"half": 0.5, "double": 2.0}
"""Scales at which the test images are seen again."""


def robustness_figures(
    part: pd.DataFrame, score: Floats64, sick: NDArray[np.bool_], lesions: NDArray[Any]
) -> dict[str, Any]:
    """The blocks `skin` and `resolution` of the test images, as far as the table holds their
    columns.

    `score` (N,) is the probability of malignancy of the images as they are, `sick` (N,) the truth.
    """
    content: dict[str, Any] = {}
    if "ita" in part:
        content["skin"] = bands(part["ita"].to_numpy(float))
    if "malignancy_half" in part:
        content["resolution"] = _resolution(part, score, sick, lesions)
    return content


def _resolution(
    part: pd.DataFrame, score: Floats64, sick: NDArray[np.bool_], lesions: NDArray[Any]
) -> dict[str, Any]:
    """AUROC of malignancy at each size, with the interval of its difference, and how far the
    probability moves.

    `rise_benign` and `rise_malignant` are the intervals of the mean change of the probability.
    """
    weights = list(bootstrap.lesion_weights(lesions))
    own = [bootstrap.weighted_auroc(one, score, sick) for one in weights]
    sharp = part["sharpness"].to_numpy(float)
    content: dict[str, Any] = {
        "auroc": metrics.auroc(score, sick),
        "mean_benign": _mean(score[~sick]),
        "mean_malignant": _mean(score[sick]),
        # Blurred images score high: how well "the less sharp, the more malignant" alone would do.
        "blur_alone_auroc": metrics.auroc(-sharp, sick),
    }
    for name in SCALES:
        other = part[f"malignancy_{name}"].to_numpy(float)
        moved = [
            bootstrap.weighted_auroc(one, other, sick) - before
            for one, before in zip(weights, own, strict=True)
        ]
        content[name] = {
            "auroc": metrics.auroc(other, sick),
            "difference_bounds": bootstrap.bounds(np.concatenate(moved)),
            "mean_benign": _mean(other[~sick]),
            "mean_malignant": _mean(other[sick]),
            "rise_benign": _rise(weights, other - score, ~sick),
            "rise_malignant": _rise(weights, other - score, sick),
        }
    return content


def _rise(weights: list[Floats64], change: Floats64, rows: NDArray[np.bool_]) -> list[float] | None:
    with np.errstate(invalid="ignore"):  # a resample without such an image has no mean
        means = [one[:, rows] @ change[rows] / one[:, rows].sum(axis=1) for one in weights]
    return bootstrap.bounds(np.concatenate(means))


def _mean(values: Floats64) -> float | None:
    return float(values.mean()) if len(values) else None


BANDS = {
    "very light": 55.0,
    "light": 41.0,
    "intermediate": 28.0,
    "tan": 10.0,
    "brown": -30.0,
    "dark": -np.inf,
}
"""Degrees above which an angle is in the band, from light to dark."""


RIM = 0.1
"""Share of the height and width, on each side, whose pixels are taken for skin: lesions are in the
middle.
"""


DARK = 40
"""A pixel whose brightest channel is below this is the tube's shadow or a hair; black skin reflects
more.
"""


FEWEST = 100
"""Skin pixels below which an image tells nothing."""


def ita(rgb: Image.Image) -> float | None:
    """The individual typology angle, -90 to 90 degrees, of an RGB image's rim.

    None if the rim shows no skin, or is bluish (b* not above 0), as no skin is: then the light
    decides, not the skin.
    """
    pixels = np.asarray(rgb)
    height, width = pixels.shape[:2]
    across, down = max(round(RIM * width), 1), max(round(RIM * height), 1)
    rim = np.ones((height, width), bool)
    rim[down:-down, across:-across] = False
    skin = pixels[rim & (pixels.max(axis=2) >= DARK)]
    if len(skin) < FEWEST:
        return None
    # The median of all of them leaves hair, ruler marks and the lesion's edge aside.
    lightness, _, yellow = to_lab(np.median(skin, axis=0)[None].astype(float))[0]
    return float(np.degrees(np.arctan((lightness - 50) / yellow))) if yellow > 0 else None


def bands(angles: Floats64) -> dict[str, int]:
    """Number of angles in each band, from light to dark, and of those that are not known (NaN)."""
    known = angles[np.isfinite(angles)]
    counts, above = {}, np.inf
    for name, least in BANDS.items():
        counts[name] = int(((known > least) & (known <= above)).sum())
        above = least
    return counts | {"unknown": int(len(angles) - len(known))}


def to_lab(rgb: NDArray[Any]) -> Floats64:
    """(N, 3) sRGB values from 0 to 255 -> CIE L*, a*, b* (N, 3) under D65 (IEC 61966-2-1; CIE
    15:2004, section 8).
    """
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    # Divided by what white gives, so that grey has exactly a* = b* = 0.
    xyz = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
