"""Figures of a model on labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import layout
from dermhub.arrays import Floats32
from dermhub.data import batches, partition, tables
from dermhub.errors import DataError, some
from dermhub.evaluation import summary
from dermhub.images.photo import Photo
from dermhub.models.classifier import Classifier
from dermhub.tasks import Task


@dataclass(frozen=True)
class Labelled:
    """Labelled images that a task can score, and what was left out and why."""

    table: pd.DataFrame
    left_out: dict[str, int]


def read_labelled(images: Path, labels: Path, task: Task, split: str = "") -> Labelled:
    """Read `image_id,dx` and find the files; labels that are no class of the task are counted and
    left out.

    `split` keeps the images of one split of the shipped partition and needs a column lesion_id.
    Raises DataError when nothing is left.
    """
    table = tables.read_labels(labels)
    if split:
        if "lesion_id" not in table:
            raise DataError(
                f"--split {split} needs a column lesion_id in {labels}, which has "
                f"{some(table.columns)}."
            )
        table = table[table["lesion_id"].map(partition.shipped()) == split]
        if table.empty:
            raise DataError(
                f"No lesion of {labels} is in the {split} split of HAM10000: leave --split out."
            )
    known = np.array([task.class_of(dx) is not None for dx in table["dx"]])
    left_out = {
        str(dx): int(n) for dx, n in table["dx"][~known].value_counts().sort_index().items()
    }
    if not known.any():
        raise DataError(
            f"No label of {labels} is a class of the task {task.name!r}: it has {some(left_out)}, "
            f"expected {', '.join(task.classes)}."
        )
    return Labelled(tables.attach_paths(table[known], images).reset_index(drop=True), left_out)


def evaluate(classifier: Classifier, labelled: Labelled, workers: int = 0) -> dict[str, Any]:
    """Every figure of a model on labelled images, and how many of these it has learned from, as far
    as can be told.

    `images_of_training_lesions` goes by the lesion ids of HAM10000; `copies_of_images_learnt_from`,
    by perceptual hash (`dermhub.images.near_duplicates`), counts those among the other images that
    are not of its test lesions.
    """
    config, table = classifier.config, labelled.table
    unknown = "unknown: the table has no lesion_id"
    places = table["lesion_id"].map(partition.shipped()) if "lesion_id" in table else None
    # Images of HAM10000's lesions are counted by their ids.
    unclear = np.ones(len(table), bool) if places is None else places.isna().to_numpy()
    logits, copies = _answers(classifier, list(table["path"]), unclear, workers)
    return {
        "model": classifier.name,
        "task": config.task.name,
        "left_out": labelled.left_out,
        "lesions": None if places is None else int(table["lesion_id"].nunique()),
        "images_of_training_lesions": unknown
        if places is None
        else int(places.isin(["train", "validation"]).sum()),
        "copies_of_images_learnt_from": copies
        if classifier.seen
        else f"unknown: the model has no {layout.SEEN}",
        **summary.summarize(logits, tables.targets(table, config.task), config),
    }


def _answers(
    classifier: Classifier, paths: list[str], unclear: NDArray[np.bool_], workers: int
) -> tuple[Floats32, int]:
    """(N, C) logits of images, and how many of those that are `unclear` (N,) are copies of images
    that the model has learned from. Each image is decoded once.
    """

    seen = classifier.seen

    def view(photo: Photo, place: int) -> tuple[Floats32, bool]:
        copy = bool(seen and unclear[place] and seen.find(photo.hashes))
        return photo.array(classifier.config.input), copy

    def answer(views: list[tuple[Floats32, bool]]) -> tuple[Floats32, int]:
        arrays, copies = zip(*views, strict=True)
        return classifier.engine.forward(np.stack(arrays))[0], sum(copies)

    logits, copies = zip(*batches.map_batches(answer, paths, view, workers), strict=True)
    return np.concatenate(logits), sum(copies)
