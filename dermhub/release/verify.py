"""Work every figure of a model's card out again from the predictions that ship with it, without an
image.

The chain is closed: the two tables of predictions give metrics.json, metrics.json and config.json
give the card, and the hashes in them are those of the files beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermhub import files, layout
from dermhub.cards import comparison
from dermhub.data import partition, tables
from dermhub.errors import DataError, LeakError, some
from dermhub.evaluation import calibration, class_maps, external, metrics, predictions, summary
from dermhub.layout import CONFIG, METRICS, WEIGHTS
from dermhub.models import conformal, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.folder import ModelFolder
from dermhub.scoring import inference

TOLERANCE = 2e-6
"""Largest difference of two figures: intervals have six digits, and a machine may round the last
the other way.
"""

NOT_RECOMPUTED = {
    "latency": "the time of an answer (it depends on the machine)",
    "selection.prior_exponent": "the shift between frequent and rare classes (it needs the "
    "training run)",
    "selection.prior_offset": "what that shift is measured in (it needs the training images)",
    "data.train": "the counts of the training split (its images have no predictions)",
    "weights.parameters": "the number of parameters (it needs PyTorch)",
    "weights.memory_format": "the memory layout (it needs PyTorch)",
    "image_sizes": "the sizes of the image files",
    "maps.cascade": "the maps of destroyed models (they need the images)",
}
"""Part of metrics.json -> what it is; these need images, time or the run, and are taken as they
stand.
"""

CHOSEN = {"temperature": 0.002, "thresholds": 2e-5, "least": 2e-5, "ece": 0.005}
"""What is chosen on validation -> the largest difference that another engine's logits can make to
it.

