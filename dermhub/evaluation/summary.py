"""All figures of a card from a table of predictions, without an image or a network.

`measure` writes these figures and `verify` works them out again, so the two can't drift apart. A
table of predictions has one row an image: image_id, lesion_id, split (validation or test), dx, any
columns on the patient, and `logit_<class>` for each class.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.data import partition
from dermhub.evaluation import (
    bootstrap,
    calibration,
    metrics,
    prediction_sets,
    predictions,
    robustness,
    subgroups,
    zones,
)
from dermhub.evaluation.bootstrap import Resamples
from dermhub.evaluation.predictions import logits_of
from dermhub.models import conformal, prediction
from dermhub.models.config import Conformal, ModelConfig
from dermhub.tasks import Task

PREVALENCES = (0.01, 0.02, 0.1, 0.2)
"""Shares of malignant lesions among those examined, from screening to a specialist's clinic."""

HEADLINE = ("n", *metrics.HEADLINE)
"""Figures reported for a subset of a split."""


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
    """Figures of the predictions of one split, and of the images with a diagnosis from histology.

    The second are under `histology_only`, where there are any.
    """
    logits = logits_of(part, config.task)
    true = prediction.class_indices(part["dx"], config.task)
    content = {
        "lesions": int(part["lesion_id"].nunique()),
        **patients(part),
        **summarize(logits, true, config),
    }
    if "dx_type" in part:
        proven = (part["dx_type"] == "histo").to_numpy(bool)
        if proven.any():
            summary = summarize(logits[proven], true[proven], config)
            content["histology_only"] = {name: summary[name] for name in HEADLINE}
    probabilities = prediction.calibrated(logits, config)
    if config.prior:
        content["rules"] = rule_figures(part, probabilities, config)
    if config.zones:
        malignant = np.isin(true, config.task.positive_indices)
        score = prediction.malignancy(probabilities, config.task)
        content["zones"] = zones.zone_figures(score, malignant, config.zones)
    if predictions.GATE in part:
        content["refused"] = subgroups.refusals(part, config.task)
    return content


def rule_figures(
    part: pd.DataFrame,
    probabilities: Floats64,
    config: ModelConfig,
    resamples: Resamples | None = None,
) -> dict[str, Any]:
    """Figures of the two rules by which a class is named: `label` and `balanced_label`.

    `part` has the rows of the probabilities (N, C). `melanoma_recall` is the share of melanomas
    that are named as such, or, with two classes, as malignant; None where the data name no
    melanoma. With `resamples`, `bounds` is the interval of the balanced accuracy.
    """
    true = prediction.class_indices(part["dx"], config.task)
    melanoma = (part["dx"] == "mel").to_numpy(bool)
    rules = {"label": probabilities, "balanced_label": prediction.balanced(probabilities, config)}
    content: dict[str, dict[str, Any]] = {}
    for name, values in rules.items():
        right = values.argmax(axis=1) == true
        figure = functools.partial(metrics.weighted_balanced_accuracy, right=right, targets=true)
        balanced = figure(np.ones((1, len(true))))[0]
        content[name] = {
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(balanced),
            "melanoma_recall": float(right[melanoma].mean()) if melanoma.any() else None,
        }
        if resamples:
            content[name]["bounds"] = resamples.interval(figure)
    return content


def at_prevalences(point: dict[str, Any]) -> dict[str, Any]:
    """Prevalence in percent -> predictive values and errors there (`metrics.at_prevalence`).

    {} where the point's sensitivity or specificity is None.
    """
    rates = point["sensitivity"], point["specificity"]
    if None in rates:
        return {}
    return {f"{share:.0%}": metrics.at_prevalence(*rates, share) for share in PREVALENCES}


