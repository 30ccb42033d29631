"""Figures of parts of a test set: patient groups, the worst errors, photographs of one lesion."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation.bootstrap import FEWEST, bounds, resampled, weighted
from dermhub.models import prediction
from dermhub.tasks import Task

BY_GROUP = ("accuracy", "malignancy_auroc", "sensitivity", "specificity")
"""Figures of a subgroup: those that keep their meaning where some classes are missing."""


AGE_BANDS = {"0-39": (0, 40), "40-59": (40, 60), "60+": (60, np.inf)}
"""Years, from the first to below the second."""


def subgroups(
    probabilities: Floats64, targets: Ints, table: pd.DataFrame, task: Task, threshold: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """Column -> value -> n, lesions, malignant, the figures of `BY_GROUP`, and their `intervals`.

    `table` has the N rows of the images with `lesion_id` and any of sex, age, localization,
    dx_type; ages are in the bands of `AGE_BANDS`, and what is not known is the value "unknown".
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
    probabilities: Floats64, targets: Ints, ids: NDArray[Any], task: Task, count: int = 10
) -> list[dict[str, Any]]:
    """The `count` wrong images of the highest probability: image_id, truth, predicted, probability;
    worst first.
    """
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


def _group(
    probabilities: Floats64, targets: Ints, lesions: NDArray[Any], task: Task, threshold: float
) -> dict[str, Any]:
    ill = np.isin(targets, task.positive_indices)
    every, sick, healthy = (
        len(np.unique(lesions[rows])) for rows in (np.ones(len(ill), bool), ill, ~ill)
    )
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
            content[column] = (
                table[column].astype(str).where(table[column].notna(), "unknown").to_numpy(str)
            )
    if "age" in content:
        years = pd.to_numeric(table["age"], errors="coerce").to_numpy(float)
        inside = [(years >= low) & (years < high) for low, high in AGE_BANDS.values()]
        content["age"] = np.select(inside, list(AGE_BANDS), "unknown")
    return content


def retest_figures(
    probabilities: Floats64, lesions: NDArray[Any], task: Task, threshold: float
) -> dict[str, Any]:
    """Compare all pairs of photographs of each lesion; `probabilities` is (N, C), `lesions` (N,)
    ids.

    `class_differs` and `decision_differs` are the shares of a lesion's pairs whose most probable
    class, or whose side of the operating point `threshold`, is not the same, and
    `malignancy_difference` the absolute difference of P(malignant): means over lesions, so that one
    with fifteen pairs counts no more than one with a single pair. `lesions_class` and
    `lesions_decision` count the lesions with any such pair. None where no lesion has two.
    """
    called = probabilities.argmax(axis=1)
    score = prediction.malignancy(probabilities, task)
    decided = score >= threshold
    names, counts = np.unique(lesions, return_counts=True)
    images, pairs, rows = 0, 0, []
    for name in names[counts > 1]:
        own = np.flatnonzero(lesions == name)
        both = np.array(list(combinations(own, 2)))
        one, other = both[:, 0], both[:, 1]
        images, pairs = images + len(own), pairs + len(both)
        rows.append(
            [
                (called[one] != called[other]).mean(),
                (decided[one] != decided[other]).mean(),
                np.abs(score[one] - score[other]).mean(),
            ]
        )
    differs = np.array(rows).reshape(-1, 3)
    mean = [float(v) for v in differs.mean(axis=0)] if rows else [None, None, None]
    return {
        "lesions": len(rows),
        "images": images,
        "pairs": pairs,
        "class_differs": mean[0],
        "decision_differs": mean[1],
        "malignancy_difference": mean[2],
        "lesions_class": int((differs[:, 0] > 0).sum()),
        "lesions_decision": int((differs[:, 1] > 0).sum()),
    }
