"""Figures from predictions: each figure of a model card has its one formula here. Plain numpy.

Every figure is computed for a batch: `weights` is (B, N), and row b says how often each of N images
counts, as a resample of the images does (`evaluation.bootstrap`). Batched functions return (B,)
float64, NaN where a row leaves the figure undefined (a class that never occurs). A point estimate
is a batch of a single row of ones; the functions that give one say None where it is undefined, and
never a made-up number.

`probabilities` is (N, C), rows summing to 1; `targets` is (N,) class indices; `scores` is (N,) in
[0, 1], and `positive` (N,) says which images are positive.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.errors import ConfigError
from dermhub.models.prediction import malignancy
from dermhub.tasks import Task

Bools = NDArray[np.bool_]

ECE_BINS = 15
"""Equal-width bins of the expected calibration error (Guo et al. 2017 use 15)."""

HEADLINE = (
    *("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"),
    *("malignancy_auroc", "ece", "brier"),
)
"""Figures of `weighted_summary` that a model card shows first, with their intervals."""

COUNTS = ("tp", "fn", "fp", "tn")
"""True positives, false negatives, false positives and true negatives."""


def summarize(
    probabilities: Floats64, targets: Ints, task: Task, thresholds: dict[str, float] | None = None
) -> dict[str, Any]:
    """Every figure of one set of images, with n, as JSON-ready values.

    `thresholds` gives the operating points on the probability of malignancy, by name.
    """
    batch = weighted_summary(_once(targets), probabilities, targets, task)
    figures = {name: values[0] for name, values in batch.items()}
    per_class = {
        name: {
            "n": int(figures["confusion_matrix"][index].sum()),
            **{key: _value(figures[key][index]) for key in ("recall", "precision", "f1", "auroc")},
        }
        for index, name in enumerate(task.classes)
    }
    score = malignancy(probabilities, task)
    malignant = np.isin(targets, task.positive_indices)
    return {
        "n": len(targets),
        **{name: _value(figures[name]) for name in (*HEADLINE, "nll")},
        "per_class": per_class,
        "confusion_matrix": figures["confusion_matrix"].astype(int).tolist(),
        "operating_points": {
            name: operating_point(score, malignant, value)
            for name, value in (thresholds or {}).items()
        },
    }


def weighted_summary(
    weights: Floats64, probabilities: Floats64, targets: Ints, task: Task
) -> dict[str, Floats64]:
    """The figures of `summarize` without its operating points, for each row of weights.

    (B,) are those of `HEADLINE` and `nll`; (B, C) are `recall`, `precision`, `f1` and `auroc` of
    each class against the rest; (B, C, C) is `confusion_matrix`. Means over classes leave out the
    classes that are undefined.
    """
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrices(weights, targets, predicted, len(task.classes))
    hits = np.einsum("bcc->bc", matrix)
    occurring = matrix.sum(axis=2)
    called = matrix.sum(axis=1)
    recall = ratio(hits, occurring)
    # Precision of a class that was never called counts as 0 as soon as the class occurs.
    precision = np.where((called == 0) & (occurring > 0), 0.0, ratio(hits, called))
    f1 = np.where(occurring > 0, ratio(2 * hits, occurring + called), np.nan)
    areas = [
        weighted_auroc(weights, probabilities[:, index], targets == index)
        for index in range(len(task.classes))
    ]
    auroc_of_class = np.stack(areas, axis=1)
    score = malignancy(probabilities, task)
    malignant = np.isin(targets, task.positive_indices)
    return {
        "accuracy": ratio(hits.sum(axis=1), weights.sum(axis=1)),
        "balanced_accuracy": _mean_of_defined(recall),
        "macro_f1": _mean_of_defined(f1),
        "macro_auroc": _mean_of_defined(auroc_of_class),
        "malignancy_auroc": weighted_auroc(weights, score, malignant),
        "ece": weighted_ece(weights, probabilities, targets),
        "brier": weighted_brier(weights, probabilities, targets),
        "nll": weighted_nll(weights, probabilities, targets),
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "auroc": auroc_of_class,
        "confusion_matrix": matrix,
    }


def weighted_balanced_accuracy(weights: Floats64, right: Bools, targets: Ints) -> Floats64:
    """(B,) mean of the recalls of the classes that occur, for each row of weights.

    `right` (N,) says which images were named as what they are.
    """
    of_class = targets[:, None] == np.unique(targets)
    recalls = ratio(weights @ (of_class & right[:, None]), weights @ of_class)
    return _mean_of_defined(recalls)


def confusion_matrix(targets: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts of shape (classes, classes): row = true class, column = predicted class."""
    counts = confusion_matrices(_once(targets), targets, predicted, classes)[0]
    return np.asarray(counts, np.int64)


