"""Calibration: choosing temperature, bias and thresholds, and measuring how well they hold.

Everything is chosen on the validation split alone, after training.

On the test split, slope and intercept of calibration are measured: the outcome is regressed on the
logit of the probability of malignancy (Cox, "Two further applications of a model for binary
regression", Biometrika 45, 1958). Slope 1 and intercept 0 are ideal: a slope below 1 says that
probabilities are too extreme, an intercept above 0 (at slope 1, "calibration in the large") that
malignancy is more frequent than they say. These are weak and mean calibration in Van Calster et
al., "A calibration hierarchy for risk models was defined", J Clin Epidemiol 74, 2016, section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import metrics
from dermhub.evaluation.bootstrap import Resamples, bounds
from dermhub.models import prediction
from dermhub.tasks import Task
from dermhub.zones import Threshold

PENALTY = 10.0
"""Half of this times the squared biases is added to the summed loss that they are fitted to.

It keeps the bias of a class of a few images, or of none, near 0. Of 0 to 30, values from 3 to 30
served the models of 0.1.0 of seven classes about equally well in cross-validation.
"""

FOLDS = 5
"""Parts of the validation lesions; each is calibrated by what was fitted on the others."""

SEED = 0
"""Seed by which lesions are divided into the folds."""

TEMPERATURES = (0.2, 5.0)
"""Smallest and largest temperature that is fitted."""

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


@dataclass(frozen=True)
class Calibration:
    """A choice on validation: probabilities are softmax(logits / temperature + bias).

    `bias` (C,) is None where the temperature alone serves as well. `scores` gives the `nll` and the
    `malignancy_ece` of cross-validation for "temperature" and "temperature_and_bias"; {} where
    there are too few lesions for it.
    """

    temperature: float
    bias: Floats64 | None
    scores: dict[str, dict[str, float]]


def choose(
    logits: NDArray[Any], targets: Ints, lesions: NDArray[np.str_], task: Task
) -> Calibration:
    """Choose temperature, and a bias of each class where it helps, for logits (N, C).

    It helps where lesions that it was not fitted on get a smaller negative log-likelihood, and the
    probability of malignancy a calibration error that is no larger. `targets` (N,) are class
    indices, `lesions` (N,) ids.
    """
    scores = cross_validate(logits, targets, lesions, task)
    if helps(scores):
        temperature, bias = fit_bias(logits, targets)
        return Calibration(temperature, bias, scores)
    return Calibration(fit_temperature(logits, targets), None, scores)


def helps(scores: dict[str, dict[str, float]]) -> bool:
    """Tell by the scores of cross-validation if a bias of each class helps."""
    if not scores:
        return False
    plain, biased = scores["temperature"], scores["temperature_and_bias"]
    return biased["nll"] < plain["nll"] and biased["malignancy_ece"] <= plain["malignancy_ece"]


def cross_validate(
    logits: NDArray[Any], targets: Ints, lesions: NDArray[np.str_], task: Task
) -> dict[str, dict[str, float]]:
    """Score both calibrations on lesions that they were not fitted on; {} for too few lesions."""
    ids, lesion_of_image = np.unique(lesions, return_inverse=True)
    if len(ids) < FOLDS:
        return {}
    fold_of_lesion = np.random.default_rng(SEED).permutation(len(ids)) % FOLDS
    fold = fold_of_lesion[lesion_of_image]
    plain, biased = np.zeros(logits.shape), np.zeros(logits.shape)
    for number in range(FOLDS):
        rest, part = fold != number, fold == number
        alone = fit_temperature(logits[rest], targets[rest])
        plain[part] = prediction.softmax(logits[part], alone)
        temperature, bias = fit_bias(logits[rest], targets[rest])
        biased[part] = prediction.softmax(logits[part], temperature, bias)
    parts = {"temperature": plain, "temperature_and_bias": biased}
    malignant = np.isin(targets, task.positive_indices)
    return {
        name: {
            "nll": metrics.negative_log_likelihood(probabilities, targets),
            "malignancy_ece": curve_error(
                metrics.reliability(
                    prediction.malignancy(probabilities, task), malignant, CURVE_BINS
                )
            ),
        }
        for name, probabilities in parts.items()
    }


def curve_error(curve: Sequence[Sequence[float]]) -> float:
    """Return the expected calibration error of a score, from its calibration curve.

    `curve` has (mean score, observed share, n) of each bin; the distances count by n.
    """
    images = sum(row[2] for row in curve)
    return sum(abs(score - share) * n for score, share, n in curve) / images


def fit_bias(logits: NDArray[Any], targets: Ints) -> tuple[float, Floats64]:
    """Fit a temperature and a bias (C,) of each class to logits (N, C).

    They minimise the negative log-likelihood of softmax(logits / temperature + bias), with
    `PENALTY` on the bias, by Newton's method: the loss is convex in 1 / temperature and bias. This
    is vector scaling (Guo et al. 2017, section 4.2) with one temperature for all classes.
    """
    low, high = TEMPERATURES
    raw = np.asarray(logits, np.float64)
    images, classes = raw.shape
    truth = np.eye(classes)[targets]
    inverse, bias = 1.0, np.zeros(classes)
    loss = _penalised_loss(raw, truth, inverse, bias)
    for _ in range(NEWTON_STEPS):
        chances = prediction.softmax(raw * inverse + bias)
        residual = chances - truth
        mean = (chances * raw).sum(axis=1, keepdims=True)
        gradient = np.append(residual.sum(axis=0) + PENALTY * bias, (residual * raw).sum())
        # The last row and column are those of 1 / temperature.
        hessian = np.zeros((classes + 1, classes + 1))
        hessian[:classes, :classes] = np.diag(chances.sum(axis=0) + PENALTY) - chances.T @ chances
        hessian[classes, :classes] = (chances * (raw - mean)).sum(axis=0)
        hessian[:classes, classes] = hessian[classes, :classes]
        # A little more than the curvature, for logits that are all alike.
        hessian[classes, classes] = (chances * (raw - mean) ** 2).sum() + 1e-9 * images
        step = np.linalg.solve(hessian, gradient)
        # Far off, a whole step may overshoot: half of it never does, in the end.
        share = 1.0
        while share > 1e-6:
            changed_inverse = float(np.clip(inverse - share * step[classes], 1 / high, 1 / low))
            changed_bias = bias - share * step[:classes]
            changed = _penalised_loss(raw, truth, changed_inverse, changed_bias)
            if changed <= loss:
                break
            share /= 2
        else:
            break
        inverse, bias = changed_inverse, changed_bias
        if loss - changed < 1e-9:
            break
        loss = changed
    return round(1 / inverse, 4), np.round(bias, 4)


def _penalised_loss(raw: Floats64, truth: Floats64, inverse: float, bias: Floats64) -> float:
    chances = (prediction.softmax(raw * inverse + bias) * truth).sum(axis=1)
    return float(-np.log(np.clip(chances, 1e-300, 1.0)).sum() + PENALTY / 2 * (bias @ bias))


def class_shares(diagnoses: Mapping[str, int], task: Task) -> dict[str, float]:
    """Return the share of each class among images, from the number of images of each diagnosis.

    Diagnoses that are no class of the task don't count, and a class without images counts as one
    image, so that no share is 0.
    """
    counts = dict.fromkeys(task.classes, 0)
    for diagnosis, count in diagnoses.items():
        name = task.class_of(diagnosis)
        if name is not None:
            counts[name] += count
    counts = {name: max(count, 1) for name, count in counts.items()}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def fit_temperature(logits: NDArray[Any], targets: NDArray[np.int64]) -> float:
    """The temperature in [0.2, 5] with the smallest negative log-likelihood.

    Guo et al. 2017, section 4.2.
    """
    grid = np.geomspace(*TEMPERATURES, 81)
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
