"""Graph, calibration, thresholds, zones, prediction sets and gate of a saved model made anew.

The graph rests on the weights, the others on validation images, and the gate on training images,
too, of which those at hand will do. Weights, the list of seen images, the logits in
predictions.csv, and what was measured of the size stay; so does the time of an answer, unless
another runtime gives it now. So do the maps and the answers to changed images, where probabilities
stay.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermhub import files, layout
from dermhub.arrays import Floats32, Floats64
from dermhub.cards import render
from dermhub.data import partition, tables
from dermhub.errors import DataError, ModelError, Say, silent, some
from dermhub.evaluation import predictions, robustness, summary
from dermhub.models import ood_gate, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.engines import select
from dermhub.models.model_folder import ModelFolder
from dermhub.models.ood_gate import OodGate
from dermhub.release import class_maps, cost, external, measure, randomisation, sidecars, verify
from dermhub.release.cases import build
from dermhub.release.cases import write as case_files
from dermhub.release.previous import Previous
from dermhub.scoring import inference
from dermhub.tasks import Task


def refit(
    folder: ModelFolder,
    images: Path | None = None,
    ph2: Path | None = None,
    workers: int = 0,
    say: Say = silent,
    cases: Path | None = None,
    masks: Path | None = None,
) -> dict[str, Any]:
    """Choose anew what is chosen on validation, make gate and graph, and write figures and card.

    `images` is a folder of training, validation and test images, as `tables.read_table` reads it;
    further training images may lack. Without it, the gate stays as it is, and all else comes from
    the predictions. Without `ph2`, the external test keeps its earlier predictions, but for the
    scores of a gate that is no more. With `cases` and `images`, the index of similar cases is made
    anew, of the training images that lie below `cases`; otherwise it stays. A graph that can't be
    made leaves that of before.

    Another calibration changes the probabilities. What rests on them and can't be worked out from
    the logits is measured on `images`, or left out, with a line by `say`: the answers to scaled and
    compressed test images, and, where other classes are answered, the class maps, which need
    `masks`, too (see `measure`).

    Returns the content of metrics.json. Raises ModelError when the folder was never measured with
    its weights, LeakError when a training image shows a lesion that is held out, and DataError when
    images lack or are not those of its predictions.
    """
    folder.check_whole()
    content = _earlier(folder)
    before = Previous.read(folder)
    rows = verify.read_table(folder)
    part = (rows["split"] == "validation").to_numpy(bool)
    logits = predictions.logits_of(rows, folder.config.task)
    prior = folder.config.prior or summary.training_shares(content, folder.config) or {}
    config = dataclasses.replace(folder.config, prior=prior)
    fitted, selection = sidecars.calibrate(config, rows[part], logits[part])
    if verify.calibrated_alike(folder.config, fitted):
        # Another engine's logits, from which training chose, differ by rounding.
        stated = {"temperature": config.temperature}
        selection = selection | stated | ({"bias": config.bias} if config.bias else {})
        if "cross_validation" in before.selection:
            selection = before.selection
    else:
        config = fitted
    config = sidecars.chosen(config, rows[part], logits[part])
    contents = {}
    located = _located(rows, images, folder.config.task) if images else None
    # Before minutes go into the images.
    if located is not None and cases:
        build.shareable(located.train, cases)
    if located is not None and masks:
        class_maps.check_masks(masks, located.rows)
    if graph := sidecars.graph(select.load_torch(folder)):
        # Before the gate, which is fitted on the answers of the engine that gives them later.
        folder = folder.write(folder.config, {layout.GRAPH: graph.content})
        config = dataclasses.replace(config, files=folder.config.files)
    if located is not None:
        gate, rows[predictions.GATE] = _gate(folder, located, workers)
        contents[layout.OOD_GATE] = gate.to_bytes()
    earlier = folder.config
    folder = folder.write(config, contents)
    recalibrated = (config.temperature, config.bias) != (earlier.temperature, earlier.bias)
    rows = _with_traits(folder, rows, located, recalibrated, say, workers)
    if located is not None and masks:
        test = located.rows[~part].reset_index(drop=True)
        called = prediction.calibrated(logits[~part], config).argmax(axis=1)
        class_maps.write(folder.path, Classifier(folder.path), test, called, masks, workers=workers)
    elif recalibrated and _other_answers(logits[~part], earlier, config):
        _drop_maps(folder, say)
    files.write_text(folder.path / layout.PREDICTIONS, predictions.to_csv(rows))
    if images or ph2:
        external.write(folder.path, Classifier(folder.path), ph2, before.external, workers)

    if located is not None and cases:
        table = pd.concat([located.rows, located.train], ignore_index=True)
        folder = case_files.write(folder, table, cases, ph2, workers)
        content["cases"] = None

    saved = Classifier(folder.path)
    if content["latency"]["runtime"] != saved.engine.runtime:
        content["latency"] = cost.latency(saved)
    figures = verify.recompute(folder)
    cascade = content["maps"]["cascade"] if content.get("maps") else None
    if located is not None and masks:
        cascade = randomisation.cascade(select.load_torch(folder), test, workers)
    content |= {name: figures[name] for name in ("validation", "test", "external", "maps")}
    if content["maps"]:
        content["maps"]["cascade"] = cascade
    content["selection"] = before.selection | selection
    if not config.bias:
        content["selection"].pop("bias", None)
    if recalibrated:
        measure.draw_results(folder.path, config)
    content["cases"] = case_files.with_latency(figures["cases"], content.get("cases"), folder.path)
    files.write_json(folder.path / layout.METRICS, content)
    files.write_text(folder.path / layout.CARD, render.render(folder.config, content))
    return content


@dataclass(frozen=True)
class Located:
    """The images at hand of a model's data.

    `folder` is where they lie. `rows` are those of predictions.csv with a column `path`, and
    `train` those of a table of training images.
    """

    folder: Path
    rows: pd.DataFrame
    train: pd.DataFrame


def _located(rows: pd.DataFrame, images: Path, task: Task) -> Located:
    """Look for the images of the rows of predictions, and for training images."""
    table = tables.read_table(images, task)
    located = rows.merge(table[["image_id", "path"]], on="image_id", how="left")
    if absent := list(located["image_id"][located["path"].isna()]):
        raise DataError(
            f"{images} lacks {len(absent)} of the {len(rows)} images of {layout.PREDICTIONS} "
            f"({some(absent)}): expected all that the model was validated and tested on."
        )
    train = table[~table["image_id"].isin(rows["image_id"])].assign(split="train")
    partition.check(pd.concat([rows, train]))
    return Located(images, located, train)


def _gate(folder: ModelFolder, located: Located, workers: int) -> tuple[OodGate, Floats64]:
    """Fit a gate for a model, and return it with its scores (N,) of the rows of predictions."""
    task = folder.config.task
    rows = located.rows
    saved = Classifier(folder.path)
    outputs = inference.outputs(saved, list(rows["path"]), workers)
    _check(outputs.logits, predictions.logits_of(rows, task), folder.config, located.folder)
    part = (rows["split"] == "validation").to_numpy(bool)
    paths = list(sidecars.gate_images(located.train)["path"])
    gate = ood_gate.fit(
        inference.varied_outputs(saved, paths, workers).described,
        outputs.described[part],
        sidecars.is_malignant(rows[part], task),
    )
    return gate, gate.score(outputs.described)


def _with_traits(
    folder: ModelFolder,
    rows: pd.DataFrame,
    located: Located | None,
    recalibrated: bool,
    say: Say,
    workers: int,
) -> pd.DataFrame:
    """Measure the answers to changed test images where they lack or rest on another calibration.

    Without images the latter are left out. Returns the rows of predictions.
    """
    columns = [*robustness.TRAITS, *robustness.LABELS]
    stated = [name for name in columns if name in rows]
    if located is not None and (recalibrated or len(stated) < len(columns)):
        test = located.rows[(rows["split"] == "test").to_numpy(bool)].reset_index(drop=True)
        measured = measure.traits(Classifier(folder.path), test, workers)
        measured = measured.set_index(test["image_id"])
        return rows.drop(columns=stated).join(measured[columns], on="image_id")
    answers = [name for name in stated if name not in ("ita", "sharpness")]
    if not recalibrated or not answers:
        return rows
    say(
        f"{folder.path}: the answers to scaled and compressed images rest on the earlier "
        "calibration and are left out: name the images with --data to measure them again."
    )
    return rows.drop(columns=answers)


def _other_answers(logits: Floats32, earlier: ModelConfig, config: ModelConfig) -> bool:
    """Tell if two configurations answer another class for a row of logits (N, C)."""
    before, now = (prediction.calibrated(logits, each).argmax(axis=1) for each in (earlier, config))
    return bool((before != now).any())


def _drop_maps(folder: ModelFolder, say: Say) -> None:
    """Remove maps.csv, whose maps are of the classes that were answered before."""
    path = folder.path / layout.MAPS
    if path.is_file():
        path.unlink()
        say(
            f"{folder.path}: the class maps are of other answers and are left out: name images and "
            "masks with --data and --masks to measure them again."
        )


def _earlier(folder: ModelFolder) -> dict[str, Any]:
    """Read a folder's metrics.json; raises ModelError when it is of other weights."""
    content = files.read_json(folder.path / layout.METRICS)
    try:
        measured = content["weights"]["sha256"]
    except (LookupError, TypeError):
        measured = None
    if measured != folder.config.weights_sha256:
        raise ModelError(
            f"{folder.path / layout.METRICS} is not of the weights beside it: measure the model "
            "with its training images."
        )
    return dict(content)


def _check(due: Floats32, stated: Floats32, config: ModelConfig, images: Path) -> None:
    """Raise DataError where logits (N, C) of images give other probabilities than those stated."""
    apart = np.abs(prediction.calibrated(due, config) - prediction.calibrated(stated, config)).max(
        axis=1
    )
    # Negated, so that a difference that is no number counts, too.
    far = int((~(apart <= verify.PROBABILITY_TOLERANCE)).sum())
    if far:
        raise DataError(
            f"{far} of the {len(apart)} images in {images} give other answers than "
            f"{layout.PREDICTIONS} states: expected the images that the model was measured on."
        )
