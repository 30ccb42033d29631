"""Verification of a model folder: its figures, computed again from the predictions beside them.

The chain is closed and needs no image: the two tables of predictions give metrics.json,
metrics.json and config.json give the card, and the hashes in them are those of the files. With the
images, `check_logits` tests that the weights give the predictions.
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
from dermhub.errors import DataError, LeakError, ModelError, some
from dermhub.evaluation import calibration, class_maps, external, metrics, predictions, summary
from dermhub.evaluation.cases.figures import case_figures
from dermhub.evaluation.cases.table import read as read_cases
from dermhub.layout import CONFIG, METRICS, WEIGHTS
from dermhub.models import conformal, export, prediction
from dermhub.models.beside.case_index import CaseIndex
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.engines import select
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.scoring import inference

TOLERANCE = 2e-6
"""Largest difference of two figures: the sixth digit of an interval may be rounded either way."""

PROBABILITY_TOLERANCE = 0.01
"""Largest difference of a probability: processors add up, and decode JPEG, in their own ways."""

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
"""Part of metrics.json that needs images, time or the run -> its description."""

CHOSEN = {"temperature": 0.002, "bias": 0.005, "thresholds": 2e-5, "least": 2e-5, "ece": 0.005}
"""Choice on validation -> largest difference that the logits of another engine make to it.

