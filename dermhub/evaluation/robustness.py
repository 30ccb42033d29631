"""Image properties that a model should not depend on: skin tone, resolution and compression.

A table of predictions may hold, for its test images, `ita` (degrees, see `images.skin_tone`),
`sharpness`, and the probability of malignancy of the same image scaled to half (`malignancy_half`)
and to twice its size (`malignancy_double`). For some of the test images it may also hold the
probability of malignancy and the most probable class of the image saved anew with losses, such as
`malignancy_jpeg_50` and `label_jpeg_50`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import metrics
from dermhub.evaluation.bootstrap import Resamples, bounds
from dermhub.models import prediction
from dermhub.models.config import ModelConfig

SCALES = {"half": 0.5, "double": 2.0}
"""Scales at which the test images are classified again."""

COMPRESSIONS = {
    **{f"jpeg_{quality}": ("JPEG", quality) for quality in (50, 70, 90)},
    **{f"webp_{quality}": ("WEBP", quality) for quality in (50, 80, 90)},
}
"""Formats and qualities in which test images are saved anew and classified again."""

MOST_COMPRESSED = 400
"""Test images that are saved anew; as many in each format take a minute."""

LABELS = tuple(f"label_{name}" for name in COMPRESSIONS)
"""Columns with the most probable class of an image saved anew."""

BANDS = {
    "very light": 55.0,
    "light": 41.0,
    "intermediate": 28.0,
    "tan": 10.0,
    "brown": -30.0,
    "dark": -np.inf,
}
"""Degrees above which an angle is in the band, from light to dark (Del Bino et al. 2006)."""


TRAITS = ("ita", "sharpness", *(f"malignancy_{name}" for name in (*SCALES, *COMPRESSIONS)))
"""Columns of numbers, in a table of predictions, that describe the image itself."""


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


def chosen(ids: NDArray[np.str_]) -> Ints:
    """Choose at most `MOST_COMPRESSED` of the images with these ids, evenly in the ids' order.

    Returns the places of the chosen images, ascending.
    """
    order = np.argsort(ids, kind="stable")
    steps = np.linspace(0, len(ids) - 1, min(len(ids), MOST_COMPRESSED)).round().astype(np.int64)
    return np.sort(order[steps])


def compression_figures(
    part: pd.DataFrame,
    probabilities: Floats64,
    malignant: NDArray[np.bool_],
    lesions: NDArray[np.str_],
    config: ModelConfig,
) -> dict[str, Any]:
    """The block `compression` of N test images; {} where the table holds none saved anew.

    `probabilities` (N, C) are those of the images as they are, `malignant` (N,) is the truth, and
    `lesions` (N,) holds the lesion ids. Of each format, `labels_changed` and `zones_changed` are
    the shares of images that get another most probable class, and another zone. `bounds` are their
    intervals, and `difference_bounds` that of the change of the AUROC.
    """
    if not {*LABELS, *(f"malignancy_{name}" for name in COMPRESSIONS)} <= set(part.columns):
        return {}
    rows = part[LABELS[0]].notna().to_numpy(bool)
    if not rows.any():
        return {}
    part, probabilities, malignant = part[rows], probabilities[rows], malignant[rows]
    task = config.task
    labels = np.array(task.classes)[probabilities.argmax(axis=1)]
    score = prediction.malignancy(probabilities, task)
    resamples = Resamples.draw(lesions[rows])
    auroc_as_is = resamples.values(
        lambda weights: metrics.weighted_auroc(weights, score, malignant)
    )
    content: dict[str, Any] = {
        "n": int(rows.sum()),
        "lesions": resamples.lesions,
        "auroc": metrics.auroc(score, malignant),
    }
    for name in COMPRESSIONS:
        compressed = part[f"malignancy_{name}"].to_numpy(float)
        content[name] = {
            "labels_changed": _share(part[f"label_{name}"].to_numpy(str) != labels, resamples),
            **_zones_changed(compressed, score, config, resamples),
            **_auroc(compressed, malignant, resamples, auroc_as_is),
        }
    return content


def _zones_changed(
    compressed: Floats64, score: Floats64, config: ModelConfig, resamples: Resamples
) -> dict[str, Any]:
    """Share of images that get another zone; {} for a model without zones."""
    zones = config.zones
    if zones is None:
        return {}
    pairs = zip(compressed, score, strict=True)
    changed = np.array([zones.of(after) != zones.of(before) for after, before in pairs])
    return {"zones_changed": _share(changed, resamples)}


def _share(changed: NDArray[np.bool_], resamples: Resamples) -> dict[str, Any]:
    """The share of images that changed, with its interval."""
    everywhere = np.ones(len(changed), bool)
    bounds_of_share = _interval_of_mean(changed.astype(float), everywhere, resamples)
    return {"share": float(changed.mean()), "bounds": bounds_of_share}


def _auroc(
    scores: Floats64, malignant: NDArray[np.bool_], resamples: Resamples, auroc_as_is: Floats64
) -> dict[str, Any]:
    """The AUROC of changed images, and the interval of its difference from the others."""
    auroc = resamples.values(lambda weights: metrics.weighted_auroc(weights, scores, malignant))
    return {
        "auroc": metrics.auroc(scores, malignant),
        "difference_bounds": bounds(auroc - auroc_as_is),
    }


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
    change = scaled - score
    return {
        **_auroc(scaled, malignant, resamples, auroc_as_is),
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
