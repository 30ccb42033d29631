"""Measure a saved model: from a model folder and a table of images to its predictions, figures and card.

Nothing is chosen here: temperature, thresholds and weights stay as they are. What is fitted on training and
validation images alone and ships beside the weights is fitted anew (`dermhub.refit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub import (
    cards,
    cost,
    data,
    extra,
    figures,
    files,
    map_masks,
    metrics,
    partition,
    passes,
    refit,
    skin,
    summary,
    traits,
    verify,
)
from dermhub.classifier import Classifier
from dermhub.config import ModelConfig
from dermhub.errors import DataError, ModelError
from dermhub.labels import Task
from dermhub.passes import Outputs
from dermhub.preprocess import to_rgb
from dermhub.sources import Sources, kept

FIGURES = "figures"


@dataclass(frozen=True)
class Before:
    """What is known of a model before it is measured: its name in the card, and what was chosen on validation."""

    name: str
    selection: dict[str, Any]


def measure(
    folder: Path,
    table: pd.DataFrame,
    before: Before | None = None,
    history: Sequence[dict[str, Any]] = (),
    sources: Sources = Sources(),  # noqa: B008  (frozen)
    workers: int = 0,
    masks: Path | None = None,
) -> dict[str, Any]:
    """Write predictions, metrics.json, figures and card of a model folder; returns the content of metrics.json.

    `table` has all images of the model's data (see `dermhub.data`). Without `before`, name and selection are those of
    the folder's own metrics.json; without a `history` of epochs, its curves stay as they are. What was measured on
    `sources` or `masks` that are not given now stays, if the weights are those it was measured with. Raises LeakError
    when a lesion stands in two splits, and ModelError or DataError when the folder and the table do not belong together
    or a mask can't be used.
    """
    partition.check(table)
    before = before or previous(folder)
    others, maps = kept(folder), map_masks.kept(folder)
    refit.clear(folder)
    # What is measured is what was saved, read back as anyone else would read it.
    saved = Classifier(folder)
    places = {split: table[table["split"] == split] for split in partition.SPLITS}
    outputs = passes.by_split(saved, places, workers)
    config = refit.fit(folder, table, outputs)
    saved = Classifier(folder)
    rows = [_predictions(places[split], outputs[split], config.task) for split in partition.SPLITS[1:]]
    rows[1] = pd.concat([rows[1], _traits(saved, list(places["test"]["path"]), workers)], axis=1)
    files.write_text(folder / summary.PREDICTIONS, summary.to_csv(pd.concat(rows)))
    sources.write(folder, saved, others, workers)
    called = outputs["test"].logits.argmax(axis=1)
    cascade = map_masks.write(folder, saved, places["test"], called, masks, maps, workers)
    content: dict[str, Any] = {
        "model": before.name,
        "task": config.task.name,
        "weights": cost.weights(saved),
        "latency": cost.latency(saved),
        "selection": before.selection,
        "parity": None,  # until deploy/linuxone/certify.py finds a proof with these weights
        # Also the lesions of the training split, which are not among the predictions.
        **verify.recompute(folder, config) | {"overlap": partition.overlap(table)},
        "data": _describe(table, config),
    }
    if content["maps"]:
        content["maps"]["cascade"] = cascade
    _draw(folder, table, config, history)
    files.write_json(folder / verify.METRICS, content)
    files.write_text(folder / verify.CARD, cards.render(config, content))
    return content


def previous(folder: Path) -> Before:
    """Name and selection of a model that was measured before; raises ModelError when its metrics.json has none."""
    path = folder / verify.METRICS
    try:
        content = files.read_json(path)
        return Before(str(content["model"]), dict(content["selection"]))
    except (DataError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} does not tell what was chosen on validation ({error}): only a model that train.py made can be "
            "measured again."
        ) from error


def read_table(config: ModelConfig, folder: Path, more: Path | None = None) -> pd.DataFrame:
    """The table that a model was trained on: its images in a folder, with the further ones of --extra in `more`.

    Raises DataError where it is another table, naming both hashes, and what `data.read_table` and `extra.add` raise.
    """
    known = config.provenance.get("data") or {}
    if more and known and "extra" not in known:
        raise DataError(f"The model was trained without further images: leave --extra {more} out.")
    if "extra" in known and not more:
        source = known["extra"]["source"]
        raise DataError(f"The model was also trained on further images ({source}): name their folder with --extra.")
    table = data.read_table(folder, config.task)
    if more:
        table, _ = extra.add(table, more, config.task)
    expected, found = known.get("table_sha256"), partition.fingerprint(table)
    if found != expected:
        place = f"{folder} with {more}" if more else str(folder)
        raise DataError(
            f"{place} is not the data that the model was trained on: its table has the fingerprint {found}, "
            f"config.json states {expected}. `evaluate` measures a model on other data."
        )
    return table


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


def _predictions(part: pd.DataFrame, outputs: Outputs, task: Task) -> pd.DataFrame:
    columns = ["image_id", "lesion_id", "split", "dx", *(name for name in summary.ABOUT if name in part)]
    logits = pd.DataFrame(outputs.logits, columns=summary.logit_columns(task))
    return pd.concat([part[columns].reset_index(drop=True), logits], axis=1)


def _traits(saved: Classifier, paths: list[str], workers: int) -> pd.DataFrame:
    """The columns of `traits` for test images: what they are like, and what the model says of them at other sizes."""
    angles, sharp = [], []
    for path in paths:
        rgb = to_rgb(path)
        angles.append(skin.ita(rgb))
        sharp.append(skin.sharpness(rgb))
    columns: dict[str, Any] = {"ita": np.array(angles, float), "sharpness": np.array(sharp)}
    for name, factor in traits.SIZES.items():
        logits = passes.logits(saved, paths, workers, factor)
        probabilities = metrics.softmax(logits, saved.config.temperature)
        columns[f"malignancy_{name}"] = metrics.malignancy(probabilities, saved.config.task)
    return pd.DataFrame(columns)


def _describe(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    content = summary.describe(table, config.task)
    for split, counts in content.items():
        counts["image_sizes"] = image_sizes(list(table["path"][table["split"] == split]))
    return content


def _draw(folder: Path, table: pd.DataFrame, config: ModelConfig, history: Sequence[dict[str, Any]]) -> None:
    predictions = summary.read_predictions(folder / summary.PREDICTIONS, config.task)
    task, test, where = config.task, predictions[predictions["split"] == "test"], folder / FIGURES
    true: NDArray[np.int64] = data.targets(test, task)
    probabilities = metrics.softmax(summary.logits_of(test, task), config.temperature)
    matrix = metrics.confusion_matrix(true, probabilities.argmax(axis=1), len(task.classes)).tolist()
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    figures.confusion(where / "confusion_matrix.png", matrix, task, f"test, n = {len(true)}")
    figures.roc(where / "roc.png", probabilities, true, task, values)
    figures.reliability(where / "reliability.png", probabilities, true, task, f"test, n = {len(true)}")
    figures.overview(where / "data.png", table)
    if history:
        figures.curves(where / "curves.png", list(history))