An ECE jumps where a probability crosses the border of a bin.
"""


@dataclass(frozen=True)
class Report:
    """Result of `verify` for a model folder.

    `figures` is the number of figures that were compared; each of `differences` is a sentence
    without its full stop.
    """

    folder: Path
    figures: int
    differences: tuple[str, ...]


def verify(path: Path) -> Report:
    """Compare a model folder's metrics.json, card and hashes with its predictions.

    Raises LeakError when the tables show a lesion on both sides of a split, and DataError or
    ModelError when a file is missing or can't be read.
    """
    folder = ModelFolder(path)
    config = folder.config
    content = files.read_json(path / METRICS)
    if not isinstance(content, dict):
        raise DataError(f"{path / METRICS} is no JSON object: measure the model again.")
    table = read_table(folder)
    validation = table[table["split"] == "validation"]
    figures = [
        triple
        for block, due in _blocks(folder, table).items()
        for triple in _leaves(content.get(block), due, block)
    ]
    choices = list(_choices(validation, config))
    shares = list(_shares(content, config))
    selection = list(_selection(content.get("selection"), validation, config))

    differences = [
        f"{METRICS} has {place} {stated!r}, the predictions give {due!r}"
        for place, stated, due in figures
        if not same(stated, due)
    ]
    differences += _file_differences(folder, content)
    differences += [
        f"{CONFIG} has {place} {stated!r}, the validation images give {due!r}"
        for place, stated, due, tolerance in choices
        if abs(stated - due) > tolerance
    ]
    differences += [
        f"{CONFIG} has {place} {stated!r}, the counts of {METRICS} give {due!r}"
        for place, stated, due in shares
        if not same(stated, due)
    ]
    differences += [
        f"{METRICS} has selection.{key} {stated!r}, expected {due!r}"
        for key, stated, due, agrees in selection
        if not agrees
    ]
    if not differences:
        # Only then: the card of wrong figures is wrong in the same places.
        sentence = comparison.difference(comparison.read_card(path), config, content)
        differences += [sentence] if sentence else []
    compared = len(figures) + len(choices) + len(shares) + len(selection)
    return Report(path, compared, tuple(differences))


def check_logits(folder: Path, images: Path, workers: int = 0) -> tuple[int, list[str]]:
    """Compare the weights' answers to the images with the predictions in a model folder.

    Returns the number of images, and a sentence (without its full stop) for each whose
    probabilities differ by more than `PROBABILITY_TOLERANCE`, and for a graph that answers
    otherwise than PyTorch, where that is installed. Raises DataError when the images of
    predictions.csv are not all below `images`.
    """
    classifier = Classifier(folder)
    task = classifier.config.task
    config = classifier.config
    table = predictions.read_predictions(folder / layout.PREDICTIONS, task)
    table = tables.attach_paths(table, images)
    logits = inference.logits(classifier, list(table["path"]), workers)
    due = prediction.calibrated(logits, config)
    stated = prediction.calibrated(predictions.logits_of(table, task), config)
    apart = np.abs(due - stated).max(axis=1)
    # Negated, so that a difference that is no number counts, too.
    far = np.flatnonzero(~(apart <= PROBABILITY_TOLERANCE))
    return len(table), _graph_differences(classifier) + [
        f"the weights give {table['image_id'][i]} probabilities that differ by {apart[i]:.4f} from "
        f"those of {layout.PREDICTIONS}, expected at most {PROBABILITY_TOLERANCE}"
        for i in far
    ]


def _graph_differences(classifier: Classifier) -> list[str]:
    """Compare the graph that answers with PyTorch; an empty list where one of them is missing."""
    engine = classifier.engine
    folder = engine.folder
    if engine.runtime != OnnxEngine.runtime or folder.is_export:
        return []
    try:
        other = select.load_torch(folder)
    except ModelError:
        return []
    difference = export.difference(other, engine)
    # Negated, so that NaN counts, too.
    if not difference <= export.LIMIT:
        return [
            f"{layout.GRAPH} and {WEIGHTS} give answers that differ by {difference:.1e}, expected "
            f"at most {export.LIMIT:g}"
        ]
    return []


def recompute(folder: ModelFolder) -> dict[str, Any]:
    """Compute all blocks of metrics.json that a model folder's two tables of predictions give.

    Raises what `read_table` raises.
    """
    return _blocks(folder, read_table(folder))


def read_table(folder: ModelFolder) -> pd.DataFrame:
    """Read the predictions of a model folder.

    Raises LeakError when a lesion stands in two splits, and, for a model of HAM10000's lesions,
    when it stands in another split than the shipped partition gives it.
    """
    config = folder.config
    table = predictions.read_predictions(folder.path / layout.PREDICTIONS, config.task)
    partition.check(table)
    _check_places(table, config)
    return table


def calibrated_alike(stated: ModelConfig, due: ModelConfig) -> bool:
    """Tell if two calibrations differ by no more than the logits of another engine make."""
    if stated.bias.keys() != due.bias.keys() or stated.thresholds.keys() != due.thresholds.keys():
        return False
    pairs = [(stated.temperature, due.temperature, CHOSEN["temperature"])]
    pairs += [(stated.bias[name], due.bias[name], CHOSEN["bias"]) for name in stated.bias]
    pairs += [
        (stated.thresholds[name].value, due.thresholds[name].value, CHOSEN["thresholds"])
        for name in stated.thresholds
    ]
    return all(abs(left - right) <= tolerance for left, right, tolerance in pairs)


def same(stated: Any, due: Any) -> bool:
    """Tell if two values are one figure: equal, or numbers that differ by rounding alone."""
    numbers = all(type(value) in (int, float) for value in (stated, due))
    if numbers and float in (type(stated), type(due)):
        return math.isclose(stated, due, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(stated) is type(due) and bool(stated == due)


def _check_places(table: pd.DataFrame, config: ModelConfig) -> None:
    """Raise LeakError where a lesion is in another split than the shipped partition gives it."""
    if not config.provenance.get("data", {}).get("ham10000_lesions"):
        return
    moved = table[table["lesion_id"].map(partition.shipped()) != table["split"]]
    if len(moved):
        raise LeakError(
            f"{moved['lesion_id'].nunique()} lesion(s) are not in the split that the shipped "
            f"partition gives them ({some(moved['lesion_id'].unique())}): the model may have been "
            "trained on them."
        )


def _blocks(folder: ModelFolder, table: pd.DataFrame) -> dict[str, Any]:
    """Compute the blocks of metrics.json from a model folder and the table of its predictions."""
    config = folder.config
    return {
        **summary.recompute(table, config),
        "external": _external(folder.path, config),
        "maps": _maps(folder.path, table, config),
        "cases": _cases(folder, table),
        "data": summary.describe(table, config.task, partition.SPLITS[1:]),
    }


def _external(folder: Path, config: ModelConfig) -> dict[str, Any]:
    """Compute the block `external`; empty where the folder has no external test."""
    path = folder / layout.EXTERNAL
    if not path.is_file():
        return {}
    return external.external_figures(external.read_external(path, config.task), config)


def _maps(folder: Path, table: pd.DataFrame, config: ModelConfig) -> dict[str, Any] | None:
    """Compute the block `maps` but for its cascade; None where the folder has no maps.csv."""
    path = folder / layout.MAPS
    if not path.is_file():
        return None
    test = table[table["split"] == "test"]
    return class_maps.map_figures(class_maps.read_maps(path, test), test, config)


def _cases(folder: ModelFolder, table: pd.DataFrame) -> dict[str, Any] | None:
    """Compute the block `cases` but for its latency; None where the folder has no index."""
    path = folder.path / layout.NEIGHBOURS
    if layout.CASES not in folder.config.files or not path.is_file():
        return None
    index = CaseIndex.from_bytes(folder.read(layout.CASES), str(folder.path / layout.CASES))
    other = folder.path / layout.EXTERNAL
    rows = external.read_external(other, folder.config.task) if other.is_file() else None
    sizes = [(folder.path / name).stat().st_size for name in (layout.CASES, layout.THUMBNAILS)]
    figures = case_figures(index, read_cases(path, index), table, rows, folder.config)
    return {"megabytes": round(sum(sizes) / 1e6, 1), **figures}


def _leaves(stated: Any, due: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, stated, due) for every value of two JSON trees.

    A value that only one of them has is None in the other. Parts in `NOT_RECOMPUTED` are left out.
    """
    if isinstance(stated, dict) and isinstance(due, dict):
        for key in {**due, **stated}:
            if key not in NOT_RECOMPUTED and f"{place}.{key}" not in NOT_RECOMPUTED:
                yield from _leaves(stated.get(key), due.get(key), f"{place}.{key}")
    elif isinstance(stated, list) and isinstance(due, list) and len(stated) == len(due):
        for index, (left, right) in enumerate(zip(stated, due, strict=True)):
            yield from _leaves(left, right, f"{place}[{index}]")
    else:
        yield place, stated, due


