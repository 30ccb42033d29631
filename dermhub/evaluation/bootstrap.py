"""How sure the figures are, for whom they hold, and where the model was most confidently wrong.
Plain numpy.

Photographs of one lesion are not independent, so intervals come from resampling lesions, not
images: the percentile bootstrap (Efron 1979) over clusters (Field & Welsh 2007, section 3); that of
the ECE, which resampling raises, is moved onto the figure. A figure that is not defined, or that
rests on fewer than `FEWEST` lesions, is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.tasks import Task

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95


FEWEST = 10
"""A figure of a subgroup that rests on fewer lesions says nothing and is not reported."""


CHUNK = 100
"""Resamples worked on at a time, so that memory stays small for ten thousand images."""


def intervals(
    probabilities: Floats64,
    targets: Ints,
    lesions: NDArray[Any],
    task: Task,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """The 95% interval of every headline figure, and of each class's recall, over resampled
    lesions.

    `probabilities` is (N, C) with rows summing to 1, `targets` (N,) class indices, `lesions` (N,)
    ids, and `threshold` the operating point of sensitivity and specificity. `bounds` and `recall`
    hold [low, high] or None.
    """
    figures = resampled(probabilities, targets, lesions, task, threshold, resamples, seed)
    own = weighted(np.ones((1, len(targets))), probabilities, targets, task, threshold)
    # Bins are noisier in a resample, which raises its ECE: the cloud is moved back onto the figure
    # itself.
    figures["ece"] = np.maximum(figures["ece"] - figures["ece"].mean() + own["ece"], 0.0)
    limits = {name: bounds(values) for name, values in figures.items()}
    return {
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "lesions": len(np.unique(lesions)),
        "recall": {name: limits.pop(f"recall {name}") for name in task.classes},
        "bounds": limits,
    }


def resampled(
    probabilities: Floats64,
    targets: Ints,
    lesions: NDArray[Any],
    task: Task,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Floats64]:
    """Name -> (resamples,) values of each figure, NaN where a resample leaves it undefined; see
    `intervals`.
    """
    every = lesion_weights(lesions, resamples, seed)
    parts = [weighted(weights, probabilities, targets, task, threshold) for weights in every]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def lesion_weights(
    lesions: NDArray[Any], resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[Floats64]:
    """How often each of N images counts in each resample of their lesions: (B, N), at most `CHUNK`
    resamples a time.
    """
    names, index = np.unique(lesions, return_inverse=True)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        # Drawing lesions with replacement is a multinomial count for each; its photographs share
        # it.
        counts = rng.multinomial(
            len(names), np.full(len(names), 1 / len(names)), min(CHUNK, resamples - start)
        )
        yield counts[:, index].astype(float)


def weighted(
    weights: Floats64, probabilities: Floats64, targets: Ints, task: Task, threshold: float
) -> dict[str, Floats64]:
    """Name -> (B,) values of each figure for B rows of image weights (B, N); all ones give
    `metrics.summarize`.
    """
    count, classes = len(targets), len(task.classes)
    called, top = probabilities.argmax(axis=1), probabilities.max(axis=1)
    cells = np.zeros((count, classes * classes))
    cells[np.arange(count), targets * classes + called] = 1
    matrix = (weights @ cells).reshape(-1, classes, classes)
    hits, true, calls = np.einsum("bcc->bc", matrix), matrix.sum(axis=2), matrix.sum(axis=1)
    recall = _ratio(hits, true)
    area = [weighted_auroc(weights, probabilities[:, i], targets == i) for i in range(classes)]
    score, sick = (
        prediction.malignancy(probabilities, task),
        np.isin(targets, task.positive_indices),
    )
    found = score >= threshold
    total = weights.sum(axis=1)
    return {
        "accuracy": hits.sum(axis=1) / total,
        "balanced_accuracy": _mean(recall),
        "macro_f1": _mean(np.where(true > 0, _ratio(2 * hits, true + calls), np.nan)),
        "macro_auroc": _mean(np.stack(area, axis=1)),
        "malignancy_auroc": weighted_auroc(weights, score, sick),
        "ece": _ece(weights, top, called == targets) / total,
        "brier": weights @ ((probabilities - np.eye(classes)[targets]) ** 2).sum(axis=1) / total,
        "sensitivity": _ratio(weights @ (found & sick), weights @ sick),
        "specificity": _ratio(weights @ (~found & ~sick), weights @ ~sick),
        **{f"recall {name}": recall[:, i] for i, name in enumerate(task.classes)},
    }


def weighted_auroc(weights: Floats64, scores: Floats64, positive: NDArray[np.bool_]) -> Floats64:
    """(B,) area under the ROC curve as in `metrics.auroc`, an image counting as often as its weight
    says.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    own = weights[:, order]
    # Sums over images of one score, which beat each other half.
    above = np.add.reduceat(own * positive[order], starts, axis=1)
    below = np.add.reduceat(own * ~positive[order], starts, axis=1)
    beaten = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    return _ratio(beaten, above.sum(axis=1) * below.sum(axis=1))


def _ece(weights: Floats64, top: Floats64, correct: NDArray[np.bool_]) -> Floats64:
    index = np.minimum((top * metrics.ECE_BINS).astype(int), metrics.ECE_BINS - 1)
    bins = np.eye(metrics.ECE_BINS)[index]
    return np.asarray(np.abs(weights @ (bins * (top - correct)[:, None])).sum(axis=1))


def _ratio(part: Floats64, whole: Floats64) -> Floats64:
    return np.asarray(
        np.divide(part, whole, out=np.full_like(whole, np.nan, dtype=float), where=whole > 0)
    )


def _mean(values: Floats64) -> Floats64:
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(float))


def bounds(values: Floats64) -> list[float] | None:
    """The 95% interval of a figure's (B,) values over resamples, NaN where undefined; None where it
    says nothing.
    """
    known = values[np.isfinite(values)]
    # A figure that every tenth resample leaves undefined has no interval that could be trusted.
    if len(known) < 0.9 * len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:
        # Eleven of eleven found is no certainty, but resampling the eleven can't tell how far from
        # one.
        return None
    return [round(float(low), 6), round(float(high), 6)]
