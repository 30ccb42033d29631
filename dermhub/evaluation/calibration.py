"""Calibration: choosing class prior, temperature and thresholds, and measuring how well they hold.

Everything is chosen on the validation split alone, after training.

On the test split, slope and intercept of calibration are measured: the outcome is regressed on the
logit of the probability of malignancy (Cox, "Two further applications of a model for binary
regression", Biometrika 45, 1958). Slope 1 and intercept 0 are ideal: a slope below 1 says that
probabilities are too extreme, an intercept above 0 (at slope 1, "calibration in the large") that
malignancy is more frequent than they say. These are weak and mean calibration in Van Calster et
al., "A calibration hierarchy for risk models was defined", J Clin Epidemiol 74, 2016, section 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64
from dermhub.evaluation import metrics
from dermhub.evaluation.bootstrap import Resamples, bounds
from dermhub.models import prediction
from dermhub.tasks import Task
from dermhub.zones import Threshold

EXPONENTS = np.array(sorted(np.linspace(-1.5, 1.5, 61).round(2), key=abs))
"""Candidates for the strength of the prior correction; the smallest of equally good ones wins."""

SENSITIVITY = 0.95
"""The stated aim of the default operating point: share of malignant images that must be called."""

PRECISION = 0.7
"""The stated aim of the highly suspicious zone: share of its images that must be malignant."""

CURVE_BINS = 10
"""Equal-width bins of the calibration curve."""

NEWTON_STEPS = 30
"""Newton steps at most; a handful is enough unless the data separate."""

STEEPEST = 100.0
"""Largest slope, in either direction; beyond it the two groups are separated and none exists."""


def prior_offset(targets: NDArray[np.int64], classes: int) -> Floats64:
    """Return the log of each class's share of the targets (N,), less the mean log share: (C,).

    A class without images, of which nothing is known, counts as much as the rarest.
    """
    shares = np.bincount(targets, minlength=classes) / len(targets)
    logs = np.log(shares, out=np.full(classes, np.inf), where=shares > 0)
    logs[shares == 0] = logs.min()
    return np.asarray(logs - logs[shares > 0].mean())


def directions(targets: NDArray[np.int64], task: Task) -> Floats64:
    """(C,) direction in which to move the logits, to change the prior learned from N images.

    The chosen exponent times this is added to the logits. With several classes it is `prior_offset`
    of the training images: positive exponents move the prior towards that of the data, negative
    ones towards equal classes (post-hoc logit adjustment, Menon et al. 2021, section 4.1), and
    training that draws classes with share**sampling is undone by 1 - sampling (Saerens et al. 2002,
    eq. 2.4). Two classes have but one direction, whatever their shares and however their diagnoses
    were drawn.
    """
    if len(task.classes) == 2:
        return np.array([1.0, -1.0])
    return prior_offset(targets, len(task.classes))


def choose_exponent(
    logits: NDArray[Any], targets: NDArray[np.int64], offset: Floats64, task: Task
) -> float:
    """Choose how much of the prior correction to apply, by how the task's answer is read.

    With two classes the answer is a threshold on the probability of malignancy, whose calls the
    correction does not change: the exponent has the smallest negative log-likelihood after
    `fit_temperature`, so that the probability can be taken at its word. The more probable of the
    two classes is then benign more often. With several classes the answer is the most probable one:
    with the data's own prior rare classes are called too rarely to be useful, with an equal one too
    often. There accuracy plus balanced accuracy count against the negative log-likelihood: without
    it a few validation images more or less of a rare class would decide, at the price of what the
    probabilities are worth.
    """

    def goodness(exponent: float) -> float:
        moved = logits + exponent * offset
        probabilities = prediction.softmax(moved, fit_temperature(moved, targets))
        loss = metrics.negative_log_likelihood(probabilities, targets)
        if len(task.classes) == 2:
            return -loss
        summary = metrics.summarize(probabilities, targets, task)
        return float(summary["accuracy"] + summary["balanced_accuracy"]) - loss

    scores = [goodness(exponent) for exponent in EXPONENTS]
    return float(EXPONENTS[int(np.argmax(scores))])


def fit_temperature(logits: NDArray[Any], targets: NDArray[np.int64]) -> float:
    """The temperature in [0.2, 5] with the smallest negative log-likelihood.

    Guo et al. 2017, section 4.2.
    """
    grid = np.geomspace(0.2, 5.0, 81)
    # The second round searches a finer grid around the best of the first.
    for _ in range(2):
        losses = [
            metrics.negative_log_likelihood(prediction.softmax(logits, temperature), targets)
            for temperature in grid
        ]
        best = int(np.argmin(losses))
        lowest = grid[max(best - 1, 0)]
        highest = grid[min(best + 1, len(grid) - 1)]
        grid = np.geomspace(lowest, highest, 41)
    return round(float(grid[len(grid) // 2]), 4)


def choose_thresholds(scores: Floats64, positive: NDArray[np.bool_]) -> dict[str, Threshold]:
    """Operating points on the probability of malignancy; the first is the default.

    Values are rounded down, so that the case that set the threshold stays on its malignant side.
    """
    sensitive = metrics.threshold_for_sensitivity(scores, positive, SENSITIVITY)
    youden = metrics.threshold_youden(scores, positive)
    return {
        "sensitivity_95": Threshold(
            _rounded_down(sensitive), f"at least {SENSITIVITY:.0%} sensitivity for malignancy"
        ),
        "youden": Threshold(
            _rounded_down(youden), "largest sensitivity + specificity - 1 (Youden)"
        ),
    }


def choose_highly_suspicious(
    scores: Floats64, positive: NDArray[np.bool_], lower: float
) -> Threshold:
    """Choose the upper cut of the zones: the lowest score that meets the aim of `PRECISION`.

    Of the images that score at least the cut, the share `PRECISION` is malignant. The cut is not
    below `lower`, the lower cut. Where no cut meets the aim, it is 1, which hardly an image
    reaches. The value is rounded down, so that the case that set it stays above.
    """
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    share = np.cumsum(positive[order]) / np.arange(1, len(scores) + 1)
    # Of equal scores the last one counts, because a cut has all of them on one side.
    last = np.append(np.diff(descending) != 0, True)
    enough = descending[last & (share >= PRECISION) & (descending >= lower)]
    value = max(_rounded_down(float(enough.min())), lower) if len(enough) else 1.0
    return Threshold(value, f"at least {PRECISION:.0%} of the images above it malignant")


def recalibration(
    scores: Floats64, positive: NDArray[np.bool_], resamples: Resamples
) -> dict[str, Any]:
    """Calibration slope, intercept, their 95% intervals and the curve, of (N,) scores in [0, 1].

    `curve` lists mean score, observed share and n of each bin that holds an image. Slope and
    intercept are None where they don't exist: one group is empty, or the score separates the two.
    """
    once = np.ones((1, len(scores)))
    slope, intercept = slope_and_intercept(scores, positive, once)
    parts = [slope_and_intercept(scores, positive, weights) for weights in resamples.chunks]
    curve = metrics.reliability(scores, positive, CURVE_BINS)
    return {
        "slope": _finite_or_none(slope[0]),
        "intercept": _finite_or_none(intercept[0]),
        "bounds": {
            "slope": bounds(np.concatenate([slopes for slopes, _ in parts])),
            "intercept": bounds(np.concatenate([intercepts for _, intercepts in parts])),
        },
        "curve": [[round(score, 6), round(share, 6), n] for score, share, n in curve],
    }


def slope_and_intercept(
    scores: Floats64, positive: NDArray[np.bool_], weights: Floats64
) -> tuple[Floats64, Floats64]:
    """(B,) slopes, and (B,) intercepts at slope 1, for B rows of image weights (B, N).

    NaN where there is none.
    """
    clipped = np.clip(scores, 1e-9, 1 - 1e-9)
    logit = np.log(clipped / (1 - clipped))
    _, slopes = _logistic_regression(logit, positive, weights, fit_slope=True)
    intercepts, _ = _logistic_regression(logit, positive, weights, fit_slope=False)
    return slopes, intercepts


def _logistic_regression(
    x: Floats64, positive: NDArray[np.bool_], weights: Floats64, fit_slope: bool
) -> tuple[Floats64, Floats64]:
    """(B,) intercepts and slopes by Newton's method, one regression for each row of weights.

    Without `fit_slope` the slope stays 1. NaN where the method does not converge.
    """
    intercept = np.zeros(len(weights))
    slope = np.full(len(weights), 0.0 if fit_slope else 1.0)
    unfinished = np.ones(len(weights), bool)
    for _ in range(NEWTON_STEPS):
        exponent = np.clip(intercept[:, None] + slope[:, None] * x, -500, 500)
        mean = 1 / (1 + np.exp(-exponent))
        # Gradient and Hessian of the log-likelihood, with respect to intercept (a) and slope (b).
        residual = weights * (positive - mean)
        variance = weights * mean * (1 - mean)
        gradient_a = residual.sum(axis=1)
        gradient_b = residual @ x
        hessian_aa = variance.sum(axis=1)
        hessian_ab = variance @ x
        hessian_bb = variance @ (x * x)
        with np.errstate(all="ignore"):
            if fit_slope:
                determinant = hessian_aa * hessian_bb - hessian_ab * hessian_ab
                # Where all scores are equal, there is no slope.
                determinant[determinant <= 1e-12 * hessian_aa * hessian_bb] = np.nan
                step_a = (hessian_bb * gradient_a - hessian_ab * gradient_b) / determinant
                step_b = (hessian_aa * gradient_b - hessian_ab * gradient_a) / determinant
            else:
                step_a = gradient_a / hessian_aa
                step_b = np.zeros_like(slope)
            # Far off, a whole step may overshoot for ever; what is not finite has separated.
            largest = np.maximum(np.abs(step_a), np.abs(step_b))
            shortened = np.maximum(1.0, largest / 2.0)
            intercept = intercept + step_a / shortened
            slope = slope + step_b / shortened
        unfinished = ~(largest < 1e-9)
        if not unfinished.any():
            break
    lost = unfinished | ~np.isfinite(intercept) | ~np.isfinite(slope)
    lost |= (np.abs(slope) > STEEPEST) | (np.abs(intercept) > STEEPEST)
    return np.where(lost, np.nan, intercept), np.where(lost, np.nan, slope)


def _rounded_down(value: float) -> float:
    return float(np.floor(value * 1e6) / 1e6)


def _finite_or_none(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