def _choices(
    validation: pd.DataFrame, config: ModelConfig
) -> Iterator[tuple[str, float, float, float]]:
    """Yield (place, stated, due, tolerance) for every choice on validation in config.json."""
    logits = predictions.logits_of(validation, config.task)
    true = prediction.class_indices(validation["dx"], config.task)
    if config.bias:
        temperature, bias = calibration.fit_bias(logits, true)
        for name, due in zip(config.task.classes, bias, strict=True):
            yield f"bias.{name}", config.bias[name], float(due), CHOSEN["bias"]
    else:
        temperature = calibration.fit_temperature(logits, true)
    yield "temperature", config.temperature, temperature, CHOSEN["temperature"]

    probabilities = prediction.calibrated(logits, config)
    score = prediction.malignancy(probabilities, config.task)
    malignant = np.isin(true, config.task.positive_indices)
    thresholds = calibration.choose_thresholds(score, malignant)
    for name, threshold in config.thresholds.items():
        if name in thresholds:
            due = thresholds[name].value
            yield f"thresholds.{name}", threshold.value, due, CHOSEN["thresholds"]
    if config.zones:
        cut = config.zones.highly_suspicious.value
        lower = config.zones.suspicious.value
        due = calibration.choose_highly_suspicious(score, malignant, lower).value
        yield "zones.highly_suspicious", cut, due, CHOSEN["thresholds"]

    stated = config.conformal
    if stated:
        lesions = partition.canonical(validation["lesion_id"]).to_numpy(str)
        fitted = conformal.fit(probabilities, true, lesions, config.task.classes, stated.level)
        for name, least in fitted.least.items():
            yield f"conformal.least.{name}", stated.least[name], least, CHOSEN["least"]


def _shares(content: dict[str, Any], config: ModelConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, stated, due) for each share of the prior in config.json."""
    if not config.prior:
        return
    due = summary.training_shares(content, config) or {}
    for name, share in config.prior.items():
        yield f"prior.{name}", share, due.get(name)


def _selection(
    stated: Any, validation: pd.DataFrame, config: ModelConfig
) -> Iterator[tuple[str, Any, Any, bool]]:
    """Yield (key, stated, due, agrees) for the block `selection` of metrics.json, but its shift."""
    stated = stated if isinstance(stated, dict) else {}
    split = stated.get("split")
    yield "split", split, "validation", split == "validation"

    temperature = stated.get("temperature")
    yield "temperature", temperature, config.temperature, same(temperature, config.temperature)

    logits = predictions.logits_of(validation, config.task)
    true = prediction.class_indices(validation["dx"], config.task)
    if config.bias or "bias" in stated or "cross_validation" in stated:
        bias = stated.get("bias", {})
        yield "bias", bias, config.bias, bias == config.bias
        scores = stated.get("cross_validation")
        lesions = partition.canonical(validation["lesion_id"]).to_numpy(str)
        due_scores = calibration.cross_validate(logits, true, lesions, config.task)
        near = _near(scores, due_scores)
        yield "cross_validation", scores, due_scores, near
        if near:
            helps = calibration.helps(scores)
            yield "bias", bool(bias), helps, bool(bias) == helps

    ece = stated.get("ece_before_temperature")
    uncalibrated = prediction.softmax(logits)
    due = metrics.expected_calibration_error(uncalibrated, true)
    yield "ece_before_temperature", ece, due, type(ece) is float and abs(ece - due) <= CHOSEN["ece"]


def _near(scores: Any, due: dict[str, dict[str, float]]) -> bool:
    """Tell if stated scores of cross-validation are those that another engine's logits give."""
    leaves = list(_leaves(scores, due, ""))
    return all(
        type(stated) is float and type(value) is float and abs(stated - value) <= CHOSEN["ece"]
        for _, stated, value in leaves
    )


def _file_differences(folder: ModelFolder, content: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each file of a folder that its stated hash or size does not fit."""
    whole = True
    for name, stated in folder.hashes.items():
        path = folder.path / name
        if not path.is_file():
            whole = False
            yield f"there is no {name}, of which {CONFIG} states the sha256"
        elif (actual := files.sha256(path)) != stated:
            whole = False
            yield f"{name} has the sha256 {actual}, {CONFIG} states {stated}"
    if whole:
        try:
            select.check(folder)
        except ModelError as error:
            yield str(error).rstrip(".")

    weights = content.get("weights")
    weights = weights if isinstance(weights, dict) else {}
    path = folder.path / WEIGHTS
    if path.is_file():
        megabytes = weights.get("megabytes")
        size = round(path.stat().st_size / 1e6, 1)
        if not same(megabytes, size):
            yield f"{METRICS} has weights.megabytes {megabytes!r}, the file has {size!r}"
    measured = weights.get("sha256")
    if measured != folder.config.weights_sha256:
        yield (
            f"{METRICS} has weights.sha256 {measured!r}, {CONFIG} states "
            f"{folder.config.weights_sha256!r}"
        )
