"""How far probabilities of malignancy can be taken at their word: calibration slope, intercept and curve.

The outcome is regressed on the logit of the probability (Cox, "Two further applications of a model for binary
regression", Biometrika 45, 1958). Slope 1 and intercept 0 are ideal: a slope below 1 says that probabilities are too
extreme, an intercept above 0 (at slope 1, "calibration in the large") that malignancy is more frequent than they say:
weak and mean calibration of Van Calster et al., "A calibration hierarchy for risk models was defined", J Clin
Epidemiol 74, 2016, section 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub import breakdown, metrics
from dermhub.metrics import Floats

BINS = 10
"""Equal-width bins of the curve."""

STEPS = 30
"""Newton steps at most; a handful is enough unless the data separate."""

STEEPEST = 100.0
"""A slope beyond this in either direction means that the two groups are separated, and no slope exists."""


def calibration(scores: Floats, positive: NDArray[np.bool_], lesions: NDArray[Any]) -> dict[str, Any]:
    """Slope, intercept and their 95% intervals over resampled lesions, and the curve, of (N,) scores in [0, 1].

    `curve` lists mean score, observed share and n of each bin that holds an image. Slope and intercept are None
    where they don't exist: one group is empty, or the score separates the two.
    """
    own = slope_and_intercept(scores, positive, np.ones((1, len(scores))))
    parts = [slope_and_intercept(scores, positive, weights) for weights in breakdown.lesion_weights(lesions)]
    names = ("slope", "intercept")
    return {
        **{name: _number(own[i][0]) for i, name in enumerate(names)},
        "bounds": {name: breakdown.bounds(np.concatenate([part[i] for part in parts])) for i, name in enumerate(names)},
        "curve": [[round(a, 6), round(b, 6), n] for a, b, n in metrics.reliability(scores, positive, BINS)],
    }


def slope_and_intercept(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """(B,) slopes, and (B,) intercepts at slope 1, for B rows of image weights (B, N); NaN where there is none."""
    clipped = np.clip(scores, 1e-9, 1 - 1e-9)
    logit = np.log(clipped / (1 - clipped))
    _, slopes = _fit(logit, positive, weights, slope=True)
    intercepts, _ = _fit(logit, positive, weights, slope=False)
    return slopes, intercepts


def _fit(x: Floats, positive: NDArray[np.bool_], weights: Floats, slope: bool) -> tuple[Floats, Floats]:
    """Newton's method for intercept and slope of a logistic regression in each row; slope stays 1 if not asked."""
    a, b = np.zeros(len(weights)), np.full(len(weights), 0.0 if slope else 1.0)
    still = np.ones(len(weights), bool)
    for _ in range(STEPS):
        mean = 1 / (1 + np.exp(-np.clip(a[:, None] + b[:, None] * x, -500, 500)))
        rest, spread = weights * (positive - mean), weights * mean * (1 - mean)
        down, across = rest.sum(axis=1), rest @ x
        aa, ab, bb = spread.sum(axis=1), spread @ x, spread @ (x * x)
        with np.errstate(all="ignore"):
            if slope:
                determinant = aa * bb - ab * ab
                # Where all scores are one, there is no slope.
                determinant[determinant <= 1e-12 * aa * bb] = np.nan
                step_a, step_b = (bb * down - ab * across) / determinant, (aa * across - ab * down) / determinant
            else:
                step_a, step_b = down / aa, np.zeros_like(b)
            # Far off, a whole step may overshoot for ever; what is not finite has separated.
            length = np.maximum(1.0, np.maximum(np.abs(step_a), np.abs(step_b)) / 2.0)
            a, b = a + step_a / length, b + step_b / length
        still = ~(np.maximum(np.abs(step_a), np.abs(step_b)) < 1e-9)
        if not still.any():
            break
    lost = still | ~np.isfinite(a) | ~np.isfinite(b) | (np.abs(b) > STEEPEST) | (np.abs(a) > STEEPEST)
    return np.where(lost, np.nan, a), np.where(lost, np.nan, b)


def _number(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
