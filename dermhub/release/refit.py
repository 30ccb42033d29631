"""Zones, prediction sets, gate and graph of a saved model made anew; all else stays as it is.

The graph rests on the weights, the others on validation images, and the gate on training images,
too, of which those at hand will do. Weights, the list of seen images, the logits in
predictions.csv, the maps, and what was measured of the size stay; so does the time of an answer,
unless another runtime gives it now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermhub import files, layout
from dermhub.arrays import Floats32, Floats64
from dermhub.cards import render
from dermhub.data import partition, tables
from dermhub.errors import DataError, ModelError, some
from dermhub.evaluation import predictions
from dermhub.models import ood_gate, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.engines import select
from dermhub.models.model_folder import ModelFolder
from dermhub.models.ood_gate import OodGate
from dermhub.release import cost, external, sidecars, verify
from dermhub.release.previous import Previous
from dermhub.scoring import inference


def refit(
    folder: ModelFolder, images: Path | None = None, ph2: Path | None = None, workers: int = 0
) -> dict[str, Any]:
    """Make zones, prediction sets, gate and graph anew, and write figures and card.

    `images` is a folder of training, validation and test images, as `tables.read_table` reads it;
    further training images may lack. Without it, the gate stays as it is, and all else comes from
    the predictions. Without `ph2`, the external test keeps its earlier predictions, but for the
    scores of a gate that is no more. A graph that can't be made leaves that of before.

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
    config = sidecars.chosen(folder.config, rows[part], logits[part])
    contents = {}
    if images:
        gate, rows[predictions.GATE] = _gate(folder, rows, images, workers)
        contents[layout.OOD_GATE] = gate.to_bytes()
    if graph := sidecars.graph(select.load_torch(folder)):
        contents[layout.GRAPH] = graph.content
    folder = folder.write(config, contents)
    files.write_text(folder.path / layout.PREDICTIONS, predictions.to_csv(rows))
    if images or ph2:
        external.write(folder.path, Classifier(folder.path), ph2, before.external, workers)

    saved = Classifier(folder.path)
    if content["latency"]["runtime"] != saved.engine.runtime:
        content["latency"] = cost.latency(saved)
    figures = verify.recompute(folder)
    content |= {name: figures[name] for name in ("validation", "test", "external")}
    files.write_json(folder.path / layout.METRICS, content)
    files.write_text(folder.path / layout.CARD, render.render(folder.config, content))
    return content


def _gate(
    folder: ModelFolder, rows: pd.DataFrame, images: Path, workers: int
) -> tuple[OodGate, Floats64]:
    """Fit a gate for a model, and return it with its scores (N,) of the rows of predictions."""
    task = folder.config.task
    table = tables.read_table(images, task)
    located = rows.merge(table[["image_id", "path"]], on="image_id", how="left")
    if absent := list(located["image_id"][located["path"].isna()]):
        raise DataError(
            f"{images} lacks {len(absent)} of the {len(rows)} images of {layout.PREDICTIONS} "
            f"({some(absent)}): expected all that the model was validated and tested on."
        )
    train = table[~table["image_id"].isin(rows["image_id"])].assign(split="train")
    partition.check(pd.concat([rows, train]))
    saved = Classifier(folder.path)
    outputs = inference.outputs(saved, list(located["path"]), workers)
    stated = predictions.logits_of(rows, task)
    _check(outputs.logits, stated, folder.config.temperature, images)
    part = (rows["split"] == "validation").to_numpy(bool)
    paths = list(sidecars.gate_images(train)["path"])
    gate = ood_gate.fit(
        inference.varied_outputs(saved, paths, workers).described,
        outputs.described[part],
        sidecars.is_malignant(rows[part], task),
    )
    return gate, gate.score(outputs.described)


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


def _check(due: Floats32, stated: Floats32, temperature: float, images: Path) -> None:
    """Raise DataError where logits (N, C) of images give other probabilities than those stated."""
    apart = np.abs(
        prediction.softmax(due, temperature) - prediction.softmax(stated, temperature)
    ).max(axis=1)
    # Negated, so that a difference that is no number counts, too.
    far = int((~(apart <= verify.PROBABILITY_TOLERANCE)).sum())
    if far:
        raise DataError(
            f"{far} of the {len(apart)} images in {images} give other answers than "
            f"{layout.PREDICTIONS} states: expected the images that the model was measured on."
        )
