"""Measurement of a saved model: from its folder and a table of images to figures and card.

Temperature, thresholds and weights stay as they are. What is fitted on training and validation
images alone (prediction sets, zones, and the files beside the weights) is fitted anew
(`dermhub.release.sidecars`). `dermhub.release.refit` does without the training images.
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
from dermhub.errors import DataError, silent
from dermhub.evaluation import metrics, plots, predictions, robustness, summary
from dermhub.images import quality, skin_tone
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.engines import select
from dermhub.models.model_folder import ModelFolder
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
    """Write predictions, metrics.json, figures and card of a model folder.

    `table` has all images of the model's data (see `dermhub.data.tables`). Without `before`, name
    and selection are those of the folder's metrics.json; without a `history` of epochs, its curves
    stay as they are. Without `ph2` or `masks`, earlier results on them stay if they were measured
    with the same weights. At any time the folder is whole, and states no file that it does not
    hold.

    Returns the content of metrics.json. Raises LeakError when a lesion stands in two splits, and
    ModelError or DataError when the folder and the table do not belong together or a mask can't be
    used.
    """
    partition.check(table)
    splits = {split: table[table["split"] == split] for split in partition.SPLITS}
    splits["train"] = sidecars.gate_images(splits["train"])
    test = splits["test"]
    before = before or Previous.read(folder)

    # Before anything is taken out of the folder: of damaged weights it keeps what it has.
    folder.check_whole()
    folder.check(layout.WEIGHTS)
    folder = sidecars.clear(folder)
    engine = select.load_torch(folder)
    graph = sidecars.graph(engine)
    answering = graph.engine if graph and select.prefers_graph() else engine
    outputs = inference.outputs_by_split(Classifier.from_engine(answering), splits, workers)
    config, contents = sidecars.fit(folder.config, table, outputs)
    folder = sidecars.write(folder, config, contents, graph)

    # The rest is measured with what was saved, read back as anyone else would read it.
    saved = Classifier(folder.path)
    _write_predictions(saved, folder.path, splits, outputs, workers)
    external.write(folder.path, saved, ph2, before.external, workers)
    called = outputs["test"].logits.argmax(axis=1)
    keeps_maps = before.cascade is not None
    class_maps.write(folder.path, saved, test, called, masks, keeps_maps, workers)
    cascade = randomisation.cascade(engine, test, workers) if masks else before.cascade

    content: dict[str, Any] = {
        "model": before.name,
        "task": config.task.name,
        "weights": cost.weights(folder, engine.model),
        "latency": cost.latency(saved),
        "selection": before.selection,
        # Until deploy/linuxone/certify.py finds a proof with these weights.
        "parity": None,
        # The overlap counts the lesions of the training split, too, which has no predictions.
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
    """Read the table that a model was trained on, from the folder of its images.

    `more` is the folder of the further training images, those of --extra. Raises DataError for
    another table, naming both fingerprints, and what `tables.read_table` and `additions.add_images`
    raise.
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
    columns = (config.provenance.get("options") or {}).get("columns", "")
    table = tables.read_table(folder, config.task, columns, bool(more), silent)
    if more:
        table, _ = additions.add_images(table, more, config.task, columns, silent)
    expected = stated.get("table_sha256")
    fingerprint = partition.fingerprint(table)
    if fingerprint != expected:
        place = f"{folder} with {more}" if more else str(folder)
        raise DataError(
            f"{place} is not the data that the model was trained on: its table has the fingerprint "
            f"{fingerprint}, config.json states {expected}. `evaluate` measures a model on other "
            "data."
        )
    return table


