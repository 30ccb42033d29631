"""From predictions to every figure of a card, without an image or a network.

`measure` writes what this gives and `verify` works it out again, so the two can't drift apart. A
table of predictions has one row an image: image_id, lesion_id, split (validation or test), dx, what
is known of the patient, and `logit_<class>` for each class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.data import partition
from dermhub.evaluation import bootstrap, calibration, metrics, robustness, subgroups
from dermhub.evaluation.predictions import logits_of
from dermhub.models import conformal, prediction
from dermhub.models.config import ModelConfig
from dermhub.tasks import Task

PREVALENCES = (0.01, 0.02, 0.1, 0.2)
"""Shares of malignant lesions among those examined, from screening to a specialist's clinic."""


HEADLINE = (
    "n",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_auroc",
    "malignancy_auroc",
    "ece",
    "brier",
)
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
    """Headline figures of the predictions of one split, and of those among them that histology
    proved.
    """
    logits, true = logits_of(part, config.task), prediction.class_indices(part["dx"], config.task)
    content = {"lesions": int(part["lesion_id"].nunique()), **summarize(logits, true, config)}
    proven = (
        (part["dx_type"] == "histo").to_numpy(bool)
        if "dx_type" in part
        else np.zeros(len(part), bool)
    )
    if proven.any():
        summary = summarize(logits[proven], true[proven], config)
        content["histology_only"] = {name: summary[name] for name in HEADLINE}
    return content


def at_prevalences(point: dict[str, Any]) -> dict[str, Any]:
    """Prevalence in percent -> what an operating point means there; {} where sensitivity or
    specificity is None.
    """
    measured = point["sensitivity"], point["specificity"]
    if None in measured:
        return {}
    return {f"{share:.0%}": metrics.at_prevalence(*measured, share) for share in PREVALENCES}


def break_down(part: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """Intervals, subgroups, worst errors, calibration, prediction sets and test-retest of one
    split's predictions.

    Sensitivity and specificity are those of the first, the default operating point.
    """
    task, true = config.task, prediction.class_indices(part["dx"], config.task)
    probabilities = prediction.softmax(logits_of(part, task), config.temperature)
    threshold = next(iter(config.thresholds.values())).value
    whole = part.assign(lesion_id=partition.canonical(part["lesion_id"]))
    lesions = whole["lesion_id"].to_numpy(str)
    score, sick = prediction.malignancy(probabilities, task), np.isin(true, task.positive_indices)
    sets = {}
    if config.conformal:
        answered = ~conformal.abstains(probabilities, config.conformal, task.classes)
        told = metrics.operating_point(score[answered], sick[answered], threshold)
        rates = {f"{name}_answered": told[name] for name in ("sensitivity", "specificity")}
        sets = {
            "conformal": conformal.set_figures(
                probabilities, true, lesions, task.classes, config.conformal
            )
            | rates
        }
    return {
        "intervals": bootstrap.intervals(probabilities, true, lesions, task, threshold),
        "subgroups": subgroups.subgroups(probabilities, true, whole, task, threshold),
        "worst_errors": subgroups.worst_errors(
            probabilities, true, part["image_id"].to_numpy(str), task
        ),
        "calibration": calibration.recalibration(score, sick, lesions),
        "retest": subgroups.retest_figures(probabilities, lesions, task, threshold),
        **sets,
        **robustness.robustness_figures(part, score, sick, lesions),
    }


def summarize(
    logits: NDArray[np.float32], true: NDArray[np.int64], config: ModelConfig
) -> dict[str, Any]:
    """`metrics.summarize` of (N, C) logits at a model's temperature and thresholds."""
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    content = metrics.summarize(
        prediction.softmax(logits, config.temperature), true, config.task, values
    )
    for point in content["operating_points"].values():
        point["at_prevalence"] = at_prevalences(point)
    return content


def describe(
    table: pd.DataFrame, task: Task, splits: tuple[str, ...] = partition.SPLITS
) -> dict[str, Any]:
    """Counts of a table for each split: images, lesions, classes, diagnoses, and what is known of
    the patients.
    """
    content = {}
    for split in splits:
        part = table[table["split"] == split]
        counts: dict[str, Any] = {"images": len(part), "lesions": int(part["lesion_id"].nunique())}
        classes = pd.Series([task.class_of(dx) for dx in part["dx"]])
        counts["classes"] = {name: int((classes == name).sum()) for name in task.classes}
        for column in ("dx", *(c for c in ("dx_type", "sex", "localization") if c in part)):
            values = (
                part[column]
                .astype(str)
                .where(part[column].notna(), "unknown")
                .value_counts()
                .sort_index()
            )
            counts[column] = {str(k): int(v) for k, v in values.items()}
        ages = pd.to_numeric(part["age"], errors="coerce") if "age" in part else pd.Series()
        if ages.notna().any():
            counts["age"] = {"median": float(ages.median()), "q25": float(ages.quantile(0.25)),
                             "q75": float(ages.quantile(0.75)), "unknown": int(ages.isna().sum())}  # fmt: skip
        content[split] = counts
    return content


def headline(content: dict[str, dict[str, float]]) -> str:
    """The figures that a person looks at first, in one line."""
    test = content["test"]
    return (
        f"test, {test['n']} images of {test['lesions']} lesions: accuracy {test['accuracy']:.4f}, "
        f"balanced accuracy {test['balanced_accuracy']:.4f}, malignancy AUROC "
        f"{test['malignancy_auroc']:.4f}"
    )
