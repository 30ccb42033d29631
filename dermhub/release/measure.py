"""Measurement of a saved model: from its folder and a table of images to figures and card.

Calibration, thresholds and weights stay as they are. What is fitted on training and validation
images alone (prediction sets, zones, and the files beside the weights) is fitted anew
(`dermhub.release.sidecars`). `dermhub.release.refit` does without the training images.
"""

from __future__ import annotations

import io
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
from dermhub.images.containers import webp
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.engines import select
from dermhub.models.model_folder import ModelFolder
from dermhub.release import class_maps, cost, external, randomisation, sidecars, verify
from dermhub.release.cases import write as case_files
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
    cases: Path | None = None,
) -> dict[str, Any]:
    """Write predictions, metrics.json, figures and card of a model folder.

    `table` has all images of the model's data (see `dermhub.data.tables`). Without `before`, name
    and selection are those of the folder's metrics.json; without a `history` of epochs, its curves
    stay as they are. Without `ph2` or `masks`, earlier results on them stay if they were measured
    with the same weights, and so does an index of similar cases without `cases`, the folder of the
    training images that may be shown to others. At any time the folder is whole, and states no file
    that it does not hold.

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
    kept = {name: folder.read(name) for name in case_files.FILES} if before.cases else {}
    folder = sidecars.clear(folder)
    engine = select.load_torch(folder)
    graph = sidecars.graph(engine)
    answering = graph.engine if graph and select.prefers_graph() else engine
    outputs = inference.outputs_by_split(Classifier.from_engine(answering), splits, workers)
    config, contents = sidecars.fit(folder.config, table, outputs)
    folder = sidecars.write(folder, config, {**contents, **kept}, graph)

    # The rest is measured with what was saved, read back as anyone else would read it.
    saved = Classifier(folder.path)
    _write_predictions(saved, folder.path, splits, outputs, workers)
    external.write(folder.path, saved, ph2, before.external, workers)
    if cases:
        folder = case_files.write(folder, table, cases, ph2, workers)
    elif not kept:
        case_files.remove(folder.path)
    called = prediction.calibrated(outputs["test"].logits, config).argmax(axis=1)
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
    earlier = None if cases else before.cases
    content["cases"] = case_files.with_latency(content["cases"], earlier, folder.path)
    if content["maps"]:
        content["maps"]["cascade"] = cascade
    _draw(folder.path, table, config, history)
    files.write_json(folder.path / layout.METRICS, content)
    files.write_text(folder.path / layout.CARD, render.render(folder.config, content))
    return content


def read_table(config: ModelConfig, folder: Path, more: str = "") -> pd.DataFrame:
    """Read the table that a model was trained on, from the folder of its images.

    `more` names the folders of the further training images, as the --extra of training did. Raises
    DataError for another table, naming both fingerprints, and what `tables.read_table` and
    `additions.add_all` raise.
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
        table, _ = additions.add_all(table, additions.folders(more), config.task, columns, silent)
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
    about = traits(saved, splits["test"], workers)
    table = pd.concat([validation, pd.concat([test, about], axis=1)])
    files.write_text(folder / layout.PREDICTIONS, predictions.to_csv(table))


def _predictions(part: pd.DataFrame, outputs: Outputs, task: Task) -> pd.DataFrame:
    """The rows of predictions.csv for the rows of a table."""
    about = [name for name in predictions.ABOUT if name in part]
    columns = ["image_id", "lesion_id", "split", "dx", *about]
    logits = pd.DataFrame(outputs.logits, columns=predictions.logit_columns(task))
    return pd.concat([part[columns].reset_index(drop=True), logits], axis=1)


def traits(saved: Classifier, test: pd.DataFrame, workers: int) -> pd.DataFrame:
    """Measure the skin tone and sharpness of test images, and answers to them when changed.

    They are scaled, and some are saved anew with losses. `dermhub.evaluation.robustness` reports
    figures by these columns.
    """
    scaled = _scaled(saved, list(test["path"]), workers)
    return pd.concat([scaled, _compressed(saved, test, workers)], axis=1)