def break_down(part: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """Break the figures of one split's predictions down.

    Intervals, subgroups, worst errors, calibration, test-retest, prediction sets and robustness.
    Sensitivity and specificity are those of the first operating point, the default.
    """
    task = config.task
    true = prediction.class_indices(part["dx"], task)
    refused = predictions.refused(part)
    probabilities = prediction.calibrated(logits_of(part, task), config)
    threshold = next(iter(config.thresholds.values())).value
    score = prediction.malignancy(probabilities, task)
    malignant = np.isin(true, task.positive_indices)
    canonical = part.assign(lesion_id=partition.canonical(part["lesion_id"]))
    lesions = canonical["lesion_id"].to_numpy(str)
    resamples = Resamples.draw(lesions)
    ids = part["image_id"].to_numpy(str)
    content = {
        "intervals": bootstrap.intervals(resamples, probabilities, true, task, threshold),
        "subgroups": subgroups.subgroups(probabilities, true, canonical, task, threshold),
        "worst_errors": subgroups.worst_errors(probabilities, true, ids, task),
        "calibration": calibration.recalibration(score, malignant, resamples),
        "retest": subgroups.retest_figures(probabilities, lesions, task, threshold),
    }
    if config.conformal:
        content["conformal"] = _set_figures(
            probabilities, true, lesions, task, config.conformal, threshold, refused
        )
    if config.prior:
        content["rules"] = rule_figures(part, probabilities, config, resamples)
    if config.zones:
        content["zones"] = zones.zone_figures(score, malignant, config.zones, resamples)
    compression = robustness.compression_figures(part, probabilities, malignant, lesions, config)
    if compression:
        content["compression"] = compression
    return content | robustness.robustness_figures(part, score, malignant, resamples)


def _set_figures(
    probabilities: Floats64,
    true: Ints,
    lesions: NDArray[np.str_],
    task: Task,
    limits: Conformal,
    threshold: float,
    refused: NDArray[np.bool_],
) -> dict[str, Any]:
    """Figures of prediction sets, and sensitivity and specificity of the answers they leave."""
    figures = prediction_sets.set_figures(
        probabilities, true, lesions, task.classes, limits, refused
    )
    answered = ~(conformal.abstains(probabilities, limits, task.classes) | refused)
    score = prediction.malignancy(probabilities[answered], task)
    malignant = np.isin(true[answered], task.positive_indices)
    point = metrics.operating_point(score, malignant, threshold)
    return figures | {f"{name}_answered": point[name] for name in ("sensitivity", "specificity")}


def summarize(
    logits: NDArray[np.float32], true: NDArray[np.int64], config: ModelConfig
) -> dict[str, Any]:
    """`metrics.summarize` of (N, C) logits, calibrated, at a model's thresholds.

    Each operating point also has its predictive values at several prevalences.
    """
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    probabilities = prediction.calibrated(logits, config)
    content = metrics.summarize(probabilities, true, config.task, values)
    for point in content["operating_points"].values():
        point["at_prevalence"] = at_prevalences(point)
    return content


def describe(
    table: pd.DataFrame, task: Task, splits: tuple[str, ...] = partition.SPLITS
) -> dict[str, Any]:
    """Counts of a table for each split: images, lesions, classes, diagnoses, and patients."""
    return {split: _counts(table[table["split"] == split], task) for split in splits}


def _counts(part: pd.DataFrame, task: Task) -> dict[str, Any]:
    counts: dict[str, Any] = {"images": len(part), "lesions": int(part["lesion_id"].nunique())}
    counts |= patients(part)
    classes = [task.class_of(dx) for dx in part["dx"]]
    counts["classes"] = {name: classes.count(name) for name in task.classes}
    for column in ("dx", "dx_type", "sex", "localization"):
        if column in part:
            values = part[column].astype(str).where(part[column].notna(), "unknown")
            frequencies = values.value_counts().sort_index()
            counts[column] = {str(value): int(count) for value, count in frequencies.items()}
    if "age" in part:
        ages = pd.to_numeric(part["age"], errors="coerce")
        if ages.notna().any():
            counts["age"] = {
                "median": float(ages.median()),
                "q25": float(ages.quantile(0.25)),
                "q75": float(ages.quantile(0.75)),
                "unknown": int(ages.isna().sum()),
            }
    return counts


def patients(part: pd.DataFrame) -> dict[str, int]:
    """Return the number of patients as `patients` where lesions are not known, only patients."""
    count = partition.patients_alone(part["lesion_id"])
    return {} if count is None else {"patients": count}


def training_shares(content: dict[str, Any], config: ModelConfig) -> dict[str, float] | None:
    """Return the share of each class among a model's training images, without further images.

    They are those of the counts in metrics.json, less those of --extra in config.json; None where
    the counts are missing.
    """
    try:
        counts = dict(content["data"]["train"]["dx"])
        extra = config.provenance.get("data", {}).get("extra", {}).get("dx", {})
        own = {name: count - extra.get(name, 0) for name, count in counts.items()}
        return calibration.class_shares(own, config.task)
    except (LookupError, TypeError, AttributeError, ValueError):
        return None


def headline(figures: dict[str, Any]) -> str:
    """The figures of the test split that a person looks at first, in one line."""
    test = figures["test"]
    # Where the data name no lesions each file counts as one, which says nothing.
    lesions = "unknown" if figures.get("overlap", 0) is None else test["lesions"]
    of = f"{test['patients']} patients" if "patients" in test else f"{lesions} lesions"
    return (
        f"test, {test['n']} images of {of}: accuracy {test['accuracy']:.4f}, "
        f"balanced accuracy {test['balanced_accuracy']:.4f}, malignancy AUROC "
        f"{test['malignancy_auroc']:.4f}"
    )
