"""Figures of an index of similar cases, from cases.csv and the predictions, without an image.

A case is right where its class is that of the image. The vote of an image is the share of its
nearest cases in each class. Number of voters, and the weight of the vote beside the model's
probability, are chosen on validation, by the AUROC of malignancy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.data import partition
from dermhub.errors import DataError
from dermhub.evaluation import metrics, predictions
from dermhub.evaluation.bootstrap import Resamples
from dermhub.evaluation.cases import table as cases_table
from dermhub.models import prediction
from dermhub.models.beside.case_index import CaseIndex
from dermhub.models.beside.similar_cases import AGREEING, SHOWN
from dermhub.models.config import ModelConfig

FIRST = (1, 5, 10)
"""Numbers of nearest cases whose precision is reported."""

VOTERS = (SHOWN, 20, 50)
"""Numbers of nearest cases whose vote is reported."""

WEIGHTS = tuple(step / 10 for step in range(11))
"""Weights of the vote from which one is chosen; the probability has the rest."""

SHARE = 100
"""Images that are compared with the index at a time, so that memory stays small."""


@dataclass(frozen=True)
class Part:
    """N images of a split with their cases.

    `true` (N,) and `nearest` (N, 50) are class indices, of the images and of their nearest cases;
    `average` (N,) is each image's average precision, NaN where the index has no such case.
    `probabilities` is (N, C). `all_nearest` and `all_precision` are those of cases.csv.
    """

    true: Ints
    nearest: Ints
    average: Floats64
    probabilities: Floats64
    malignant: NDArray[np.bool_]
    resamples: Resamples
    all_nearest: Ints | None
    all_precision: Floats64

    def vote(self, voters: int) -> Floats64:
        """Return the share of the nearest cases in each class, (N, C)."""
        near = self.nearest[:, :voters, None]
        classes = np.arange(self.probabilities.shape[1])
        return np.asarray((near == classes).mean(axis=1))


def case_figures(
    index: CaseIndex,
    cases: pd.DataFrame,
    rows: pd.DataFrame,
    external: pd.DataFrame | None,
    config: ModelConfig,
) -> dict[str, Any]:
    """Work out the block `cases` of metrics.json, all but its `latency`.

    `cases` is the table of cases.csv, `rows` that of the predictions, and `external` that of the
    external test, if any. Raises DataError where they are not of the same images.
    """
    tables = {split: rows[rows["split"] == split] for split in ("validation", "test")}
    if external is not None:
        tables["ph2"] = external.assign(lesion_id=external["image_id"])
    parts = {
        split: _part(index, cases[cases["split"] == split], table, config)
        for split, table in tables.items()
        if split != "ph2" or (cases["split"] == "ph2").any()
    }
    voters, weight = _choose(parts["validation"], config)
    entries = index.entries
    return {
        "lesions": len(index),
        "dimensions": index.codes.shape[1],
        "diagnoses": _counts([entry.diagnosis for entry in entries]),
        "confirmations": _counts([entry.confirmation for entry in entries]),
        "chosen": {"split": "validation", "voters": voters, "weight": weight},
        **{
            {"ph2": "external"}.get(split, split): _figures(part, config, voters, weight)
            for split, part in parts.items()
        },
    }


def average_precision(right: NDArray[np.bool_]) -> Floats64:
    """Return the average precision of ranked lists (N, M), NaN where nothing in one is right.

    It is the mean, over the right items, of the share of right items up to there.
    """
    found = right.cumsum(axis=1)
    ranks = np.arange(1, right.shape[1] + 1)
    sums = np.where(right, found / ranks, 0.0).sum(axis=1)
    return metrics.ratio(sums, found[:, -1].astype(float))


def _part(index: CaseIndex, cases: pd.DataFrame, table: pd.DataFrame, config: ModelConfig) -> Part:
    """Find the cases of a split's images, whose rows of the predictions are `table`."""
    table = table.reset_index(drop=True)
    cases = table[["image_id"]].merge(cases, on="image_id", how="left")
    if not len(table) or cases["code"].isna().any():
        raise DataError(
            f"cases.csv lacks {int(cases['code'].isna().sum())} of {len(table)} images of the "
            "predictions: measure the model again with --cases."
        )
    task = config.task
    of_case = prediction.class_indices((entry.diagnosis for entry in index.entries), task)
    true = prediction.class_indices(table["dx"], task)
    codes = cases_table.codes_of(cases)
    nearest, average = [], []
    for start in range(0, len(codes), SHARE):
        squares = index.squares(codes[start : start + SHARE])
        ranked = of_case[np.argsort(squares, axis=1, kind="stable")]
        nearest.append(ranked[:, : max(VOTERS)])
        average.append(average_precision(ranked == true[start : start + SHARE, None]))
    lesions = partition.canonical(table["lesion_id"]).to_numpy(str)
    logits = predictions.logits_of(table, task)
    return Part(
        true,
        np.concatenate(nearest),
        np.concatenate(average),
        prediction.calibrated(logits, config),
        np.isin(true, task.positive_indices),
        Resamples.draw(lesions),
        _all_nearest(cases, config),
        cases["all_precision"].to_numpy(float),
    )


