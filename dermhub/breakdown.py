"""How sure a figure is and where it comes from: intervals over lesions, groups of patients, the worst errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import metrics
from dermhub.labels import Task

RESAMPLES = 1000
LEVEL = 0.95
HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "malignancy_auroc", "ece", "brier")
"""The figures that get an interval."""

SMALLEST_GROUP = 20
"""Images below which a group's figures would say more about chance than about the group."""

AGE_BANDS = ((0, 39), (40, 59), (60, 200))


def intervals(
    probabilities: metrics.Floats,
    targets: NDArray[np.int64],
    lesions: NDArray[Any],
    task: Task,
    thresholds: dict[str, float],
    seed: int = 0,
) -> dict[str, Any]:
    """95 % intervals of the headline figures and of each operating point's sensitivity and specificity.

    Percentile bootstrap (Efron 1979) that draws whole lesions with replacement, because photographs of one lesion
    are not independent (Field & Welsh 2007). `lesions` names the lesion of each of the N images. A resample in
    which a figure isn't defined is left out of that figure's interval.
    """
    members = [np.flatnonzero(group) for group in np.unique(lesions)[:, None] == lesions[None, :]]
    rng, rows = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        found = metrics.summarize(probabilities[chosen], targets[chosen], task, thresholds)
        row = {name: found[name] for name in HEADLINES}
        for name, point in found["operating_points"].items():
            row |= {f"{name}.{figure}": point[figure] for figure in ("sensitivity", "specificity")}
        rows.append(row)
    limits = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
    content: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "unit": "lesion"}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        content[name] = [float(limit) for limit in np.percentile(values, limits)] if values else None
    return content


def subgroups(
    table: pd.DataFrame, probabilities: metrics.Floats, targets: NDArray[np.int64], task: Task, threshold: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """column -> group -> n, accuracy, AUROC of malignancy, sensitivity and specificity at a threshold.

    Columns are those of sex, age band, site and ground truth that the table has. A group with fewer than
    `SMALLEST_GROUP` images is only counted, and a figure that isn't defined in a group is None.
    """
    columns = {name: table[name] for name in ("sex", "localization", "dx_type") if name in table}
    if "age" in table:
        columns["age"] = _age_bands(table["age"])
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for name, values in columns.items():
        named = values.astype(str).where(values.notna(), "unknown").to_numpy(str)
        groups = {str(g): np.flatnonzero(named == g) for g in np.unique(named)}
        content[name] = {g: _group(probabilities[rows], targets[rows], task, threshold) for g, rows in groups.items()}
    return content


def worst_errors(
    table: pd.DataFrame, probabilities: metrics.Floats, targets: NDArray[np.int64], task: Task, count: int = 10
) -> list[dict[str, Any]]:
    """The most confident mistakes: image, true class, predicted class, and the probability of each."""
    called = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(called != targets)
    worst = wrong[np.argsort(-probabilities[wrong, called[wrong]], kind="stable")[:count]]
    return [
        {
            "image_id": str(table["image_id"].iloc[row]),
            "true": task.classes[targets[row]],
            "predicted": task.classes[called[row]],
            "p_predicted": float(probabilities[row, called[row]]),
            "p_true": float(probabilities[row, targets[row]]),
        }
        for row in worst
    ]


def _group(probabilities: metrics.Floats, targets: NDArray[np.int64], task: Task, threshold: float) -> dict[str, Any]:
    if len(targets) < SMALLEST_GROUP:
        return {"n": len(targets)}
    found = metrics.summarize(probabilities, targets, task, {"point": threshold})
    point = found["operating_points"]["point"]
    return {
        "n": len(targets),
        "malignant": point["tp"] + point["fn"],
        "accuracy": found["accuracy"],
        "malignancy_auroc": found["malignancy_auroc"],
        "sensitivity": point["sensitivity"],
        "specificity": point["specificity"],
    }


def _age_bands(ages: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(ages, errors="coerce")
    bands = pd.Series([None] * len(ages), index=ages.index, dtype=object)
    for low, high in AGE_BANDS:
        bands[(numbers >= low) & (numbers < high + 1)] = f"{low} to {high}" if high < 200 else f"{low} and older"
    return bands