def _scaled(saved: Classifier, paths: list[str], workers: int) -> pd.DataFrame:
    """Measure the skin tone and sharpness of images, and their malignancy at other sizes."""
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
        measured, scaled = zip(*views, strict=True)
        # One batch for each scale.
        logits = [saved.engine.forward(np.stack(batch))[0] for batch in zip(*scaled, strict=True)]
        return np.array(measured, float), np.stack(logits)

    measured, logits = zip(*batches.map_batches(answer, paths, view, workers), strict=True)
    angles, sharpness = np.concatenate(measured).T
    columns: dict[str, Any] = {"ita": angles, "sharpness": sharpness}
    for name, of_scale in zip(robustness.SCALES, np.concatenate(logits, axis=1), strict=True):
        probabilities = prediction.calibrated(of_scale, config)
        columns[f"malignancy_{name}"] = prediction.malignancy(probabilities, config.task)
    return pd.DataFrame(columns)


def _compressed(saved: Classifier, test: pd.DataFrame, workers: int) -> pd.DataFrame:
    """Classify some test images again, each saved anew with losses.

    The columns are those of `robustness.COMPRESSIONS`, empty for the other images.
    """
    config = saved.config
    places = robustness.chosen(test["image_id"].to_numpy(str))
    paths = [str(path) for path in test["path"].to_numpy()[places]]

    def view(photo: Photo, _: int) -> list[Floats32]:
        """Return the image as an array in each format."""
        formats = robustness.COMPRESSIONS.values()
        return [_saved_anew(photo, *entry).array(config.input) for entry in formats]

    def answer(views: list[list[Floats32]]) -> Floats32:
        """Return the logits (formats, B, C) of a batch of views."""
        batches_of_formats = zip(*views, strict=True)
        return np.stack([saved.engine.forward(np.stack(b))[0] for b in batches_of_formats])

    logits = np.concatenate(batches.map_batches(answer, paths, view, workers), axis=1)
    classes = np.array(config.task.classes)
    columns: dict[str, Any] = {}
    for name, of_format in zip(robustness.COMPRESSIONS, logits, strict=True):
        probabilities = prediction.calibrated(of_format, config)
        columns[f"malignancy_{name}"] = prediction.malignancy(probabilities, config.task)
        columns[f"label_{name}"] = classes[probabilities.argmax(axis=1)]
    return pd.DataFrame(columns, index=places).reindex(range(len(test)))


def _saved_anew(photo: Photo, kind: str, quality_setting: int) -> Photo:
    """Save a photo in a format with losses, and open it again."""
    rgb = photo.rgb
    # A WebP may have no more pixels.
    while rgb.width * rgb.height > webp.MOST_PIXELS:
        rgb = rgb.reduce(2)
    stream = io.BytesIO()
    rgb.save(stream, kind, quality=quality_setting)
    return Photo.open(stream.getvalue())


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
    draw_results(folder, config)
    plots.overview(folder / layout.FIGURES / "data.png", table)
    if history:
        plots.curves(folder / layout.FIGURES / "curves.png", list(history))


def draw_results(folder: Path, config: ModelConfig) -> None:
    """Draw the pictures of a card's figures on test, from the predictions in its folder."""
    task = config.task
    figures = folder / layout.FIGURES
    rows = predictions.read_predictions(folder / layout.PREDICTIONS, task)
    test = rows[rows["split"] == "test"]
    true: NDArray[np.int64] = tables.targets(test, task)
    probabilities = prediction.calibrated(predictions.logits_of(test, task), config)
    matrix = metrics.confusion_matrix(true, probabilities.argmax(axis=1), len(task.classes))
    thresholds = {name: threshold.value for name, threshold in config.thresholds.items()}
    title = f"test, n = {len(true)}"
    plots.confusion(figures / "confusion_matrix.png", matrix.tolist(), task, title)
    plots.roc(figures / "roc.png", probabilities, true, task, thresholds)
    plots.reliability(figures / "reliability.png", probabilities, true, task, title)
