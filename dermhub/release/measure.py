"""Measure a saved model: from a model folder and a table of images to its predictions, figures and
card.

Nothing is chosen here: temperature, thresholds and weights stay as they are. What is fitted on
training and validation images alone and ships beside the weights is fitted anew
(`dermhub.release.sidecars`).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from dermhub import files, layout
from dermhub.arrays import Floats32, Floats64
from dermhub.cards import render
from dermhub.data import additions, batches, partition, tables
from dermhub.data import tables as data_tables
from dermhub.errors import DataError, some
from dermhub.evaluation import metrics, plots, predictions, robustness, summary
from dermhub.evaluation import predictions as evaluation_predictions
from dermhub.evaluation.external import PH2
from dermhub.images import quality
from dermhub.images.drawing import draw
from dermhub.images.photo import Photo
from dermhub.layout import EXTERNAL, FIGURES
from dermhub.models import backbone, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.release import class_maps, sidecars, verify
from dermhub.release import previous as release_previous
from dermhub.release.previous import Previous, previous, previous_external
from dermhub.scoring import inference
from dermhub.scoring.inference import Outputs
from dermhub.tasks import Task

SOURCE_COLUMNS = ["source", "image_id", "dx", "path"]


@dataclass(frozen=True)
class Sources:
    """Folders with images that a model is measured on besides its own; None where there are none.

    `ph2` has the external test with its labels.csv, `ood` a folder for each kind of photograph that
    is no dermatoscopic image.
    """

    ph2: Path | None = None
    ood: Path | None = None

    def tables(self) -> list[pd.DataFrame]:
        """A table with the columns source, image_id, dx, path for each source; raises DataError for
        what is none.
        """
        return ([ph2_table(self.ph2)] if self.ph2 else []) + (
            other_tables(self.ood) if self.ood else []
        )

    def write(
        self, folder: Path, saved: Classifier, kept: pd.DataFrame | None, workers: int = 0
    ) -> None:
        """Write external.csv: the predictions for these sources, and those of others that are kept.

        There is no such file where there is nothing.
        """
        parts = []
        for table in self.tables():
            found = inference.logits(saved, list(table["path"]), workers)
            logits = pd.DataFrame(found, columns=predictions.logit_columns(saved.config.task))
            parts.append(pd.concat([table.drop(columns="path"), logits], axis=1))
        if kept is not None:
            kept = kept[~kept["source"].isin([part["source"].iloc[0] for part in parts])]
            parts += [kept] if len(kept) else []
        path = folder / EXTERNAL
        path.unlink(missing_ok=True)
        if parts:
            files.write_text(path, predictions.to_csv(pd.concat(parts)))


def ph2_table(folder: Path) -> pd.DataFrame:
    """The images of the external test: source, image_id, dx, path. Raises DataError unless
    labels.csv fits.
    """
    table = data_tables.attach_paths(data_tables.read_labels(folder / "labels.csv"), folder)
    wrong = sorted(set(table["dx"]) - {"mel", "nv"})
    if wrong or table["dx"].nunique() < 2:
        raise DataError(
            f"{folder / 'labels.csv'} has the dx {some(sorted(set(table['dx'])))}, expected mel "
            "and nv."
        )
    return table[["image_id", "dx", "path"]].assign(source=PH2)[SOURCE_COLUMNS]


def other_tables(folder: Path) -> list[pd.DataFrame]:
    """The images of each folder inside one, as `ph2_table` gives them: their `source` is the
    folder's name.
    """
    places = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not places:
        raise DataError(
            f"{folder} holds no folders: expected one for each kind of photograph, such as "
            "natural/."
        )
    tables = []
    for place in places:
        found = data_tables.find_images(place)
        rows = {"image_id": list(found), "dx": "", "path": [str(path) for path in found.values()]}
        tables.append(pd.DataFrame(rows).assign(source=place.name)[SOURCE_COLUMNS])
    return tables


LATENCY_SIZE = (600, 450)
"""Width and height of the image that `latency` is measured with: those of HAM10000's
photographs.
"""


def describe_weights(classifier: Classifier) -> dict[str, Any]:
    """A model's parameters and memory layout, and the megabytes (10**6 bytes) and sha256 of its
    weight file.
    """
    path = classifier.folder / layout.WEIGHTS
    return {
        "parameters": sum(tensor.numel() for tensor in classifier.model.parameters()),
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "sha256": files.sha256(path),
        "memory_format": str(backbone.memory_format(classifier.config.architecture)),
    }


def measure_latency(classifier: Classifier, repeats: int = 20) -> dict[str, Any]:
    """Median time of `predict` for one drawn image in memory (decoding not counted), and what it
    was measured on.
    """
    image, seconds = draw(0, LATENCY_SIZE), []
    classifier.predict(image)  # the first call also picks its kernels
    for _ in range(repeats):
        start = time.perf_counter()
        classifier.predict(image)
        seconds.append(time.perf_counter() - start)
    return {
        "median_ms": round(1000 * float(np.median(seconds)), 1),
        "n": repeats,
        "runtime": classifier.engine.runtime,
        "image": list(LATENCY_SIZE),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown processor"


def measure(
    folder: Path,
    table: pd.DataFrame,
    before: Previous | None = None,
    history: Sequence[dict[str, Any]] = (),
    sources: Sources = Sources(),
    workers: int = 0,
    masks: Path | None = None,
) -> dict[str, Any]:
    """Write predictions, metrics.json, figures and card of a model folder; returns the content of
    metrics.json.

    `table` has all images of the model's data (see `dermhub.data.tables`). Without `before`, name
    and selection are those of the folder's own metrics.json; without a `history` of epochs, its
    curves stay as they are. What was measured on `sources` or `masks` that are not given now stays,
    if the weights are those it was measured with. Raises LeakError when a lesion stands in two
    splits, and ModelError or DataError when the folder and the table do not belong together or a
    mask can't be used.
    """
    partition.check(table)
    before = before or previous(folder)
    others, maps = previous_external(folder), release_previous.previous_maps(folder)
    sidecars.clear(folder)
    # What is measured is what was saved, read back as anyone else would read it.
    saved = Classifier(folder)
    places = {split: table[table["split"] == split] for split in partition.SPLITS}
    outputs = inference.outputs_by_split(saved, places, workers)
    config = sidecars.fit(folder, table, outputs)
    saved = Classifier(folder)
    rows = [
        _predictions(places[split], outputs[split], config.task) for split in partition.SPLITS[1:]
    ]
    rows[1] = pd.concat([rows[1], _traits(saved, list(places["test"]["path"]), workers)], axis=1)
    files.write_text(folder / layout.PREDICTIONS, evaluation_predictions.to_csv(pd.concat(rows)))
    sources.write(folder, saved, others, workers)
    called = outputs["test"].logits.argmax(axis=1)
    cascade = class_maps.write(folder, saved, places["test"], called, masks, maps, workers)
    content: dict[str, Any] = {
        "model": before.name,
        "task": config.task.name,
        "weights": describe_weights(saved),
        "latency": measure_latency(saved),
        "selection": before.selection,
        "parity": None,  # until deploy/linuxone/certify.py finds a proof with these weights
        # Also the lesions of the training split, which are not among the predictions.
        **verify.recompute(folder, config) | {"overlap": partition.overlap(table)},
        "data": _describe(table, config),
    }
    if content["maps"]:
        content["maps"]["cascade"] = cascade
    _draw(folder, table, config, history)
    files.write_json(folder / layout.METRICS, content)
    files.write_text(folder / layout.CARD, render.render(config, content))
    return content


def read_table(config: ModelConfig, folder: Path, more: Path | None = None) -> pd.DataFrame:
    """The table that a model was trained on: its images in a folder, with the further ones of
    --extra in `more`.

    Raises DataError where it is another table, naming both hashes, and what `tables.read_table` and
    `additions.add_images` raise.
    """
    known = config.provenance.get("data") or {}
    if more and known and "extra" not in known:
        raise DataError(f"The model was trained without further images: leave --extra {more} out.")
    if "extra" in known and not more:
        source = known["extra"]["source"]
        raise DataError(
            f"The model was also trained on further images ({source}): name their folder with "
            "--extra."
        )
    table = tables.read_table(folder, config.task)
    if more:
        table, _ = additions.add_images(table, more, config.task)
    expected, found = known.get("table_sha256"), partition.fingerprint(table)
    if found != expected:
        place = f"{folder} with {more}" if more else str(folder)
        raise DataError(
            f"{place} is not the data that the model was trained on: its table has the fingerprint "
            f"{found}, "
            f"config.json states {expected}. `evaluate` measures a model on other data."
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
        *(name for name in evaluation_predictions.ABOUT if name in part),
    ]
    logits = pd.DataFrame(outputs.logits, columns=evaluation_predictions.logit_columns(task))
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
    predictions = evaluation_predictions.read_predictions(folder / layout.PREDICTIONS, config.task)
    task, test, where = config.task, predictions[predictions["split"] == "test"], folder / FIGURES
    true: NDArray[np.int64] = tables.targets(test, task)
    probabilities = prediction.softmax(
        evaluation_predictions.logits_of(test, task), config.temperature
    )
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
