"""Figures of parts of a test set: patient groups, the worst errors, photographs of one lesion."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import predictions
from dermhub.evaluation.bootstrap import (
    FEWEST,
    Resamples,
    bounds,
    resampled_figures,
    weighted_figures,
)
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
    dx_type; ages are in the bands of `AGE_BANDS`, and a missing value is called "unknown". A figure
    that rests on fewer than `bootstrap.FEWEST` lesions is None.
    """
    malignant = np.isin(targets, task.positive_indices)
    lesions = table["lesion_id"].to_numpy(str)
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for column, values in _columns(table).items():
        content[column] = {}
        for value in sorted(set(values)):
            rows = values == value
            content[column][value] = {
                "n": int(rows.sum()),
                "lesions": len(np.unique(lesions[rows])),
                "malignant": int(malignant[rows].sum()),
                **_group_figures(
                    probabilities[rows], targets[rows], lesions[rows], task, threshold
                ),
            }
    return content


def refusals(table: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Count the images of a table of predictions and those that the gate refuses.

    Returns `n` and `refused` of all images, of the `malignant` and the `benign` ones, and of each
    diagnosis (`diagnoses`).
    """
    refused = predictions.refused(table)
    malignant = np.array([task.class_of(dx) in task.positive for dx in table["dx"]], bool)
    dx = table["dx"].to_numpy(str)

    def counts(rows: NDArray[np.bool_]) -> dict[str, int]:
        return {"n": int(rows.sum()), "refused": int((rows & refused).sum())}

    return {
        **counts(np.ones(len(table), bool)),
        "malignant": counts(malignant),
        "benign": counts(~malignant),
        "diagnoses": {name: counts(dx == name) for name in sorted(set(dx))},
    }


def _columns(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Column -> (N,) values as text, of the columns that hold any."""
    content = {}
    for column in ("sex", "age", "localization", "dx_type"):
        if column in table and table[column].notna().any():
            values = table[column].astype(str).where(table[column].notna(), "unknown")
            content[column] = values.to_numpy(str)
    if "age" in content:
        years = pd.to_numeric(table["age"], errors="coerce").to_numpy(float)
        in_band = [(years >= low) & (years < high) for low, high in AGE_BANDS.values()]
        content["age"] = np.select(in_band, list(AGE_BANDS), "unknown")
    return content


def _group_figures(
    probabilities: Floats64, targets: Ints, lesions: NDArray[Any], task: Task, threshold: float
) -> dict[str, Any]:
    malignant = np.isin(targets, task.positive_indices)
    lesions_malignant = len(np.unique(lesions[malignant]))
    lesions_benign = len(np.unique(lesions[~malignant]))
    # Number of lesions that each figure rests on.
    rests_on = {
        "accuracy": len(np.unique(lesions)),
        "malignancy_auroc": min(lesions_malignant, lesions_benign),
        "sensitivity": lesions_malignant,
        "specificity": lesions_benign,
    }
    reported = [name for name in BY_GROUP if rests_on[name] >= FEWEST]
    row: dict[str, Any] = dict.fromkeys(BY_GROUP) | {"intervals": dict.fromkeys(BY_GROUP)}
    if reported:
        once = np.ones((1, len(targets)))
        figures = weighted_figures(once, probabilities, targets, task, threshold)
        resampled = resampled_figures(
            Resamples.draw(lesions), probabilities, targets, task, threshold
        )
        row |= {name: float(figures[name][0]) for name in reported}
        row["intervals"] |= {name: bounds(resampled[name]) for name in reported}
    return row


def worst_errors(
    probabilities: Floats64, targets: Ints, ids: NDArray[Any], task: Task, count: int = 10
) -> list[dict[str, Any]]:
    """The `count` most confident errors: image_id, truth, predicted, probability; worst first."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        {
            "image_id": str(ids[index]),
            "truth": task.classes[targets[index]],
            "predicted": task.classes[predicted[index]],
            "probability": round(float(confidence[index]), 6),
        }
        for index in order
    ]


def retest_figures(
    probabilities: Floats64, lesions: NDArray[Any], task: Task, threshold: float
) -> dict[str, Any]:
    """Compare all pairs of photographs of each lesion: how often does the answer change?

    `probabilities` is (N, C), `lesions` (N,) ids. `class_differs` and `decision_differs` are the
    shares of a lesion's pairs whose most probable class, or whose side of the operating point
    `threshold`, is not the same, and `malignancy_difference` the absolute difference of
    P(malignant): means over lesions, so that a lesion with fifteen pairs counts no more than one
    with a single pair. `lesions_class` and `lesions_decision` count the lesions with any such pair.
    The means are None where no lesion has two photographs.
    """
    predicted = probabilities.argmax(axis=1)
    score = prediction.malignancy(probabilities, task)
    decision = score >= threshold
    ids, photographs = np.unique(lesions, return_counts=True)
    images = 0
    pairs = 0
    rows = []
    for lesion in ids[photographs > 1]:
        of_lesion = np.flatnonzero(lesions == lesion)
        first, second = np.array(list(combinations(of_lesion, 2))).T
        images += len(of_lesion)
        pairs += len(first)
        rows.append(
            [
                (predicted[first] != predicted[second]).mean(),
                (decision[first] != decision[second]).mean(),
                np.abs(score[first] - score[second]).mean(),
            ]
        )
    differences = np.array(rows).reshape(-1, 3)
    means = [float(value) for value in differences.mean(axis=0)] if rows else [None, None, None]
    return {
        "lesions": len(rows),
        "images": images,
        "pairs": pairs,
        "class_differs": means[0],
        "decision_differs": means[1],
        "malignancy_difference": means[2],
        "lesions_class": int((differences[:, 0] > 0).sum()),
        "lesions_decision": int((differences[:, 1] > 0).sum()),
    }
