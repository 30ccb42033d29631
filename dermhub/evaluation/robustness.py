"""Image properties that a model should not depend on: skin tone, resolution and sharpness.

A table of predictions may hold, for its test images, `ita` (degrees, see `ita`), `sharpness`, and
the probability of malignancy of the same image scaled to half (`malignancy_half`) and to twice its
size (`malignancy_double`).

Skin tone is the individual typology angle, ITA = arctan((L* - 50) / b*) in degrees (Chardon,
Cretois and Hourseau, "Skin colour typology and suntanning pathways", Int J Cosmet Sci 13, 1991), in
its usual six bands (Del Bino et al., Pigment Cell Res 19, 2006). It was made for a colorimeter on
clean skin. The light, the contact fluid and the white balance of a dermatoscope shift it by whole
bands, so it gives counts with a caveat and never a fact about a person.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Floats64
from dermhub.evaluation import metrics
from dermhub.evaluation.bootstrap import Resamples, bounds

TRAITS = ("ita", "sharpness", "malignancy_half", "malignancy_double")
"""Columns of a table of predictions that describe the image itself."""

SCALES = {"half": 0.5, "double": 2.0}
"""Scales at which the test images are classified again."""

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
"""Share of height and width, on each side, that counts as skin: lesions lie in the middle."""

DARK = 40
"""Brightest channel below which a pixel is the tube's shadow or a hair; black skin has more."""

FEWEST_PIXELS = 100
"""Skin pixels below which an image says nothing about skin tone."""


def robustness_figures(
    part: pd.DataFrame, score: Floats64, malignant: NDArray[np.bool_], resamples: Resamples
) -> dict[str, Any]:
    """The blocks `skin` and `resolution` of N test images, as far as the table holds their columns.

    `score` (N,) is the probability of malignancy of the images as they are, `malignant` (N,) the
    truth.
    """
    content: dict[str, Any] = {}
    if "ita" in part:
        content["skin"] = bands(part["ita"].to_numpy(float))
    if "malignancy_half" in part:
        content["resolution"] = _resolution(part, score, malignant, resamples)
    return content


def _resolution(
    part: pd.DataFrame, score: Floats64, malignant: NDArray[np.bool_], resamples: Resamples
) -> dict[str, Any]:
    """AUROC of malignancy at each scale, the interval of its difference, and mean probabilities.

    `rise_benign` and `rise_malignant` are the intervals of the mean change of the probability.
    """
    sharpness = part["sharpness"].to_numpy(float)
    auroc_as_is = resamples.values(
        lambda weights: metrics.weighted_auroc(weights, score, malignant)
    )
    content: dict[str, Any] = {
        "auroc": metrics.auroc(score, malignant),
        "mean_benign": _mean(score[~malignant]),
        "mean_malignant": _mean(score[malignant]),
        # Blurred images score high: how well "the less sharp, the more malignant" alone would do.
        "blur_alone_auroc": metrics.auroc(-sharpness, malignant),
    }
    for name in SCALES:
        scaled = part[f"malignancy_{name}"].to_numpy(float)
        content[name] = _scaled_figures(scaled, score, malignant, resamples, auroc_as_is)
    return content


def _scaled_figures(
    scaled: Floats64,
    score: Floats64,
    malignant: NDArray[np.bool_],
    resamples: Resamples,
    auroc_as_is: Floats64,
) -> dict[str, Any]:
    """Figures of the probabilities `scaled` (N,) beside those of the images as they are."""
    auroc = resamples.values(lambda weights: metrics.weighted_auroc(weights, scaled, malignant))
    change = scaled - score
    return {
        "auroc": metrics.auroc(scaled, malignant),
        "difference_bounds": bounds(auroc - auroc_as_is),
        "mean_benign": _mean(scaled[~malignant]),
        "mean_malignant": _mean(scaled[malignant]),
        "rise_benign": _interval_of_mean(change, ~malignant, resamples),
        "rise_malignant": _interval_of_mean(change, malignant, resamples),
    }


def _interval_of_mean(
    values: Floats64, rows: NDArray[np.bool_], resamples: Resamples
) -> list[float] | None:
    # A resample without such an image has no mean.
    return resamples.interval(
        lambda weights: metrics.ratio(weights[:, rows] @ values[rows], weights[:, rows].sum(axis=1))
    )


def _mean(values: Floats64) -> float | None:
    return float(values.mean()) if len(values) else None


def bands(angles: Floats64) -> dict[str, int]:
    """Number of angles in each band, from light to dark, and of those that are unknown (NaN)."""
    measured = angles[np.isfinite(angles)]
    counts = {}
    upper = np.inf
    for name, lower in BANDS.items():
        counts[name] = int(((measured > lower) & (measured <= upper)).sum())
        upper = lower
    return counts | {"unknown": int(len(angles) - len(measured))}


def ita(rgb: Image.Image) -> float | None:
    """The individual typology angle, -90 to 90 degrees, of an RGB image's rim.

    None if the rim shows no skin, or is bluish (b* not above 0), as no skin is: then the light
    decides, not the skin.
    """
    pixels = np.asarray(rgb)
    height, width = pixels.shape[:2]
    rim_width = max(round(RIM * width), 1)
    rim_height = max(round(RIM * height), 1)
    rim = np.ones((height, width), bool)
    rim[rim_height:-rim_height, rim_width:-rim_width] = False
    skin = pixels[rim & (pixels.max(axis=2) >= DARK)]
    if len(skin) < FEWEST_PIXELS:
        return None
    # The median of all of them leaves hair, ruler marks and the lesion's edge aside.
    median = np.median(skin, axis=0).astype(float)
    lightness, _, yellow = to_lab(median[None])[0]
    if yellow <= 0:
        return None
    return float(np.degrees(np.arctan((lightness - 50) / yellow)))


def to_lab(rgb: NDArray[Any]) -> Floats64:
    """Convert (N, 3) sRGB values from 0 to 255 to CIE L*, a*, b* (N, 3) under D65.

    IEC 61966-2-1; CIE 15:2004, section 8.
    """
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    # Divided by the XYZ of white, so that grey has exactly a* = b* = 0.
    xyz = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
