"""Figures of a model on labelled images, and the last step of a run: choose on validation, read test once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dermhub import (
    backbone,
    calibration,
    checkpoint,
    data,
    measure,
    metrics,
    partition,
    passes,
    seen,
    soup,
    summary,
)
from dermhub.classifier import Classifier
from dermhub.config import ModelConfig
from dermhub.errors import ConfigError, DataError, some
from dermhub.labels import Task
from dermhub.preprocess import to_rgb
from dermhub.training import Fit, predict_all


@dataclass(frozen=True)
class Labelled:
    """Labelled images that a task can score, and what was left out and why."""

    table: pd.DataFrame
    left_out: dict[str, int]


def read_labelled(images: Path, labels: Path, task: Task, split: str = "") -> Labelled:
    """Read `image_id,dx` and find the files; labels that are no class of the task are counted and left out.

    `split` keeps the images of one split of the shipped partition and needs a column lesion_id.
    Raises DataError when nothing is left.
    """
    table = data.read_labels(labels)
    if split:
        if "lesion_id" not in table:
            raise DataError(f"--split {split} needs a column lesion_id in {labels}, which has {some(table.columns)}.")
        table = table[table["lesion_id"].map(partition.shipped()) == split]
        if table.empty:
            raise DataError(f"No lesion of {labels} is in the {split} split of HAM10000: leave --split out.")
    known = np.array([task.class_of(dx) is not None for dx in table["dx"]])
    left_out = {str(dx): int(n) for dx, n in table["dx"][~known].value_counts().sort_index().items()}
    if not known.any():
        raise DataError(
            f"No label of {labels} is a class of the task {task.name!r}: it has {some(left_out)}, "
            f"expected {', '.join(task.classes)}."
        )
    return Labelled(data.attach_paths(table[known], images).reset_index(drop=True), left_out)


def evaluate(classifier: Classifier, labelled: Labelled, workers: int = 0) -> dict[str, Any]:
    """Every figure of a model on labelled images, and how many of these it has learned from, as far as can be told.

    `images_of_training_lesions` goes by the lesion ids of HAM10000; `copies_of_images_learnt_from`, by perceptual hash
    (`dermhub.seen`), counts those among the other images that are not of its test lesions.
    """
    config, table = classifier.config, labelled.table
    logits = passes.logits(classifier, list(table["path"]), workers)
    unknown = "unknown: the table has no lesion_id"
    places = table["lesion_id"].map(partition.shipped()) if "lesion_id" in table else None
    unclear = table["path"] if places is None else table["path"][places.isna()]
    return {
        "model": classifier.name,
        "task": config.task.name,
        "left_out": labelled.left_out,
        "lesions": None if places is None else int(table["lesion_id"].nunique()),
        "images_of_training_lesions": unknown if places is None else int(places.isin(["train", "validation"]).sum()),
        "copies_of_images_learnt_from": _copies(classifier, list(unclear)),
        **summary.summarize(logits, data.targets(table, config.task), config),
    }


def _copies(classifier: Classifier, paths: list[str]) -> int | str:
    if classifier.seen is None:
        return f"unknown: the model has no {seen.NAME}"
    return sum(classifier.seen.find(to_rgb(path)) is not None for path in paths)


def finish(fit: Fit, folder: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """Turn a finished fit into a model folder: calibrate on validation, measure test once, write the card.

    Returns the content of metrics.json. Everything that is chosen here is chosen on validation. Raises LeakError
    when a lesion stands in two splits: there is no card for such figures.
    """
    partition.check(fit.table)
    model, config, chosen = choose(fit, provenance)
    checkpoint.save(folder, model, config, half=fit.config.weights == "fp16")
    before = measure.Before(fit.config.name or fit.task.name, chosen)
    return measure.measure(folder, fit.table, before, fit.history, workers=fit.config.workers)


def choose(fit: Fit, provenance: dict[str, Any]) -> tuple[nn.Module, ModelConfig, dict[str, Any]]:
    """Fold the prior correction into the classifier's bias, then fit temperature and thresholds; validation only.

    Returns the model to release, what it means, and what was chosen.
    """
    task, paths, workers = fit.task, list(fit.held_out["path"]), fit.config.workers
    true = data.targets(fit.held_out, task)
    offset = calibration.directions(fit.targets, task)
    model = soup.stir(fit.average, fit.soup)
    if fit.config.weights == "fp16":
        # Everything is chosen for the weights that are released.
        checkpoint.round_half(model)
    raw = predict_all(model, paths, fit.spec, workers)
    if not np.isfinite(raw).all():
        raise ConfigError("The trained weights give no finite numbers: lower --lr, or use --bf16 off.")
    exponent = calibration.choose_exponent(raw, true, offset, task)
    with torch.no_grad():
        bias = backbone.classifier(model).bias
        bias.add_(torch.as_tensor(exponent * offset, dtype=bias.dtype, device=bias.device))
    logits = predict_all(model, paths, fit.spec, workers)
    temperature = calibration.fit_temperature(logits, true)
    score = metrics.malignancy(metrics.softmax(logits, temperature), task)
    config = ModelConfig(
        architecture=fit.config.model,
        task=task,
        input=fit.spec,
        temperature=temperature,
        thresholds=calibration.choose_thresholds(score, np.isin(true, task.positive_indices)),
        provenance=provenance,
    )
    return (
        model,
        config,
        {
            "split": "validation",
            "prior_exponent": exponent,
            "prior_offset": dict(zip(task.classes, (round(float(v), 6) for v in offset), strict=True)),
            "temperature": temperature,
            "ece_before_temperature": metrics.expected_calibration_error(metrics.softmax(logits), true),
        },
    )
