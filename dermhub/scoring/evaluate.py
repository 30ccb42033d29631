"""Evaluation of a model on labelled images."""

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
from dermhub.data.sources import delimited
from dermhub.data.sources import labels as source_labels
from dermhub.errors import DataError, some
from dermhub.evaluation import summary
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.tasks import Task


@dataclass(frozen=True)
class Labelled:
    """Labelled images that a task can score.

    `table` holds a row for each image; `left_out` counts the images of each other diagnosis, and
    `notes` are sentences about how the table was read.
    """

    table: pd.DataFrame
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()


def read_labelled(
    images: Path, labels: Path, task: Task, split: str = "", columns: str = ""
) -> Labelled:
    """Read a table of labels, and look for the images' files.

    The table is of a known format, or `columns`, the option --columns, names its columns
    (`dermhub.data.sources.formats`). Images whose label is no class of the task are counted and
    left out. `split` keeps the images of a single split: of the table's own column, or else of the
    shipped partition, which needs a column lesion_id. Raises DataError when no image is left.
    """
    notes: list[str] = []
    table = source_labels.read(labels, columns, say=notes.append)
    table = source_labels.for_task(table, task, notes.append)
    all_ids = list(table["image_id"])
    if split and "split" in table:
        splits = sorted(set(table["split"]))
        table = table[table["split"] == split]
        if table.empty:
            raise DataError(
                f"No image of {labels} is in the {split} split: its own column of splits has "
                f"{some(splits)}."
            )
    elif split:
        if "lesion_id" not in table:
            raise DataError(
                f"--split {split} needs a column lesion_id in {labels}, which has "
                f"{some(delimited.read_heading(labels).heading, 12)}: name the one with the "
                "lesions of HAM10000, as in --columns lesion=COLUMN."
            )
        table = table[table["lesion_id"].map(partition.shipped()) == split]
        if table.empty:
            raise DataError(
                f"No lesion of {labels} is in the {split} split of HAM10000: leave --split out."
            )
    has_class = np.array([task.class_of(dx) is not None for dx in table["dx"]])
    others = table["dx"][~has_class].value_counts().sort_index()
    left_out = {str(dx): int(count) for dx, count in others.items()}
    if not has_class.any():
        raise DataError(
            f"No label of {labels} is a class of the task {task.name!r}: it has {some(left_out)}, "
            f"expected {', '.join(task.classes)}."
        )
    left_out_ids = set(all_ids) - set(table["image_id"][has_class])
    scored = tables.attach_paths(table[has_class], images, notes.append, left_out_ids)
    if "lesion_id" in scored:
        scored = tables.fill_lesions(scored, notes.append)
    return Labelled(scored.reset_index(drop=True), left_out, tuple(notes))


def evaluate(classifier: Classifier, labelled: Labelled, workers: int = 0) -> dict[str, Any]:
    """Work out every figure of a model on labelled images, as JSON-ready values.

    Two figures count the images that the model may have learnt from. `images_of_training_lesions`
    goes by the lesion ids of HAM10000. `copies_of_images_learnt_from` goes by perceptual hashes
    (`dermhub.images.near_duplicates`), and counts only images whose lesions are not in HAM10000.
    Each is a sentence where it can't be counted.
    """
    config = classifier.config
    table = labelled.table
    lesions: int | None
    of_training: int | str
    if "lesion_id" in table:
        splits = table["lesion_id"].map(partition.shipped())
        lesions = int(table["lesion_id"].nunique())
        of_training = int(splits.isin(["train", "validation"]).sum())
        # Images of HAM10000's lesions are counted by their ids, and need no hash.
        unclear = splits.isna().to_numpy()
    else:
        lesions = None
        of_training = "unknown: the table has no lesion_id"
        unclear = np.ones(len(table), bool)
    logits, copies = _answers(classifier, list(table["path"]), unclear, workers)
    no_hashes = f"unknown: the model has no {layout.SEEN}"
    return {
        "model": classifier.name,
        "task": config.task.name,
        "left_out": labelled.left_out,
        "lesions": lesions,
        "images_of_training_lesions": of_training,
        "copies_of_images_learnt_from": copies if classifier.seen else no_hashes,
        **summary.summarize(logits, tables.targets(table, config.task), config),
        **_rules(table, logits, config),
    }


def _rules(table: pd.DataFrame, logits: Floats32, config: ModelConfig) -> dict[str, Any]:
    """Figures of both rules for the class as `rules`; {} for a model that states no prior."""
    if not config.prior:
        return {}
    probabilities = prediction.calibrated(logits, config)
    return {"rules": summary.rule_figures(table, probabilities, config)}


def _answers(
    classifier: Classifier, paths: list[str], unclear: NDArray[np.bool_], workers: int
) -> tuple[Floats32, int]:
    """Return the logits (N, C) of images, and the number of copies of images learnt from.

    Copies are counted among the images that are `unclear` (N,). Each image is decoded once.
    """
    seen = classifier.seen

    def view(photo: Photo, place: int) -> tuple[Floats32, bool]:
        copy = bool(seen and unclear[place] and seen.find(photo.hashes))
        return photo.array(classifier.config.input), copy

    def answer(views: list[tuple[Floats32, bool]]) -> tuple[Floats32, int]:
        arrays, copies = zip(*views, strict=True)
        return classifier.engine.forward(np.stack(arrays))[0], sum(copies)

    answers = batches.map_batches(answer, paths, view, workers)
    logits, copies = zip(*answers, strict=True)
    return np.concatenate(logits), sum(copies)
