"""What test images are like, and whether a model leans on it: skin tone as counts, resolution, sharpness.

A table of predictions may hold, for its test images, `ita` (degrees, see `skin.ita`), `sharpness`, and the probability
of malignancy of the same image scaled to half (`malignancy_half`) and to twice its size (`malignancy_double`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import breakdown, metrics, skin
from dermhub.metrics import Floats

COLUMNS = ("ita", "sharpness", "malignancy_half", "malignancy_double")
SIZES = {"half": 0.5, "double": 2.0}
"""Scales at which the test images are seen again."""


def of_traits(part: pd.DataFrame, score: Floats, sick: NDArray[np.bool_], lesions: NDArray[Any]) -> dict[str, Any]:
    """The blocks `skin` and `resolution` of the test images, as far as the table holds their columns.

    `score` (N,) is the probability of malignancy of the images as they are, `sick` (N,) the truth.
    """
    content: dict[str, Any] = {}
    if "ita" in part:
        content["skin"] = skin.bands(part["ita"].to_numpy(float))
    if "malignancy_half" in part:
        content["resolution"] = _resolution(part, score, sick, lesions)
    return content


def _resolution(part: pd.DataFrame, score: Floats, sick: NDArray[np.bool_], lesions: NDArray[Any]) -> dict[str, Any]:
    """AUROC of malignancy at each size, with the interval of its difference, and how far the probability moves.

    `rise_benign` and `rise_malignant` are the intervals of the mean change of the probability.
    """
    weights = list(breakdown.lesion_weights(lesions))
    own = [breakdown.weighted_auroc(one, score, sick) for one in weights]
    sharp = part["sharpness"].to_numpy(float)
    content: dict[str, Any] = {
        "auroc": metrics.auroc(score, sick),
        "mean_benign": _mean(score[~sick]),
        "mean_malignant": _mean(score[sick]),
        # Blurred images score high: how well "the less sharp, the more malignant" alone would do.
        "blur_alone_auroc": metrics.auroc(-sharp, sick),
    }
    for name in SIZES:
        other = part[f"malignancy_{name}"].to_numpy(float)
        moved = [breakdown.weighted_auroc(one, other, sick) - before for one, before in zip(weights, own, strict=True)]
        content[name] = {
            "auroc": metrics.auroc(other, sick),
            "difference_bounds": breakdown.bounds(np.concatenate(moved)),
            "mean_benign": _mean(other[~sick]),
            "mean_malignant": _mean(other[sick]),
            "rise_benign": _rise(weights, other - score, ~sick),
            "rise_malignant": _rise(weights, other - score, sick),
        }
    return content


def _rise(weights: list[Floats], change: Floats, rows: NDArray[np.bool_]) -> list[float] | None:
    with np.errstate(invalid="ignore"):  # a resample without such an image has no mean
        means = [one[:, rows] @ change[rows] / one[:, rows].sum(axis=1) for one in weights]
    return breakdown.bounds(np.concatenate(means))


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
