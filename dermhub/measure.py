"""Measure a saved model: from a model folder and a table of images to its predictions, figures and card.

Nothing is chosen here: temperature, thresholds and weights stay as they are. What is fitted on training and
validation images alone and ships beside the weights is fitted anew (`refit`), and the test split is read once.
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

from dermhub import cards, checkpoint, cost, data, figures, files, metrics, partition, seen, summary
from dermhub.classifier import Classifier
from dermhub.config import ModelConfig
from dermhub.errors import DataError, ModelError
from dermhub.preprocess import to_rgb
from dermhub.training import predict_all

FIGURES, METRICS, CARD = "figures", "metrics.json", "README.md"


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
    workers: int = 0,
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json, figures and card of a model folder; returns the content of metrics.json.

    `table` has all images of the model's data (see `dermhub.data`). Without `before`, name and selection are those of
    the folder's own metrics.json; without a `history` of epochs, its curves stay as they are. Raises LeakError when a
    lesion stands in two splits, and ModelError or DataError when the folder and the table do not belong together.
    """
    partition.check(table)
    before = before or previous(folder)
    refit(folder, table, workers)
    # What is measured is what was saved, read back as anyone else would read it.
    saved = Classifier(folder)
    config = saved.config
    parts = [_predict(saved, table[table["split"] == split], workers) for split in partition.SPLITS[1:]]
    files.write_text(folder / summary.PREDICTIONS, summary.to_csv(pd.concat(parts)))
    predictions = summary.read_predictions(folder / summary.PREDICTIONS, config.task)
    content: dict[str, Any] = {
        "model": before.name,
        "task": config.task.name,
        "weights": cost.weights(saved),
        "latency": cost.latency(saved),
        "selection": before.selection,
        # Also the lesions of the training split, which are not among the predictions.
        **summary.recompute(predictions, config) | {"overlap": partition.overlap(table)},
        "data": _describe(table, config),
    }
    _draw(folder / FIGURES, table, predictions, config, history)
    files.write_json(folder / METRICS, content)
    files.write_text(folder / CARD, cards.render(config, content))
    return content


def refit(folder: Path, table: pd.DataFrame, workers: int = 0) -> None:  # noqa: ARG001  (hashes need no workers)
    """Fit what ships beside the weights, on training and validation images alone, and state it in config.json."""
    known = table[table["split"].isin(seen.SPLITS)]
    manifest = seen.build(map(to_rgb, known["path"]), list(known["image_id"]), list(known["split"]))
    checkpoint.add_file(folder, seen.NAME, manifest.to_bytes())


def previous(folder: Path) -> Before:
    """Name and selection of a model that was measured before; raises ModelError when its metrics.json has none."""
    path = folder / METRICS
    try:
        content = files.read_json(path)
        return Before(str(content["model"]), dict(content["selection"]))
    except (DataError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} does not tell what was chosen on validation ({error}): only a model that train.py made can be "
            "measured again."
        ) from error


def check_table(config: ModelConfig, table: pd.DataFrame, source: Path) -> None:
    """Refuse a table that is not the one a model was trained on; raises DataError naming both hashes."""
    expected, found = config.provenance.get("data", {}).get("table_sha256"), partition.fingerprint(table)
    if found != expected:
        raise DataError(
            f"{source} is not the data that the model was trained on: its table has the fingerprint {found}, "
            f"config.json states {expected}. `evaluate` measures a model on other data."
        )


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


def _predict(saved: Classifier, part: pd.DataFrame, workers: int) -> pd.DataFrame:
    logits = predict_all(saved.model, list(part["path"]), saved.config.input, workers)
    columns = ["image_id", "lesion_id", "split", "dx", *(name for name in summary.ABOUT if name in part)]
    kept = part[columns].reset_index(drop=True)
    return pd.concat([kept, pd.DataFrame(logits, columns=summary.logit_columns(saved.config.task))], axis=1)


def _describe(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    content = summary.describe(table, config.task)
    for split, counts in content.items():
        counts["image_sizes"] = image_sizes(list(table["path"][table["split"] == split]))
    return content


def _draw(
    folder: Path,
    table: pd.DataFrame,
    predictions: pd.DataFrame,
    config: ModelConfig,
    history: Sequence[dict[str, Any]],
) -> None:
    task, test = config.task, predictions[predictions["split"] == "test"]
    true: NDArray[np.int64] = data.targets(test, task)
    probabilities = metrics.softmax(summary.logits_of(test, task), config.temperature)
    matrix = metrics.confusion_matrix(true, probabilities.argmax(axis=1), len(task.classes)).tolist()
    values = {name: threshold.value for name, threshold in config.thresholds.items()}
    figures.confusion(folder / "confusion_matrix.png", matrix, task, f"test, n = {len(true)}")
    figures.roc(folder / "roc.png", probabilities, true, task, values)
    figures.reliability(folder / "reliability.png", probabilities, true, f"test, n = {len(true)}")
    figures.overview(folder / "data.png", table)
    if history:
        figures.curves(folder / "curves.png", list(history))