def confusion_matrices(weights: Floats64, targets: Ints, predicted: Ints, classes: int) -> Floats64:
    """(B, classes, classes) counts for each row of weights; see `confusion_matrix`."""
    cells = np.zeros((len(targets), classes * classes))
    cells[np.arange(len(targets)), targets * classes + predicted] = 1
    return np.asarray((weights @ cells).reshape(-1, classes, classes))


def auroc(scores: Floats64, positive: Bools) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    The Mann-Whitney statistic divided by its maximum (Hanley & McNeil 1982); None with one class
    only. Any order of scores will do, not only those in [0, 1].
    """
    return _value(weighted_auroc(_once(scores), scores, positive)[0])


def weighted_auroc(weights: Floats64, scores: Floats64, positive: Bools) -> Floats64:
    """(B,) area under the ROC curve for each row of weights; see `auroc`."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    group_starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    sorted_weights = weights[:, order]
    # Weights of the positives and negatives of each score, from the lowest score to the highest.
    positives = np.add.reduceat(sorted_weights * positive[order], group_starts, axis=1)
    negatives = np.add.reduceat(sorted_weights * ~positive[order], group_starts, axis=1)
    # A positive beats every negative of a lower score, and half of those of its own score.
    beaten = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return ratio((positives * beaten).sum(axis=1), pairs)


def roc_curve(scores: Floats64, positive: Bools) -> tuple[Floats64, Floats64, Floats64]:
    """False-positive rates, true-positive rates and thresholds (score >= threshold is positive)."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    true_positives = np.cumsum(positive[order])[last_of_ties]
    false_positives = np.cumsum(~positive[order])[last_of_ties]
    tpr = np.append(0.0, true_positives / max(int(positive.sum()), 1))
    fpr = np.append(0.0, false_positives / max(int((~positive).sum()), 1))
    return fpr, tpr, np.append(np.inf, scores[order][last_of_ties])


def expected_calibration_error(
    probabilities: Floats64, targets: Ints, bins: int = ECE_BINS
) -> float:
    """Mean distance of confidence and accuracy of the top class over equal-width bins.

    Guo et al. 2017, eq. 3; 0 to 1.
    """
    return float(weighted_ece(_once(targets), probabilities, targets, bins)[0])


def weighted_ece(
    weights: Floats64, probabilities: Floats64, targets: Ints, bins: int = ECE_BINS
) -> Floats64:
    """(B,) expected calibration error for each row of weights."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    in_bin = np.eye(bins)[_bin_index(confidence, bins)]
    # A bin's number of images times the distance of its means is the distance of its sums.
    distances = np.abs(weights @ (in_bin * (confidence - correct)[:, None]))
    return ratio(distances.sum(axis=1), weights.sum(axis=1))


def reliability(
    scores: Floats64, correct: Bools, bins: int = ECE_BINS
) -> list[tuple[float, float, int]]:
    """(mean score, share correct, n) of each non-empty bin of equal width on [0, 1]."""
    index = _bin_index(scores, bins)
    members = [index == number for number in range(bins)]
    return [
        (float(scores[rows].mean()), float(correct[rows].mean()), int(rows.sum()))
        for rows in members
        if rows.any()
    ]


def negative_log_likelihood(probabilities: Floats64, targets: Ints) -> float:
    """Mean of -log p(true class), in nats; a probability below 1e-12 counts as 1e-12."""
    return float(weighted_nll(_once(targets), probabilities, targets)[0])


def weighted_nll(weights: Floats64, probabilities: Floats64, targets: Ints) -> Floats64:
    """(B,) negative log-likelihood for each row of weights."""
    of_true_class = probabilities[np.arange(len(targets)), targets]
    return _weighted_mean(weights, -np.log(np.clip(of_true_class, 1e-12, 1.0)))


def brier_score(probabilities: Floats64, targets: Ints) -> float:
    """Mean squared distance to the one-hot truth, summed over classes (Brier 1950): 0 to 2."""
    return float(weighted_brier(_once(targets), probabilities, targets)[0])


