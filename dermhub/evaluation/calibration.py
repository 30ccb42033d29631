"""What is chosen after training, on the validation split alone: class prior, temperature,
thresholds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64
from dermhub.evaluation import bootstrap, metrics
from dermhub.models import prediction
from dermhub.models.config import Threshold
from dermhub.tasks import Task

EXPONENTS = np.array(sorted(np.linspace(-1.5, 1.5, 61).round(2), key=abs))
"""Candidates for the strength of the prior correction; of equally good ones the first, smallest, is
taken.
"""


SENSITIVITY = 0.95
"""The stated aim of the default operating point: share of malignant images that must be called."""


def prior_offset(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(C,) log of each class's share among the images with these targets (N,), less the mean log
    share.

    A class without images, of which nothing is known, counts as much as the rarest.
    """
    shares = np.bincount(targets, minlength=classes) / len(targets)
    logs = np.log(shares, out=np.full(classes, np.inf), where=shares > 0)
    logs[shares == 0] = logs.min()
    return np.asarray(logs - logs[shares > 0].mean())


def directions(targets: NDArray[np.int64], task: Task) -> NDArray[np.float64]:
    """(C,) what is added to the logits, times an exponent, to move the prior that a model has
    learned from N images.

    Of several classes it is `prior_offset` of the training images: positive exponents move the
    prior towards that of the data, negative ones towards equal classes (post-hoc logit adjustment,
    Menon et al. 2021, section 4.1), and training that draws classes with share**sampling is undone
    by 1 - sampling (Saerens et al. 2002, eq. 2.4). Two classes have but one direction, whatever
    their shares and however their diagnoses were drawn.
    """
    return (
        prior_offset(targets, len(task.classes)) if len(task.classes) > 2 else np.array([1.0, -1.0])
    )


def choose_exponent(
    logits: NDArray[Any], targets: NDArray[np.int64], offset: NDArray[np.float64], task: Task
) -> float:
    """How much of the prior correction to apply, by what the task's answer is.

    Of two classes it is a threshold on the probability of malignancy, whose calls the correction
    does not change: the exponent has the smallest negative log-likelihood after `fit_temperature`,
    so that the probability can be taken at its word. The more probable of the two classes is then
    benign more often. Of several classes it is the most probable one: with the data's own prior
    rare classes are called too rarely to be useful, with an equal one too often. There accuracy
    plus balanced accuracy count against the negative log-likelihood: without it a few validation
    images more or less of a rare class would decide, at the price of what the probabilities are
    worth.
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
    """The temperature in [0.2, 5] with the smallest negative log-likelihood (Guo et al. 2017,
    section 4.2).
    """
    grid = np.geomspace(0.2, 5.0, 81)
    for _ in range(2):
        losses = [
            metrics.negative_log_likelihood(prediction.softmax(logits, t), targets) for t in grid
        ]
        best = int(np.argmin(losses))
        grid = np.geomspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 41)
    return round(float(grid[len(grid) // 2]), 4)


def choose_thresholds(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> dict[str, Threshold]:
    """Operating points on the probability of malignancy; the first is the default.

    Values are rounded down, so that the case that set the threshold stays on its malignant side.
    """
    sensitive = metrics.threshold_for_sensitivity(scores, positive, SENSITIVITY)
    youden = metrics.threshold_youden(scores, positive)
    return {
        "sensitivity_95": Threshold(
            _down(sensitive), f"at least {SENSITIVITY:.0%} sensitivity for malignancy"
        ),
        "youden": Threshold(_down(youden), "largest sensitivity + specificity - 1 (Youden)"),
    }


def _down(value: float) -> float:
    return float(np.floor(value * 1e6) / 1e6)


BINS = 10
"""Equal-width bins of the curve."""


STEPS = 30
"""Newton steps at most; a handful is enough unless the data separate."""


STEEPEST = 100.0
"""A slope beyond this in either direction means that the two groups are separated, and no slope
exists.
"""


def recalibration(
    scores: Floats64, positive: NDArray[np.bool_], lesions: NDArray[Any]
) -> dict[str, Any]:
    """Slope, intercept and their 95% intervals over resampled lesions, and the curve, of (N,)
    scores in [0, 1].

    `curve` lists mean score, observed share and n of each bin that holds an image. Slope and
    intercept are None where they don't exist: one group is empty, or the score separates the two.
    """
    own = slope_and_intercept(scores, positive, np.ones((1, len(scores))))
    parts = [
        slope_and_intercept(scores, positive, weights)
        for weights in bootstrap.lesion_weights(lesions)
    ]
    names = ("slope", "intercept")
    return {
        **{name: _number(own[i][0]) for i, name in enumerate(names)},
        "bounds": {
            name: bootstrap.bounds(np.concatenate([part[i] for part in parts]))
            for i, name in enumerate(names)
        },
        "curve": [
            [round(a, 6), round(b, 6), n] for a, b, n in metrics.reliability(scores, positive, BINS)
        ],
    }


def slope_and_intercept(
    scores: Floats64, positive: NDArray[np.bool_], weights: Floats64
) -> tuple[Floats64, Floats64]:
    """(B,) slopes, and (B,) intercepts at slope 1, for B rows of image weights (B, N); NaN where
    there is none.
    """
    clipped = np.clip(scores, 1e-9, 1 - 1e-9)
    logit = np.log(clipped / (1 - clipped))
    _, slopes = _fit(logit, positive, weights, slope=True)
    intercepts, _ = _fit(logit, positive, weights, slope=False)
    return slopes, intercepts


def _fit(
    x: Floats64, positive: NDArray[np.bool_], weights: Floats64, slope: bool
) -> tuple[Floats64, Floats64]:
    """Newton's method for intercept and slope of a logistic regression in each row; slope stays 1
    if not asked.
    """
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
                step_a, step_b = (
                    (bb * down - ab * across) / determinant,
                    (aa * across - ab * down) / determinant,
                )
            else:
                step_a, step_b = down / aa, np.zeros_like(b)
            # Far off, a whole step may overshoot for ever; what is not finite has separated.
            length = np.maximum(1.0, np.maximum(np.abs(step_a), np.abs(step_b)) / 2.0)
            a, b = a + step_a / length, b + step_b / length
        still = ~(np.maximum(np.abs(step_a), np.abs(step_b)) < 1e-9)
        if not still.any():
            break
    lost = (
        still | ~np.isfinite(a) | ~np.isfinite(b) | (np.abs(b) > STEEPEST) | (np.abs(a) > STEEPEST)
    )
    return np.where(lost, np.nan, a), np.where(lost, np.nan, b)


def _number(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