An ECE jumps where a probability crosses the border of a bin.
"""


@dataclass(frozen=True)
class Report:
    """What `verify` found: `figures` were compared, and each of `differences` is a sentence without
    its full stop.
    """

    folder: Path
    figures: int
    differences: tuple[str, ...]


def verify(path: Path) -> Report:
    """Compare a model folder's metrics.json, card and hashes with what its predictions give.

    Raises LeakError when the tables show a lesion on both sides of a split, and DataError or
    ModelError when a file is missing or can't be read.
    """
    folder = ModelFolder(path)
    config = folder.config
    content = files.read_json(path / METRICS)
    if not isinstance(content, dict):
        raise DataError(f"{path / METRICS} is no JSON object: measure the model again.")
    table = read_table(folder)
    found = _blocks(folder, table)
    pairs = [
        pair for block, value in found.items() for pair in leaves(content.get(block), value, block)
    ]
    differs = [f"{METRICS} has {place} {stated!r}, the predictions give {due!r}" for place, stated, due in pairs
               if not same(stated, due)]  # fmt: skip
    differs += list(_files(folder, content))
    validation = table[table["split"] == "validation"]
    chosen = list(choices(validation, config))
    differs += [f"{CONFIG} has {place} {stated!r}, the validation images give {due!r}"
                for place, stated, due, far in chosen if abs(stated - due) > far]  # fmt: skip
    selection = content.get("selection")
    told = list(_selection(selection if isinstance(selection, dict) else {}, validation, config))
    differs += [f"{METRICS} has selection.{place} {stated!r}, expected {due!r}" for place, stated, due, as_due in told
                if not as_due]  # fmt: skip
    if not differs:
        # Only then: the card of wrong figures is wrong in the same places.
        card = comparison.difference(comparison.read_card(path), config, content)
        differs += [card] if card else []
    return Report(path, len(pairs) + len(chosen) + len(told), tuple(differs))


def choices(part: pd.DataFrame, config: ModelConfig) -> Iterator[tuple[str, float, float, float]]:
    """(place, stated, due, tolerance) of what config.json says was chosen on the validation rows of
    the predictions.
    """
    logits, true = (
        predictions.logits_of(part, config.task),
        prediction.class_indices(part["dx"], config.task),
    )
    yield (
        "temperature",
        config.temperature,
        calibration.fit_temperature(logits, true),
        CHOSEN["temperature"],
    )
    sure = prediction.softmax(logits, config.temperature)
    sick = np.isin(true, config.task.positive_indices)
    due = calibration.choose_thresholds(prediction.malignancy(sure, config.task), sick)
    for name, threshold in config.thresholds.items():
        if name in due:
            yield f"thresholds.{name}", threshold.value, due[name].value, CHOSEN["thresholds"]
    if config.conformal:
        lesions = partition.canonical(part["lesion_id"]).to_numpy(str)
        fitted = conformal.fit(sure, true, lesions, config.task.classes, config.conformal.level)
        for name, least in fitted.least.items():
            yield f"conformal.least.{name}", config.conformal.least[name], least, CHOSEN["least"]


def _selection(
    stated: dict[str, Any], part: pd.DataFrame, config: ModelConfig
) -> Iterator[tuple[str, Any, Any, bool]]:
    """(key, stated, due, whether they agree) of what metrics.json tells of the choice on
    validation, but its shift.
    """
    yield "split", stated.get("split"), "validation", stated.get("split") == "validation"
    temperature = stated.get("temperature")
    yield "temperature", temperature, config.temperature, same(temperature, config.temperature)
    raw = prediction.softmax(predictions.logits_of(part, config.task))
    due = metrics.expected_calibration_error(raw, prediction.class_indices(part["dx"], config.task))
    ece = stated.get("ece_before_temperature")
    yield "ece_before_temperature", ece, due, type(ece) is float and abs(ece - due) <= CHOSEN["ece"]


def recompute(folder: ModelFolder) -> dict[str, Any]:
    """All blocks of metrics.json that the two tables of predictions in a model folder give.

    Raises what `read_table` raises.
    """
    return _blocks(folder, read_table(folder))


def read_table(folder: ModelFolder) -> pd.DataFrame:
    """The predictions of a model folder.

    Raises LeakError when a lesion stands in two splits, or where the model says that it never does:
    in another split than the shipped partition gives it.
    """
    config = folder.config
    table = predictions.read_predictions(folder.path / layout.PREDICTIONS, config.task)
    partition.check(table)
    _check_places(table, config)
    return table


def _blocks(folder: ModelFolder, table: pd.DataFrame) -> dict[str, Any]:
    path, config = folder.path / layout.EXTERNAL, folder.config
    others = (
        external.external_figures(external.read_external(path, config.task), config)
        if path.is_file()
        else {}
    )
    return {
        **summary.recompute(table, config),
        "external": others,
        "maps": _maps(folder.path, table, config),
        "data": summary.describe(table, config.task, partition.SPLITS[1:]),
    }


def _maps(folder: Path, table: pd.DataFrame, config: ModelConfig) -> dict[str, Any] | None:
    """The block `maps` but for its cascade, or None where no map was held against a mask."""
    path, test = folder / layout.MAPS, table[table["split"] == "test"]
    return (
        class_maps.map_figures(class_maps.read_maps(path, test), test, config)
        if path.is_file()
        else None
    )


def leaves(stated: Any, due: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """(place, stated, due) of every value of two JSON trees; None where one of them has no such
    value.
    """
    if isinstance(stated, dict) and isinstance(due, dict):
        for key in {**due, **stated}:
            if key not in NOT_RECOMPUTED and f"{place}.{key}" not in NOT_RECOMPUTED:
                yield from leaves(stated.get(key), due.get(key), f"{place}.{key}")
    elif isinstance(stated, list) and isinstance(due, list) and len(stated) == len(due):
        for index, (one, other) in enumerate(zip(stated, due, strict=True)):
            yield from leaves(one, other, f"{place}[{index}]")
    else:
        yield place, stated, due


def same(stated: Any, due: Any) -> bool:
    """Whether two values are one figure: equal, or numbers that differ by rounding alone."""
    numbers = all(type(value) in (int, float) for value in (stated, due))
    if numbers and float in (type(stated), type(due)):
        return math.isclose(stated, due, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(stated) is type(due) and bool(stated == due)


def _check_places(table: pd.DataFrame, config: ModelConfig) -> None:
    if not config.provenance.get("data", {}).get("ham10000_lesions"):
        return
    moved = table[table["lesion_id"].map(partition.shipped()) != table["split"]]
    if len(moved):
        raise LeakError(
            f"{moved['lesion_id'].nunique()} lesion(s) are not in the split that the shipped "
            f"partition gives them ({some(moved['lesion_id'].unique())}): the model may have been "
            "trained on them."
        )


def _files(folder: ModelFolder, content: dict[str, Any]) -> Iterator[str]:
    """Differences between the files of a folder and the hashes that are stated of them."""
    for name, stated in folder.hashes.items():
        path = folder.path / name
        if not path.is_file():
            yield f"there is no {name}, of which {CONFIG} states the sha256"
        elif (actual := files.sha256(path)) != stated:
            yield f"{name} has the sha256 {actual}, {CONFIG} states {stated}"
    weights, path = content.get("weights"), folder.path / WEIGHTS
    weights = weights if isinstance(weights, dict) else {}
    if path.is_file():
        size, megabytes = round(path.stat().st_size / 1e6, 1), weights.get("megabytes")
        if not same(megabytes, size):
            yield f"{METRICS} has weights.megabytes {megabytes!r}, the file has {size!r}"
    measured, stated = weights.get("sha256"), folder.config.weights_sha256
    if measured != stated:
        yield f"{METRICS} has weights.sha256 {measured!r}, {CONFIG} states {stated!r}"


PROBABILITY_TOLERANCE = 0.01
"""Largest difference of a probability: another processor adds up in another order, and decodes JPEG
its own way.
"""


def check_logits(folder: Path, images: Path, workers: int = 0) -> tuple[int, list[str]]:
    """The number of images, and one sentence (without its full stop) for each whose probabilities
    differ.

    Raises DataError when the images of predictions.csv are not all below `images`.
    """
    classifier = Classifier(folder)
    task = classifier.config.task
    table = tables.attach_paths(
        predictions.read_predictions(folder / layout.PREDICTIONS, task), images
    )
    found = inference.logits(classifier, list(table["path"]), workers)
    stated = prediction.softmax(predictions.logits_of(table, task), classifier.config.temperature)
    apart = np.abs(prediction.softmax(found, classifier.config.temperature) - stated).max(axis=1)
    far = np.flatnonzero(~(apart <= PROBABILITY_TOLERANCE))
    return len(table), [
        f"the weights give {table['image_id'][i]} probabilities that differ by {apart[i]:.4f} from "
        f"those of {layout.PREDICTIONS}, expected at most {PROBABILITY_TOLERANCE}"
        for i in far
    ]
