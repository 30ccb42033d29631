"""Similar cases of a model: the index, its pictures, and cases.csv, written into its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermhub import files, layout
from dermhub.arrays import Floats32, Floats64
from dermhub.data import partition
from dermhub.evaluation import predictions
from dermhub.evaluation.cases import table as cases_table
from dermhub.evaluation.cases.figures import FIRST, average_precision
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from dermhub.models.model_folder import ModelFolder
from dermhub.release import cost, external
from dermhub.release.cases import build
from dermhub.scoring import inference
from dermhub.tasks import Task

REPEATS = 50
"""Searches whose time is measured."""

DRAWN = (600, 450)
"""Width and height of the image for which they are made."""

FILES = (layout.CASES, layout.THUMBNAILS)
"""The files of an index, which config.json states."""


def write(
    folder: ModelFolder,
    table: pd.DataFrame,
    shown: Path,
    ph2: Path | None,
    workers: int = 0,
) -> ModelFolder:
    """Make the index of a measured model, and find cases for its validation and test images.

    `table` has all images of the model's data with `split` and `path`; the index holds those
    training images that lie below the folder `shown`. With `ph2`, the images of the external test
    get rows, too. Raises DataError where none may be shown, and ImageError for a damaged image.
    """
    saved = Classifier(folder.path)
    train = table[table["split"] == "train"].reset_index(drop=True)
    rows = build.shareable(train, shown)
    features = inference.features(saved, list(train["path"]), workers)
    kept = train["image_id"].isin(rows["image_id"]).to_numpy(bool)
    index, thumbnails = build.build(folder.config, train, rows, features[kept], workers)
    search = _search_all(train, features, folder.config.task)

    parts = []
    for split, part in _queries(table, ph2).items():
        own = inference.features(saved, list(part["path"]), workers)
        found = cases_table.to_rows(split, part["image_id"], index.encode(own))
        if split != "validation":
            found["all_nearest"], found["all_precision"] = search(own, part["dx"])
        parts.append(found)
    text = predictions.to_csv(pd.concat(parts))
    contents = {layout.CASES: index.to_bytes(), layout.THUMBNAILS: thumbnails.to_bytes()}
    folder = folder.write(folder.config, contents)
    files.write_text(folder.path / layout.NEIGHBOURS, text)
    return folder


def remove(folder: Path) -> None:
    """Remove the files of an index that config.json no longer states."""
    for name in (*FILES, layout.NEIGHBOURS):
        (folder / name).unlink(missing_ok=True)


def with_latency(
    block: dict[str, Any] | None, earlier: dict[str, Any] | None, folder: Path
) -> dict[str, Any] | None:
    """Add to the block `cases` of metrics.json what similar cases cost in time.

    That of the `earlier` block stays; without one, it is measured.
    """
    if block is None:
        return None
    kept = (earlier or {}).get("latency")
    return block | {"latency": kept or _latency(Classifier(folder))}


def _latency(classifier: Classifier) -> dict[str, Any]:
    """Measure the median time of a search, for a drawn image that is explained already."""
    explanation = classifier.explain(draw(0, DRAWN))
    median = cost.median_ms(lambda: classifier.similar(explanation), REPEATS)
    return {"median_ms": round(median, 2), "n": REPEATS}


def _queries(table: pd.DataFrame, ph2: Path | None) -> dict[str, pd.DataFrame]:
    """Return the images for which cases are found, by split."""
    parts = {split: table[table["split"] == split] for split in partition.SPLITS[1:]}
    return parts | ({"ph2": external.read_table(ph2)} if ph2 else {})


def _search_all(
    train: pd.DataFrame, features: Floats32, task: Task
) -> Callable[[Floats32, pd.Series], tuple[list[str], Floats64]]:
    """Return the search among all training images with all features, for comparison.

    A lesion is as near as its nearest photograph. The search takes features (M, K) and diagnoses
    (M,), and returns the classes of the 10 nearest lesions in a text, and the average precision.
    """
    lesions, lesion_of = np.unique(partition.canonical(train["lesion_id"]), return_inverse=True)
    classes = np.empty(len(lesions), object)
    classes[lesion_of] = [task.class_of(dx) for dx in train["dx"]]
    mean = features.mean(axis=0)
    places = np.argsort(lesion_of, kind="stable")
    starts = np.searchsorted(lesion_of[places], np.arange(len(lesions)))
    points = _unit(features - mean)[places]

    def search(queries: Floats32, dx: pd.Series) -> tuple[list[str], Floats64]:
        texts, averages = [], []
        for query, diagnosis in zip(_unit(queries - mean), dx, strict=True):
            likeness = np.maximum.reduceat(points @ query, starts)
            ranked = classes[np.argsort(-likeness, kind="stable")]
            texts.append(" ".join(ranked[: max(FIRST)]))
            averages.append(average_precision((ranked == task.class_of(diagnosis))[None])[0])
        return texts, np.array(averages)

    return search


def _unit(points: Floats32) -> Floats32:
    """Scale points (N, K) to the length 1."""
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))
