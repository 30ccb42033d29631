"""Figures of a model on labelled images, and the last step of a run: choose on validation, read test once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from dermhub import backbone, breakdown, calibration, cards, checkpoint, cost, data, figures, files, metrics, partition
from dermhub.classifier import Classifier
from dermhub.config import ModelConfig
from dermhub.errors import ConfigError, DataError, some
from dermhub.labels import Task
from dermhub.training import Fit, predict_all

FIGURES = "figures"


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
    """Every figure of a model on labelled images, and how many of their lesions it was trained on."""
    config, table = classifier.config, labelled.table
    logits = predict_all(classifier.model, list(table["path"]), config.input, workers)
    seen = "unknown: the table has no lesion_id"
    places = table["lesion_id"].map(partition.shipped()) if "lesion_id" in table else None
    return {
        "model": classifier.name,
        "task": config.task.name,
        "left_out": labelled.left_out,
        "lesions": None if places is None else int(table["lesion_id"].nunique()),
        "images_of_training_lesions": seen if places is None else int(places.isin(["train", "validation"]).sum()),
        **_summary(logits, data.targets(table, config.task), config),
    }


def finish(fit: Fit, folder: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """Turn a finished fit into a model folder: calibrate on validation, measure test once, write the card.

    Returns the content of metrics.json. Everything that is chosen here is chosen on validation. Raises LeakError
    when a lesion stands in two splits: there is no card for such figures.
    """
    partition.check(fit.table)
    model, config, chosen = choose(fit, provenance)
    checkpoint.save(folder, model, config)
    # What is measured is what was saved, read back as anyone else would read it.
    saved = Classifier(folder)
    config = saved.config
    content: dict[str, Any] = {
        "model": fit.config.name or fit.task.name,
        "task": fit.task.name,
        "overlap": partition.overlap(fit.table),
        "weights": cost.weights(saved),
        "latency": cost.latency(saved),
        "selection": chosen,
    }
    rows = []
    for split in ("validation", "test"):
        part = fit.table[fit.table["split"] == split]
        logits = predict_all(saved.model, list(part["path"]), config.input, fit.config.workers)
        true = data.targets(part, fit.task)
        content[split] = {"lesions": int(part["lesion_id"].nunique()), **_summary(logits, true, config)}
        if "dx_type" in part:
            proven = (part["dx_type"] == "histo").to_numpy(bool)
            if proven.any():
                content[split]["histology_only"] = _headline(_summary(logits[proven], true[proven], config))
        rows.append(_predictions(part, logits, fit.task))
        if split == "test":
            content[split] |= break_down(logits, true, part, config)
            _draw(folder / FIGURES, logits, true, config)
    content["data"] = describe(fit.table, fit.task)
    for split, counts in content["data"].items():
        counts["image_sizes"] = image_sizes(list(fit.table["path"][fit.table["split"] == split]))
    figures.curves(folder / FIGURES / "curves.png", fit.history)
    figures.overview(folder / FIGURES / "data.png", fit.table)
    # Nine digits give each float32 back exactly, and with it every figure.
    files.write_text(folder / "predictions.csv", pd.concat(rows).to_csv(index=False, float_format="%.9g"))
    files.write_json(folder / "metrics.json", content)
    files.write_text(folder / "README.md", cards.render(config, content))
    return content


def choose(fit: Fit, provenance: dict[str, Any]) -> tuple[nn.Module, ModelConfig, dict[str, Any]]:
    """Fold the prior correction into the classifier's bias, then fit temperature and thresholds; validation only.

    Returns the model to release, what it means, and what was chosen.
    """
    task, paths, workers = fit.task, list(fit.held_out["path"]), fit.config.workers
    true = data.targets(fit.held_out, task)
    drawn = fit.targets[data.epoch_order(fit.diagnoses, fit.config.sampling, (fit.config.seed, 0))]
    offset = calibration.prior_offset(fit.targets, drawn, len(task.classes))
    raw = predict_all(fit.average, paths, fit.spec, workers)
    if not np.isfinite(raw).all():
        raise ConfigError("The trained weights give no finite numbers: lower --lr, or use --bf16 off.")
    exponent = calibration.choose_exponent(raw, true, offset, task)
    model = copy.deepcopy(fit.average)
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


def break_down(
    logits: NDArray[np.float32], true: NDArray[np.int64], part: pd.DataFrame, config: ModelConfig
) -> dict[str, Any]:
    """Intervals, subgroups and worst errors of (N, C) logits, true classes (N,) and the table's N rows.

    Sensitivity and specificity are those of the first, the default operating point.
    """
    probabilities, task = metrics.softmax(logits, config.temperature), config.task
    threshold = next(iter(config.thresholds.values())).value
    whole = part.assign(lesion_id=part["lesion_id"].replace(partition.SAME_LESION))
    lesions = whole["lesion_id"].to_numpy(str)
    return {
        "intervals": breakdown.intervals(probabilities, true, lesions, task, threshold),
        "subgroups": breakdown.subgroups(probabilities, true, whole, task, threshold),
        "worst_errors": breakdown.worst_errors(probabilities, true, part["image_id"].to_numpy(str), task),
    }


def describe(table: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Counts of a table for each split: images, lesions, classes, diagnoses, and what is known of the patients."""
    content = {}
    for split in partition.SPLITS:
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


def image_sizes(paths: list[str]) -> dict[str, int]:
    """'width x height' in pixels -> number of image files, from their headers, the most frequent first.

    HAM10000 goes round in several resolutions, and the figures depend on which it was.
    """
    sizes: dict[str, int] = {}
    for path in paths:
        with Image.open(path) as image:
            name = f"{image.width} x {image.height}"
        sizes[name] = sizes.get(name, 0) + 1
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _summary(logits: NDArray[np.float32], true: NDArray[np.int64], config: ModelConfig) -> dict[str, Any]:
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    return metrics.summarize(metrics.softmax(logits, config.temperature), true, config.task, values)


def _headline(summary: dict[str, Any]) -> dict[str, Any]:
    names = ("n", "accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "malignancy_auroc", "ece", "brier")
    return {name: summary[name] for name in names}


def _predictions(part: pd.DataFrame, logits: NDArray[np.float32], task: Task) -> pd.DataFrame:
    kept = part[["image_id", "lesion_id", "split", "dx"]].reset_index(drop=True)
    return pd.concat([kept, pd.DataFrame(logits, columns=[f"logit_{name}" for name in task.classes])], axis=1)


def _draw(folder: Path, logits: NDArray[np.float32], true: NDArray[np.int64], config: ModelConfig) -> None:
    task, probabilities = config.task, metrics.softmax(logits, config.temperature)
    matrix = metrics.confusion_matrix(true, probabilities.argmax(axis=1), len(task.classes)).tolist()
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    figures.confusion(folder / "confusion_matrix.png", matrix, task, f"test, n = {len(true)}")
    figures.roc(folder / "roc.png", probabilities, true, task, values)
    figures.reliability(folder / "reliability.png", probabilities, true, f"test, n = {len(true)}")
