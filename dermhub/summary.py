"""From predictions to every figure of a card, without an image or a network.

`measure` writes what this gives and `verify` works it out again, so the two can't drift apart. A table of predictions
has one row an image: image_id, lesion_id, split (validation or test), dx, what is known of the patient, and
`logit_<class>` for each class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import breakdown, conformal, cox, metrics, partition, retest, traits
from dermhub.config import ModelConfig
from dermhub.errors import DataError, some
from dermhub.labels import Task

ABOUT = ("dx_type", "age", "sex", "localization")
"""Columns that describe the patient and the ground truth: reported, never an input of a model."""

PREDICTIONS = "predictions.csv"
"""The file of a model folder that holds its predictions."""

PREVALENCES = (0.01, 0.02, 0.1, 0.2)
"""Shares of malignant lesions among those examined, from screening to a specialist's clinic."""

HEADLINE = ("n", "accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "malignancy_auroc", "ece", "brier")
"""What is told of a part of a split."""


def recompute(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """The blocks `overlap`, `validation` and `test` of metrics.json, from a table of predictions.

    Raises LeakError when a lesion stands in two splits: there are no figures of such a table.
    """
    partition.check(table)
    content: dict[str, Any] = {"overlap": partition.overlap(table)}
    for split in ("validation", "test"):
        part = table[table["split"] == split].reset_index(drop=True)
        content[split] = of_split(part, config)
        if split == "test":
            content[split] |= break_down(part, config)
    return content


def of_split(part: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """Headline figures of the predictions of one split, and of those among them that histology proved."""
    logits, true = logits_of(part, config.task), metrics.class_indices(part["dx"], config.task)
    content = {"lesions": int(part["lesion_id"].nunique()), **summarize(logits, true, config)}
    proven = (part["dx_type"] == "histo").to_numpy(bool) if "dx_type" in part else np.zeros(len(part), bool)
    if proven.any():
        summary = summarize(logits[proven], true[proven], config)
        content["histology_only"] = {name: summary[name] for name in HEADLINE}
    return content


def elsewhere(point: dict[str, Any]) -> dict[str, Any]:
    """Prevalence in percent -> what an operating point means there; {} where sensitivity or specificity is None."""
    measured = point["sensitivity"], point["specificity"]
    if None in measured:
        return {}
    return {f"{share:.0%}": metrics.at_prevalence(*measured, share) for share in PREVALENCES}


def break_down(part: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """Intervals, subgroups, worst errors, calibration, prediction sets and test-retest of one split's predictions.

    Sensitivity and specificity are those of the first, the default operating point.
    """
    task, true = config.task, metrics.class_indices(part["dx"], config.task)
    probabilities = metrics.softmax(logits_of(part, task), config.temperature)
    threshold = next(iter(config.thresholds.values())).value
    whole = part.assign(lesion_id=partition.canonical(part["lesion_id"]))
    lesions = whole["lesion_id"].to_numpy(str)
    score, sick = metrics.malignancy(probabilities, task), np.isin(true, task.positive_indices)
    sets = {}
    if config.conformal:
        answered = ~conformal.silent(probabilities, config.conformal, task.classes)
        told = metrics.operating_point(score[answered], sick[answered], threshold)
        rates = {f"{name}_answered": told[name] for name in ("sensitivity", "specificity")}
        sets = {"conformal": conformal.measure(probabilities, true, lesions, task.classes, config.conformal) | rates}
    return {
        "intervals": breakdown.intervals(probabilities, true, lesions, task, threshold),
        "subgroups": breakdown.subgroups(probabilities, true, whole, task, threshold),
        "worst_errors": breakdown.worst_errors(probabilities, true, part["image_id"].to_numpy(str), task),
        "calibration": cox.calibration(score, sick, lesions),
        "retest": retest.retest(probabilities, lesions, task, threshold),
        **sets,
        **traits.of_traits(part, score, sick, lesions),
    }


def summarize(logits: NDArray[np.float32], true: NDArray[np.int64], config: ModelConfig) -> dict[str, Any]:
    """`metrics.summarize` of (N, C) logits at a model's temperature and thresholds."""
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    content = metrics.summarize(metrics.softmax(logits, config.temperature), true, config.task, values)
    for point in content["operating_points"].values():
        point["at_prevalence"] = elsewhere(point)
    return content


def describe(table: pd.DataFrame, task: Task, splits: tuple[str, ...] = partition.SPLITS) -> dict[str, Any]:
    """Counts of a table for each split: images, lesions, classes, diagnoses, and what is known of the patients."""
    content = {}
    for split in splits:
        part = table[table["split"] == split]
        counts: dict[str, Any] = {"images": len(part), "lesions": int(part["lesion_id"].nunique())}
        classes = pd.Series([task.class_of(dx) for dx in part["dx"]])
        counts["classes"] = {name: int((classes == name).sum()) for name in task.classes}
        for column in ("dx", *(c for c in ("dx_type", "sex", "localization") if c in part)):
            values = part[column].astype(str).where(part[column].notna(), "unknown").value_counts().sort_index()
            counts[column] = {str(k): int(v) for k, v in values.items()}
        ages = pd.to_numeric(part["age"], errors="coerce") if "age" in part else pd.Series()
        if ages.notna().any():
            counts["age"] = {"median": float(ages.median()), "q25": float(ages.quantile(0.25)),
                             "q75": float(ages.quantile(0.75)), "unknown": int(ages.isna().sum())}  # fmt: skip
        content[split] = counts
    return content


def logits_of(table: pd.DataFrame, task: Task) -> NDArray[np.float32]:
    """(N, C) float32 logits of a table of predictions."""
    return np.asarray(table[logit_columns(task)].to_numpy(np.float32))


def logit_columns(task: Task) -> list[str]:
    """The columns of the logits, in the order of the task's classes."""
    return [f"logit_{name}" for name in task.classes]


def to_csv(table: pd.DataFrame) -> str:
    """A table as text. Nine digits give each float32 back exactly, and with it every figure."""
    return str(table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_predictions(path: Path, task: Task) -> pd.DataFrame:
    """Read a model's predictions; raises DataError when the file is missing, damaged or of another task."""
    text = ("image_id", "lesion_id", "split", "dx", "dx_type", "sex", "localization")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""])
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror or error}): measure the model again.") from error
    except ValueError as error:
        raise DataError(f"{path} is no CSV table ({' '.join(str(error).split())}): measure the model again.") from error
    needed = ["image_id", "lesion_id", "split", "dx", *logit_columns(task)]
    if missing := [name for name in needed if name not in table]:
        raise DataError(f"{path} lacks the column(s) {some(missing)}: measure the model again.")
    _check_rows(path, table, needed, task)
    return table


def _check_rows(path: Path, table: pd.DataFrame, needed: list[str], task: Task) -> None:
    numbers = table[logit_columns(task)].apply(pd.to_numeric, errors="coerce")
    wrong = table[needed].isna().any(axis=1) | ~np.isfinite(numbers).all(axis=1)
    wrong |= ~table["split"].isin(partition.SPLITS[1:]) | table["dx"].map(lambda dx: task.class_of(str(dx)) is None)
    wrong |= table["image_id"].duplicated()
    known = [name for name in ("age", *traits.COLUMNS) if name in table]
    wrong |= (table[known].notna() & table[known].apply(pd.to_numeric, errors="coerce").isna()).any(axis=1)
    if wrong.any():
        lines = some(table.index[wrong] + 2)
        raise DataError(
            f"{path} has line(s) {lines} with an empty cell, a logit or another figure that is no number, an unknown "
            "split or diagnosis, or an image that was there before: measure the model again."
        )
    if empty := [split for split in partition.SPLITS[1:] if not (table["split"] == split).any()]:
        raise DataError(f"{path} has no image of the split(s) {some(empty)}: measure the model again.")
