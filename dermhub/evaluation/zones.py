"""Figures of the zones of suspicion: how many images lie in each, and how many are malignant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64
from dermhub.evaluation import metrics
from dermhub.evaluation.bootstrap import Resamples
from dermhub.zones import Zone, Zones


def zone_figures(
    scores: Floats64,
    malignant: NDArray[np.bool_],
    zones: Zones,
    resamples: Resamples | None = None,
) -> dict[str, Any]:
    """Zone -> its counts of images, as JSON-ready values.

    `scores` (N,) are probabilities of malignancy. Of the `n` images in a zone, `malignant` are, and
    `share` is the share of these, None in an empty zone. `of_malignant` and `of_benign` say which
    share of all malignant and of all benign images lies in the zone. With `resamples`, `bounds`
    holds the interval of `share`.
    """
    ranks = np.array([zones.of(score).rank for score in scores], np.int64)
    figures: dict[str, Any] = {}
    for zone in Zone:
        rows = ranks == zone.rank
        hits = int((rows & malignant).sum())
        n = int(rows.sum())
        figures[zone.value] = {
            "n": n,
            "malignant": hits,
            "share": hits / n if n else None,
            "of_malignant": _share(hits, int(malignant.sum())),
            "of_benign": _share(n - hits, int((~malignant).sum())),
        }
        if resamples:
            figures[zone.value]["bounds"] = _interval(resamples, rows, malignant)
    return figures


def _interval(
    resamples: Resamples, rows: NDArray[np.bool_], malignant: NDArray[np.bool_]
) -> list[float] | None:
    """The interval of the share of malignant images among `rows` (N,)."""
    return resamples.interval(
        lambda weights: metrics.ratio(weights @ (rows & malignant), weights @ rows)
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
