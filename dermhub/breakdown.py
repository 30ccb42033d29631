"""How sure the figures are, for whom they hold, and where the model was most confidently wrong. Plain numpy.

Photographs of one lesion are not independent, so intervals come from resampling lesions, not images: the
percentile bootstrap (Efron 1979) over clusters (Field & Welsh 2007, section 3); that of the ECE, which resampling
raises, is moved onto the figure. A figure that is not defined, or that rests on fewer than `FEWEST` lesions, is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import metrics
from dermhub.labels import Task
from dermhub.metrics import Floats, Ints

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95

FEWEST = 10
"""A figure of a subgroup that rests on fewer lesions says nothing and is not reported."""

BY_GROUP = ("accuracy", "malignancy_auroc", "sensitivity", "specificity")
"""Figures of a subgroup: those that keep their meaning where some classes are missing."""

AGE_BANDS = {"0-39": (0, 40), "40-59": (40, 60), "60+": (60, np.inf)}
"""Years, from the first to below the second."""

CHUNK = 100
"""Resamples worked on at a time, so that memory stays small for ten thousand images."""


def intervals(
    probabilities: Floats,
    targets: Ints,
    lesions: NDArray[Any],
    task: Task,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """The 95% interval of every headline figure, and of each class's recall, over resampled lesions.

    `probabilities` is (N, C) with rows summing to 1, `targets` (N,) class indices, `lesions` (N,) ids, and
    `threshold` the operating point of sensitivity and specificity. `bounds` and `recall` hold [low, high] or None.
    """
    figures = resampled(probabilities, targets, lesions, task, threshold, resamples, seed)
    own = weighted(np.ones((1, len(targets))), probabilities, targets, task, threshold)
    # Bins are noisier in a resample, which raises its ECE: the cloud is moved back onto the figure itself.
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
    probabilities: Floats,
    targets: Ints,
    lesions: NDArray[Any],
    task: Task,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Floats]:
    """Name -> (resamples,) values of each figure, NaN where a resample leaves it undefined; see `intervals`."""
    every = lesion_weights(lesions, resamples, seed)
    parts = [weighted(weights, probabilities, targets, task, threshold) for weights in every]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def lesion_weights(lesions: NDArray[Any], resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[Floats]:
    """How often each of N images counts in each resample of their lesions: (B, N), at most `CHUNK` resamples a time."""
    names, index = np.unique(lesions, return_inverse=True)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        # Drawing lesions with replacement is a multinomial count for each; its photographs share it.
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), min(CHUNK, resamples - start))
        yield counts[:, index].astype(float)


def weighted(weights: Floats, probabilities: Floats, targets: Ints, task: Task, threshold: float) -> dict[str, Floats]:
    """Name -> (B,) values of each figure for B rows of image weights (B, N); all ones give `metrics.summarize`."""
    count, classes = len(targets), len(task.classes)
    called, top = probabilities.argmax(axis=1), probabilities.max(axis=1)
    cells = np.zeros((count, classes * classes))
    cells[np.arange(count), targets * classes + called] = 1
    matrix = (weights @ cells).reshape(-1, classes, classes)
    hits, true, calls = np.einsum("bcc->bc", matrix), matrix.sum(axis=2), matrix.sum(axis=1)
    recall = _ratio(hits, true)
    area = [weighted_auroc(weights, probabilities[:, i], targets == i) for i in range(classes)]
    score, sick = metrics.malignancy(probabilities, task), np.isin(targets, task.positive_indices)
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


def subgroups(
    probabilities: Floats, targets: Ints, table: pd.DataFrame, task: Task, threshold: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """Column -> value -> n, lesions, malignant, the figures of `BY_GROUP`, and their `intervals`.

    `table` has the N rows of the images with `lesion_id` and any of sex, age, localization, dx_type; ages are
    in the bands of `AGE_BANDS`, and what is not known is the value "unknown".
    """
    sick = np.isin(targets, task.positive_indices)
    lesions = table["lesion_id"].to_numpy(str)
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for column, values in _columns(table).items():
        content[column] = {}
        for value in sorted(set(values)):
            rows = values == value
            content[column][value] = {
                "n": int(rows.sum()),
                "lesions": len(np.unique(lesions[rows])),
                "malignant": int(sick[rows].sum()),
                **_group(probabilities[rows], targets[rows], lesions[rows], task, threshold),
            }
    return content


def worst_errors(
    probabilities: Floats, targets: Ints, ids: NDArray[Any], task: Task, count: int = 10
) -> list[dict[str, Any]]:
    """The `count` wrong images of the highest probability: image_id, truth, predicted, probability; worst first."""
    called, top = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(called != targets)
    order = wrong[np.argsort(-top[wrong], kind="stable")][:count]
    return [
        {
            "image_id": str(ids[i]),
            "truth": task.classes[targets[i]],
            "predicted": task.classes[called[i]],
            "probability": round(float(top[i]), 6),
        }
        for i in order
    ]


def _group(probabilities: Floats, targets: Ints, lesions: NDArray[Any], task: Task, threshold: float) -> dict[str, Any]:
    ill = np.isin(targets, task.positive_indices)
    every, sick, healthy = (len(np.unique(lesions[rows])) for rows in (np.ones(len(ill), bool), ill, ~ill))
    rests_on = dict(zip(BY_GROUP, (every, min(sick, healthy), sick, healthy), strict=True))
    known = [name for name in BY_GROUP if rests_on[name] >= FEWEST]
    row: dict[str, Any] = dict.fromkeys(BY_GROUP) | {"intervals": dict.fromkeys(BY_GROUP)}
    if known:
        own = weighted(np.ones((1, len(targets))), probabilities, targets, task, threshold)
        figures = resampled(probabilities, targets, lesions, task, threshold)
        row |= {name: float(own[name][0]) for name in known}
        row["intervals"] |= {name: bounds(figures[name]) for name in known}
    return row


def _columns(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    content = {}
    for column in ("sex", "age", "localization", "dx_type"):
        if column in table and table[column].notna().any():
            content[column] = table[column].astype(str).where(table[column].notna(), "unknown").to_numpy(str)
    if "age" in content:
        years = pd.to_numeric(table["age"], errors="coerce").to_numpy(float)
        inside = [(years >= low) & (years < high) for low, high in AGE_BANDS.values()]
        content["age"] = np.select(inside, list(AGE_BANDS), "unknown")
    return content


def weighted_auroc(weights: Floats, scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """(B,) area under the ROC curve as in `metrics.auroc`, an image counting as often as its weight says."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    own = weights[:, order]
    # Sums over images of one score, which beat each other half.
    above = np.add.reduceat(own * positive[order], starts, axis=1)
    below = np.add.reduceat(own * ~positive[order], starts, axis=1)
    beaten = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    return _ratio(beaten, above.sum(axis=1) * below.sum(axis=1))


def _ece(weights: Floats, top: Floats, correct: NDArray[np.bool_]) -> Floats:
    index = np.minimum((top * metrics.ECE_BINS).astype(int), metrics.ECE_BINS - 1)
    bins = np.eye(metrics.ECE_BINS)[index]
    return np.asarray(np.abs(weights @ (bins * (top - correct)[:, None])).sum(axis=1))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full_like(whole, np.nan, dtype=float), where=whole > 0))


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(float))


def bounds(values: Floats) -> list[float] | None:
    """The 95% interval of a figure's (B,) values over resamples, NaN where undefined; None where it says nothing."""
    known = values[np.isfinite(values)]
    # A figure that every tenth resample leaves undefined has no interval that could be trusted.
    if len(known) < 0.9 * len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:
        # Eleven of eleven found is no certainty, but resampling the eleven can't tell how far from one.
        return None
    return [round(float(low), 6), round(float(high), 6)]