def _all_nearest(cases: pd.DataFrame, config: ModelConfig) -> Ints | None:
    """Return the classes (N, 10) of the nearest of all lesions; None where they are not there."""
    texts = list(cases["all_nearest"])
    if not all(texts):
        return None
    return np.stack([prediction.class_indices(text.split(), config.task) for text in texts])


def _choose(part: Part, config: ModelConfig) -> tuple[int, float]:
    """Choose the number of voters and the weight of their vote; the first of equal ones."""
    score = prediction.malignancy(part.probabilities, config.task)
    alone = {
        number: metrics.auroc(prediction.malignancy(part.vote(number), config.task), part.malignant)
        for number in VOTERS
    }
    voters = max(alone, key=lambda number: alone[number] or 0.0)
    vote = prediction.malignancy(part.vote(voters), config.task)
    both = {
        weight: metrics.auroc(_mixed(score, vote, weight), part.malignant) for weight in WEIGHTS
    }
    return voters, max(both, key=lambda weight: both[weight] or 0.0)


def _mixed(score: Floats64, vote: Floats64, weight: float) -> Floats64:
    return (1 - weight) * score + weight * vote


def _figures(part: Part, config: ModelConfig, voters: int, weight: float) -> dict[str, Any]:
    """Work out the figures of a split's images and their cases."""
    task = config.task
    score = prediction.malignancy(part.probabilities, task)
    vote = prediction.malignancy(part.vote(voters), task)
    both = _mixed(score, vote, weight)

    def gain(weights: Floats64) -> Floats64:
        """Difference of the AUROCs of both together and of the probability alone."""
        pair = (metrics.weighted_auroc(weights, each, part.malignant) for each in (both, score))
        return np.asarray(next(pair) - next(pair))

    right = part.nearest == part.true[:, None]
    compared = None
    if part.all_nearest is not None:
        same = part.all_nearest == part.true[:, None]
        compared = {**_precisions(same), "map": _mean(part.all_precision)}
    return {
        "n": len(part.true),
        **_precisions(right),
        "map": _mean(part.average),
        "bounds": {
            **{f"precision_{k}": _interval(part, right[:, :k].mean(axis=1)) for k in FIRST},
            "map": _interval(part, part.average),
        },
        "all_images": compared,
        "votes": {str(number): _answers(part, part.vote(number), task) for number in VOTERS},
        "softmax": _answers(part, part.probabilities, task),
        "both": {
            "malignancy_auroc": metrics.auroc(both, part.malignant),
            "gain_bounds": part.resamples.interval(gain),
        },
        "note": _noted(part),
        "low": _low(part, score, config),
    }


def _precisions(right: NDArray[np.bool_]) -> dict[str, float]:
    """Return the share of right cases among the first ones, for (N, M) cases."""
    return {f"precision_{k}": float(right[:, :k].mean()) for k in FIRST}


def _answers(part: Part, shares: Floats64, task: Any) -> dict[str, float | None]:
    """Accuracy, balanced accuracy and AUROC of malignancy of shares of the classes (N, C)."""
    called = shares.argmax(axis=1)
    right = called == part.true
    recalls = [right[part.true == each].mean() for each in np.unique(part.true)]
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "malignancy_auroc": metrics.auroc(prediction.malignancy(shares, task), part.malignant),
    }


def _noted(part: Part) -> dict[str, Any]:
    """Count the images beside which the cases contradict the answer, and the right answers."""
    called = part.probabilities.argmax(axis=1)
    agreeing = (part.nearest[:, :SHOWN] == called[:, None]).sum(axis=1)
    noted = agreeing <= AGREEING * part.nearest[:, :SHOWN].shape[1]
    right = called == part.true
    return {
        "n": int(noted.sum()),
        "right": int(right[noted].sum()),
        "others": int((~noted).sum()),
        "others_right": int(right[~noted].sum()),
    }


def _low(part: Part, score: Floats64, config: ModelConfig) -> dict[str, int]:
    """Count the images below the first threshold, and those with malignant cases among six."""
    low = score < next(iter(config.thresholds.values())).value
    near = np.isin(part.nearest[:, :SHOWN], config.task.positive_indices).any(axis=1)
    return {
        "n": int(low.sum()),
        "malignant": int(part.malignant[low].sum()),
        "near": int((low & near).sum()),
        "near_malignant": int(part.malignant[low & near].sum()),
    }


def _mean(values: Floats64) -> float | None:
    """Return the mean of those values that are defined; None where none is."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


def _interval(part: Part, values: Floats64) -> list[float] | None:
    """Return the interval of a mean over the images, from resampled lesions."""
    defined = np.isfinite(values)
    filled = np.where(defined, values, 0.0)
    return part.resamples.interval(
        lambda weights: metrics.ratio(
            (weights * filled).sum(axis=1), (weights * defined).sum(axis=1)
        )
    )


def _counts(values: list[str]) -> dict[str, int]:
    """Count texts, in the order of the alphabet; an empty one counts as unknown."""
    names = [value or "unknown" for value in values]
    return {name: names.count(name) for name in sorted(set(names))}
