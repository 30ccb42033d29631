"""Image properties that a model should not depend on: skin tone, resolution and sharpness.

A table of predictions may hold, for its test images, `ita` (degrees, see `images.skin_tone`),
`sharpness`, and the probability of malignancy of the same image scaled to half (`malignancy_half`)
and to twice its size (`malignancy_double`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
"""Degrees above which an angle is in the band, from light to dark (Del Bino et al. 2006)."""


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


def bands(angles: Floats64) -> dict[str, int]:
    """Number of angles in each band, from light to dark, and of those that are unknown (NaN)."""
    measured = angles[np.isfinite(angles)]
    counts = {}
    upper = np.inf
    for name, lower in BANDS.items():
        counts[name] = int(((measured > lower) & (measured <= upper)).sum())
        upper = lower
    return counts | {"unknown": int(len(angles) - len(measured))}


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
