"""Measure a saved model: from a model folder and a table of images to its predictions, figures and
card.

Nothing is chosen here: temperature, thresholds and weights stay as they are. What is fitted on
training and validation images alone and ships beside the weights is fitted anew
(`dermhub.release.sidecars`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub import files, layout
from dermhub.arrays import Floats32, Floats64
from dermhub.cards import render
from dermhub.data import additions, batches, partition, tables
from dermhub.errors import DataError
from dermhub.evaluation import metrics, plots, predictions, robustness, summary
from dermhub.images import quality
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.engines import select
from dermhub.models.folder import ModelFolder
from dermhub.release import class_maps, cost, external, randomisation, sidecars, verify
from dermhub.release.previous import Previous
from dermhub.scoring import inference
from dermhub.scoring.inference import Outputs
from dermhub.tasks import Task


def measure(
    folder: ModelFolder,
    table: pd.DataFrame,
    before: Previous | None = None,
    history: Sequence[dict[str, Any]] = (),
    ph2: Path | None = None,
    workers: int = 0,
    masks: Path | None = None,
) -> dict[str, Any]:
    """Write predictions, metrics.json, figures and card of a model folder; returns the content of
    metrics.json.

    `table` has all images of the model's data (see `dermhub.data.tables`). Without `before`, name
    and selection are those of the folder's own metrics.json; without a `history` of epochs, its
    curves stay as they are. What was measured on `ph2` or `masks` that are not given now stays, if
    the weights are those it was measured with. At any time the folder is whole, and states no file
    that it does not hold. Raises LeakError when a lesion stands in two splits, and ModelError or
    DataError when the folder and the table do not belong together or a mask can't be used.
    """
    partition.check(table)
    before = before or Previous.read(folder)
    folder = sidecars.clear(folder)
    engine = select.load_torch(folder)
    graph = sidecars.graph(engine)
    answering = graph if graph and select.prefers_graph() else engine
    places = {split: table[table["split"] == split] for split in partition.SPLITS}
    outputs = inference.outputs_by_split(Classifier.from_engine(answering), places, workers)
    config, contents = sidecars.fit(folder.config, table, outputs)
    folder = sidecars.write(folder, config, contents, graph)
    # The rest is measured with what was saved, read back as anyone else would read it.
    saved = Classifier(folder.path)
    rows = [
        _predictions(places[split], outputs[split], config.task) for split in partition.SPLITS[1:]
    ]
    rows[1] = pd.concat([rows[1], _traits(saved, list(places["test"]["path"]), workers)], axis=1)
    files.write_text(folder.path / layout.PREDICTIONS, predictions.to_csv(pd.concat(rows)))
    external.write(folder.path, saved, ph2, before.external, workers)
    called = outputs["test"].logits.argmax(axis=1)
    kept = before.cascade
    class_maps.write(folder.path, saved, places["test"], called, masks, kept is not None, workers)
    cascade = randomisation.cascade(engine, places["test"], workers) if masks else kept
    content: dict[str, Any] = {
        "model": before.name,
        "task": config.task.name,
        "weights": cost.weights(folder, engine.model),
        "latency": cost.latency(saved),
        "selection": before.selection,
        "parity": None,  # until deploy/linuxone/certify.py finds a proof with these weights
        # Also the lesions of the training split, which are not among the predictions.
        **verify.recompute(folder) | {"overlap": partition.overlap(table)},
        "data": _describe(table, config),
    }
    if content["maps"]:
        content["maps"]["cascade"] = cascade
    _draw(folder.path, table, config, history)
    files.write_json(folder.path / layout.METRICS, content)
    files.write_text(folder.path / layout.CARD, render.render(folder.config, content))
    return content


def read_table(config: ModelConfig, folder: Path, more: Path | None = None) -> pd.DataFrame:
    """The table that a model was trained on: its images in a folder, with the further ones of
    --extra in `more`.

    Raises DataError where it is another table, naming both hashes, and what `tables.read_table` and
    `additions.add_images` raise.
    """
    stated = config.provenance.get("data") or {}
    if more and stated and "extra" not in stated:
        raise DataError(f"The model was trained without further images: leave --extra {more} out.")
    if "extra" in stated and not more:
        source = stated["extra"]["source"]
        raise DataError(
            f"The model was also trained on further images ({source}): name their folder with "
            "--extra."
        )
    table = tables.read_table(folder, config.task)
    if more:
        table, _ = additions.add_images(table, more, config.task)
    expected, fingerprint = stated.get("table_sha256"), partition.fingerprint(table)
    if fingerprint != expected:
        place = f"{folder} with {more}" if more else str(folder)
        raise DataError(
            f"{place} is not the data that the model was trained on: its table has the fingerprint "
            f"{fingerprint}, config.json states {expected}. `evaluate` measures a model on other "
            "data."
        )
    return table


def image_sizes(paths: list[str]) -> dict[str, int]:
    """'width x height' in pixels -> number of image files, from their headers, the most frequent
    first.

    HAM10000 goes round in several resolutions, and the figures depend on which it was.
    """
    sizes: dict[str, int] = {}
    for path in paths:
        with Image.open(path) as image:
            name = f"{image.width} x {image.height}"
        sizes[name] = sizes.get(name, 0) + 1
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _predictions(part: pd.DataFrame, outputs: Outputs, task: Task) -> pd.DataFrame:
    columns = [
        "image_id",
        "lesion_id",
        "split",
        "dx",
        *(name for name in predictions.ABOUT if name in part),
    ]
    logits = pd.DataFrame(outputs.logits, columns=predictions.logit_columns(task))
    return pd.concat([part[columns].reset_index(drop=True), logits], axis=1)


def _traits(saved: Classifier, paths: list[str], workers: int) -> pd.DataFrame:
    """The columns of `traits` for test images: what they are like, and what the model says of them
    at other sizes.
    """
    spec, config = saved.config.input, saved.config

    def view(photo: Photo, _: int) -> tuple[tuple[float | None, float], list[Floats32]]:
        scaled = [batches.scaled(photo.rgb, spec, factor) for factor in robustness.SCALES.values()]
        return (robustness.ita(photo.rgb), quality.laplacian_variance(photo.rgb)), scaled

    def answer(
        views: list[tuple[tuple[float | None, float], list[Floats32]]],
    ) -> tuple[Floats64, Floats32]:
        traits, scaled = zip(*views, strict=True)
        # One batch for each scale: (scales, B, C).
        logits = [saved.engine.forward(np.stack(batch))[0] for batch in zip(*scaled, strict=True)]
        return np.array(traits, float), np.stack(logits)

    traits, logits = zip(*batches.map_batches(answer, paths, view, workers), strict=True)
    angles, sharp = np.concatenate(traits).T
    columns: dict[str, Any] = {"ita": angles, "sharpness": sharp}
    for name, of_scale in zip(robustness.SCALES, np.concatenate(logits, axis=1), strict=True):
        probabilities = prediction.softmax(of_scale, config.temperature)
        columns[f"malignancy_{name}"] = prediction.malignancy(probabilities, config.task)
    return pd.DataFrame(columns)


def _describe(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    content = summary.describe(table, config.task)
    for split, counts in content.items():
        counts["image_sizes"] = image_sizes(list(table["path"][table["split"] == split]))
    return content


def _draw(
    folder: Path, table: pd.DataFrame, config: ModelConfig, history: Sequence[dict[str, Any]]
) -> None:
    rows = predictions.read_predictions(folder / layout.PREDICTIONS, config.task)
    task, test, where = config.task, rows[rows["split"] == "test"], folder / layout.FIGURES
    true: NDArray[np.int64] = tables.targets(test, task)
    probabilities = prediction.softmax(predictions.logits_of(test, task), config.temperature)
    matrix = metrics.confusion_matrix(
        true, probabilities.argmax(axis=1), len(task.classes)
    ).tolist()
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    plots.confusion(where / "confusion_matrix.png", matrix, task, f"test, n = {len(true)}")
    plots.roc(where / "roc.png", probabilities, true, task, values)
    plots.reliability(
        where / "reliability.png", probabilities, true, task, f"test, n = {len(true)}"
    )
    plots.overview(where / "data.png", table)
    if history:
        plots.curves(where / "curves.png", list(history))