def weighted_brier(weights: Floats64, probabilities: Floats64, targets: Ints) -> Floats64:
    """(B,) Brier score for each row of weights."""
    truth = np.eye(probabilities.shape[1])[targets]
    return _weighted_mean(weights, ((probabilities - truth) ** 2).sum(axis=1))


def operating_point(scores: Floats64, positive: Bools, threshold: float) -> dict[str, Any]:
    """Return accuracy, sensitivity, specificity, PPV, NPV and counts of the call.

    A score of at least the threshold is called positive. The accuracy is that of the call, which is
    another answer than the most probable class.
    """
    point = weighted_operating_point(_once(scores), scores, positive, threshold)
    rates = {name: _value(values[0]) for name, values in point.items() if name not in COUNTS}
    counts = {name: int(point[name][0]) for name in COUNTS}
    return {"threshold": float(threshold), **rates, **counts}


def weighted_operating_point(
    weights: Floats64, scores: Floats64, positive: Bools, threshold: float
) -> dict[str, Floats64]:
    """(B,) rates and counts of an operating point for each row of weights, by name."""
    called = scores >= threshold
    tp = weights @ (called & positive)
    fn = weights @ (~called & positive)
    fp = weights @ (called & ~positive)
    tn = weights @ (~called & ~positive)
    return {
        "accuracy": ratio(tp + tn, tp + fn + fp + tn),
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "tp": tp,
        "fn": fn,
        "fp": fp,
        "tn": tn,
    }


def at_prevalence(
    sensitivity: float, specificity: float, prevalence: float
) -> dict[str, float | None]:
    """Translate an operating point to a population of which the share `prevalence` is ill.

    By Bayes' rule (Altman & Bland 1994); all three are shares from 0 to 1. Returns `ppv` and `npv`
    (None where nothing is called, or nothing left alone), and how many of 1,000 people examined are
    ill and missed, and are well and called: `missed`, `false_alarms`. Raises ConfigError for a
    number that is no share.
    """
    for name, value in (
        ("sensitivity", sensitivity),
        ("specificity", specificity),
        ("prevalence", prevalence),
    ):
        if not 0 <= value <= 1:
            raise ConfigError(f"The {name} is {value}, expected a share from 0 to 1.")
    detected = sensitivity * prevalence
    missed = (1 - sensitivity) * prevalence
    alarms = (1 - specificity) * (1 - prevalence)
    cleared = specificity * (1 - prevalence)
    return {
        "ppv": detected / (detected + alarms) if detected + alarms else None,
        "npv": cleared / (cleared + missed) if cleared + missed else None,
        "missed": 1000 * missed,
        "false_alarms": 1000 * alarms,
    }


def threshold_for_sensitivity(scores: Floats64, positive: Bools, sensitivity: float) -> float:
    """Return the highest threshold with at least this sensitivity among the positives."""
    descending = np.sort(scores[positive])[::-1]
    return float(descending[math.ceil(sensitivity * len(descending)) - 1])


def threshold_youden(scores: Floats64, positive: Bools) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950)."""
    fpr, tpr, thresholds = roc_curve(scores, positive)
    return float(thresholds[1:][np.argmax((tpr - fpr)[1:])])


def ratio(part: Floats64, whole: Floats64) -> Floats64:
    """Divide two arrays of one shape; NaN where `whole` is 0."""
    undefined = np.full_like(whole, np.nan, dtype=float)
    return np.asarray(np.divide(part, whole, out=undefined, where=whole > 0))


def _once(images: NDArray[Any]) -> Floats64:
    """(1, N) weights of a point estimate: every image counts once."""
    return np.ones((1, len(images)))


def _value(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None


def _bin_index(scores: Floats64, bins: int) -> Ints:
    # A score of 1 belongs to the last bin.
    return np.minimum((scores * bins).astype(np.int64), bins - 1)


def _weighted_mean(weights: Floats64, values: Floats64) -> Floats64:
    # Summed by numpy and not by `@`, whose order of summation depends on the machine's BLAS.
    return ratio((weights * values).sum(axis=1), weights.sum(axis=1))


def _mean_of_defined(values: Floats64) -> Floats64:
    """(B,) means over the classes of (B, C) figures, without those that are NaN."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))