def image_sizes(paths: list[str]) -> dict[str, int]:
    """Count image files by size: 'width x height' in pixels -> number, the most frequent first.

    HAM10000 goes round in several resolutions, and the figures depend on the resolution.
    """
    sizes: dict[str, int] = {}
    for path in paths:
        with Image.open(path) as image:
            name = f"{image.width} x {image.height}"
        sizes[name] = sizes.get(name, 0) + 1
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _write_predictions(
    saved: Classifier,
    folder: Path,
    splits: dict[str, pd.DataFrame],
    outputs: dict[str, Outputs],
    workers: int,
) -> None:
    """Write predictions.csv: the rows of validation and test, the latter with their traits."""
    task = saved.config.task
    validation = _predictions(splits["validation"], outputs["validation"], task)
    test = _predictions(splits["test"], outputs["test"], task)
    if saved.gate:
        for rows, split in ((validation, "validation"), (test, "test")):
            rows[predictions.GATE] = saved.gate.score(outputs[split].described)
    traits = _traits(saved, list(splits["test"]["path"]), workers)
    table = pd.concat([validation, pd.concat([test, traits], axis=1)])
    files.write_text(folder / layout.PREDICTIONS, predictions.to_csv(table))


def _predictions(part: pd.DataFrame, outputs: Outputs, task: Task) -> pd.DataFrame:
    """The rows of predictions.csv for the rows of a table."""
    about = [name for name in predictions.ABOUT if name in part]
    columns = ["image_id", "lesion_id", "split", "dx", *about]
    logits = pd.DataFrame(outputs.logits, columns=predictions.logit_columns(task))
    return pd.concat([part[columns].reset_index(drop=True), logits], axis=1)


def _traits(saved: Classifier, paths: list[str], workers: int) -> pd.DataFrame:
    """Measure the skin tone and sharpness of test images, and their malignancy at other sizes.

    `dermhub.evaluation.robustness` reports figures by these columns.
    """
    config = saved.config
    spec = config.input

    def view(photo: Photo, _: int) -> tuple[tuple[float | None, float], list[Floats32]]:
        """Return (skin tone, sharpness), and the image as an array at each scale."""
        scaled = [batches.scaled(photo.rgb, spec, factor) for factor in robustness.SCALES.values()]
        return (skin_tone.ita(photo.rgb), quality.laplacian_variance(photo.rgb)), scaled

    def answer(
        views: list[tuple[tuple[float | None, float], list[Floats32]]],
    ) -> tuple[Floats64, Floats32]:
        """Return traits (B, 2) and logits (scales, B, C) of a batch of views."""
        traits, scaled = zip(*views, strict=True)
        # One batch for each scale.
        logits = [saved.engine.forward(np.stack(batch))[0] for batch in zip(*scaled, strict=True)]
        return np.array(traits, float), np.stack(logits)

    traits, logits = zip(*batches.map_batches(answer, paths, view, workers), strict=True)
    angles, sharpness = np.concatenate(traits).T
    columns: dict[str, Any] = {"ita": angles, "sharpness": sharpness}
    for name, of_scale in zip(robustness.SCALES, np.concatenate(logits, axis=1), strict=True):
        probabilities = prediction.softmax(of_scale, config.temperature)
        columns[f"malignancy_{name}"] = prediction.malignancy(probabilities, config.task)
    return pd.DataFrame(columns)


def _describe(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """The block `data` of metrics.json, with the sizes of the image files."""
    content = summary.describe(table, config.task)
    for split, counts in content.items():
        counts["image_sizes"] = image_sizes(list(table["path"][table["split"] == split]))
    return content


def _draw(
    folder: Path, table: pd.DataFrame, config: ModelConfig, history: Sequence[dict[str, Any]]
) -> None:
    """Draw the pictures of a card, from the predictions in its folder."""
    task = config.task
    figures = folder / layout.FIGURES
    rows = predictions.read_predictions(folder / layout.PREDICTIONS, task)
    test = rows[rows["split"] == "test"]
    true: NDArray[np.int64] = tables.targets(test, task)
    probabilities = prediction.softmax(predictions.logits_of(test, task), config.temperature)
    matrix = metrics.confusion_matrix(true, probabilities.argmax(axis=1), len(task.classes))
    thresholds = {name: threshold.value for name, threshold in config.thresholds.items()}
    title = f"test, n = {len(true)}"
    plots.confusion(figures / "confusion_matrix.png", matrix.tolist(), task, title)
    plots.roc(figures / "roc.png", probabilities, true, task, thresholds)
    plots.reliability(figures / "reliability.png", probabilities, true, task, title)
    plots.overview(figures / "data.png", table)
    if history:
        plots.curves(figures / "curves.png", list(history))
