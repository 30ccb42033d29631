"""Arrays in, named numbers out. Plain numpy; every figure of a model card is computed here.

`probabilities` is (N, C), rows summing to 1; `targets` is (N,) class indices. A figure that is not
defined (a class that never occurs) is None, never a made-up number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.errors import ConfigError
from dermhub.models.prediction import malignancy
from dermhub.tasks import Task

ECE_BINS = 15
"""Equal-width bins of the expected calibration error (Guo et al. 2017 use 15)."""


def confusion_matrix(targets: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts of shape (classes, classes): row = true class, column = predicted class."""
    return np.bincount(targets * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def auroc(scores: Floats64, positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    The Mann-Whitney statistic divided by its maximum (Hanley & McNeil 1982); None with one class
    only.
    """
    count = int(positive.sum())
    others = len(positive) - count
    if count == 0 or others == 0:
        return None
    _, inverse, repeats = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(repeats) - (repeats - 1) / 2
    statistic = mean_rank[inverse][positive].sum() - count * (count + 1) / 2
    return float(statistic / (count * others))


def roc_curve(scores: Floats64, positive: NDArray[np.bool_]) -> tuple[Floats64, Floats64, Floats64]:
    """False-positive rates, true-positive rates and thresholds (score >= threshold is positive)."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(positive[order])[last]
    alarms = np.cumsum(~positive[order])[last]
    tpr = np.append(0.0, hits / max(int(positive.sum()), 1))
    fpr = np.append(0.0, alarms / max(int((~positive).sum()), 1))
    return fpr, tpr, np.append(np.inf, scores[order][last])


def expected_calibration_error(
    probabilities: Floats64, targets: Ints, bins: int = ECE_BINS
) -> float:
    """Mean distance of confidence and accuracy of the top class over equal-width bins (Guo et al.
    2017, eq. 3).
    """
    rows = reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets, bins)
    return float(sum(n * abs(score - rate) for score, rate, n in rows) / len(targets))


def reliability(
    scores: Floats64, correct: NDArray[np.bool_], bins: int = ECE_BINS
) -> list[tuple[float, float, int]]:
    """(mean score, share correct, n) of each non-empty bin of equal width on [0, 1]."""
    index = np.minimum((scores * bins).astype(int), bins - 1)
    groups = [index == i for i in range(bins)]
    return [
        (float(scores[g].mean()), float(correct[g].mean()), int(g.sum())) for g in groups if g.any()
    ]


def negative_log_likelihood(probabilities: Floats64, targets: Ints) -> float:
    """Mean of -log p(true class), in nats."""
    true = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(true, 1e-12, 1.0)).mean())


def brier_score(probabilities: Floats64, targets: Ints) -> float:
    """Mean squared distance to the one-hot truth, summed over classes (Brier 1950): 0 to 2."""
    truth = np.eye(probabilities.shape[1])[targets]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def operating_point(
    scores: Floats64, positive: NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    """Sensitivity, specificity, PPV and NPV, with the four counts, when score >= threshold is
    called positive.
    """
    called = scores >= threshold
    tp, fn = int((called & positive).sum()), int((~called & positive).sum())
    fp, tn = int((called & ~positive).sum()), int((~called & ~positive).sum())
    return {
        "threshold": float(threshold),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "tp": tp,
        "fn": fn,
        "fp": fp,
        "tn": tn,
    }


def at_prevalence(
    sensitivity: float, specificity: float, prevalence: float
) -> dict[str, float | None]:
    """What an operating point means where `prevalence` of the people examined are ill (Bayes;
    Altman & Bland 1994).

    All three are shares from 0 to 1. Returns `ppv` and `npv` (None where nothing is called, or
    nothing left alone), and how many of 1,000 examined are ill and missed, and are well and called:
    `missed`, `false_alarms`. Raises ConfigError for a number that is no share.
    """
    for name, value in (
        ("sensitivity", sensitivity),
        ("specificity", specificity),
        ("prevalence", prevalence),
    ):
        if not 0 <= value <= 1:
            raise ConfigError(f"The {name} is {value}, expected a share from 0 to 1.")
    found, missed = sensitivity * prevalence, (1 - sensitivity) * prevalence
    alarms, cleared = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    return {
        "ppv": found / (found + alarms) if found + alarms else None,
        "npv": cleared / (cleared + missed) if cleared + missed else None,
        "missed": 1000 * missed,
        "false_alarms": 1000 * alarms,
    }


def threshold_for_sensitivity(
    scores: Floats64, positive: NDArray[np.bool_], sensitivity: float
) -> float:
    """The highest threshold at which at least `sensitivity` of the positives are found."""
    found = np.sort(scores[positive])[::-1]
    return float(found[math.ceil(sensitivity * len(found)) - 1])


def threshold_youden(scores: Floats64, positive: NDArray[np.bool_]) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950)."""
    fpr, tpr, thresholds = roc_curve(scores, positive)
    return float(thresholds[1:][np.argmax((tpr - fpr)[1:])])


def summarize(
    probabilities: Floats64, targets: Ints, task: Task, thresholds: dict[str, float] | None = None
) -> dict[str, Any]:
    """Every headline figure of one set of images, with n, as JSON-ready values."""
    classes = len(task.classes)
    matrix = confusion_matrix(targets, probabilities.argmax(axis=1), classes)
    per_class = {
        name: _class_figures(matrix, i, probabilities, targets)
        for i, name in enumerate(task.classes)
    }
    score, sick = malignancy(probabilities, task), np.isin(targets, task.positive_indices)
    return {
        "n": len(targets),
        "accuracy": float(matrix.trace() / len(targets)),
        "balanced_accuracy": _mean(row["recall"] for row in per_class.values()),
        "macro_f1": _mean(row["f1"] for row in per_class.values()),
        "macro_auroc": _mean(row["auroc"] for row in per_class.values()),
        "malignancy_auroc": auroc(score, sick),
        "ece": expected_calibration_error(probabilities, targets),
        "brier": brier_score(probabilities, targets),
        "nll": negative_log_likelihood(probabilities, targets),
        "per_class": per_class,
        "confusion_matrix": matrix.tolist(),
        "operating_points": {
            name: operating_point(score, sick, value) for name, value in (thresholds or {}).items()
        },
    }


def _class_figures(
    matrix: Ints, index: int, probabilities: Floats64, targets: Ints
) -> dict[str, Any]:
    hits, true, called = (
        int(v) for v in (matrix[index, index], matrix[index].sum(), matrix[:, index].sum())
    )
    return {
        "n": true,
        "recall": _ratio(hits, true),
        # Precision of a class that was never called counts as 0 as soon as the class occurs.
        "precision": _ratio(hits, called) if called else (0.0 if true else None),
        "f1": _ratio(2 * hits, true + called) if true else None,
        "auroc": auroc(probabilities[:, index], targets == index),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float | None] | Any) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
