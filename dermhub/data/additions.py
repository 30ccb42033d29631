"""Further training images from other folders. None of them is validated or tested on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermhub.data import partition, tables
from dermhub.data.sources import formats, labels
from dermhub.errors import ConfigError, DataError, Say, silent, some
from dermhub.images import near_duplicates
from dermhub.images.photo import Photo
from dermhub.tasks import COARSE, Task

SOURCE = "source"
"""Column with the source of a training image: "" for the data themselves.

Of further images it is the name of their folder and, where their table has a column `collection`,
the collection.
"""


def folders(value: str) -> list[Path]:
    """Return the folders that --extra names, with commas between them; none for "".

    Raises ConfigError for a name that is empty or comes twice.
    """
    # A folder may have a comma in its name. Path.is_dir raises for what is too long to be one.
    if not value or os.path.isdir(value):  # noqa: PTH112
        return [Path(value)] if value else []
    names = [name.strip() for name in value.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            f"--extra is {value!r}, expected folders, each once, with commas between them."
        )
    return [Path(name) for name in names]


def add_all(
    table: pd.DataFrame, folders: Sequence[Path], task: Task, columns: str = "", say: Say = silent
) -> tuple[pd.DataFrame, int]:
    """Add the images of several folders by `add_images`, which says what is returned and raised."""
    left_out = 0
    table = _marked(table) if folders else table
    for folder in folders:
        table, more = _add(table, folder, task, columns, say)
        left_out += more
    return table, left_out


def add_images(
    table: pd.DataFrame, folder: Path, task: Task, columns: str = "", say: Say = silent
) -> tuple[pd.DataFrame, int]:
    """Add the images of a folder with a table of labels to a table's training split.

    `columns` is the option --columns, heeded where that table has such columns.

    Returns the table and the number of images left out. Left out are images whose id the table has
    (in any case), images of its validation and test lesions and patients, and copies of validation
    and test images, by perceptual hash: those figures would be of images that the model has seen.
    Copies that are scaled, compressed, turned by quarters, mirrored or cut to the central square
    are found; other crops are not. So are images of a diagnosis that the task does not know, where
    the table says that they are benign or malignant. An image that is only called benign or
    malignant stays (`tables.training_targets`).

    Raises DataError where nothing is left or the folder can't be read, and ImageError for an image
    that can't.
    """
    return _add(_marked(table), folder, task, columns, say)


def _marked(table: pd.DataFrame) -> pd.DataFrame:
    """Mark a table's images as its own; columns of the data that are called so mean nothing."""
    return table.assign(extra=False, **{SOURCE: ""})


def _add(
    table: pd.DataFrame, folder: Path, task: Task, columns: str, say: Say
) -> tuple[pd.DataFrame, int]:
    """Add the images of a folder to a table that is marked; see `add_images`."""
    added = tables.read_folder(folder, columns, columns_may_lack=True, say=say)
    added = labels.for_task(added, task, say)
    has_class = np.array([task.class_of(dx) is not None for dx in added["dx"]], bool)
    named = has_class | added["dx"].isin(COARSE)
    unknown = ~named & (added[labels.MALIGNANCY] != "")
    tables.check_classes(added[~unknown & ~added["dx"].isin(COARSE)], folder, task)
    if unknown.any():
        say(
            f"{folder}: {int(unknown.sum())} image(s) of diagnoses that the task {task.name!r} "
            f"does not know are left out ({some(sorted(set(added['dx'][unknown])))})."
        )
    held_out = table[table["split"] != "train"]
    excluded = unknown | added["image_id"].str.casefold().isin(table["image_id"].str.casefold())
    excluded |= _canonical(added["lesion_id"]).isin(_canonical(held_out["lesion_id"]))
    if partition.PATIENT in table and partition.PATIENT in added:
        patients = set(held_out[partition.PATIENT]) - {""}
        excluded |= added[partition.PATIENT].isin(patients)
    excluded |= _copies_of(held_out, added)
    kept = added[~excluded].assign(split="train")
    if kept.empty:
        raise DataError(
            f"All {len(added)} images of {folder} are known already, or of lesions that are held "
            "out: expected others."
        )
    collections = kept.get(formats.COLLECTION, pd.Series("", index=kept.index))
    places = [f"{folder.resolve().name} {name}".strip() for name in collections]
    shared = [name for name in kept if name in table and name not in ("extra", SOURCE)]
    joined = pd.concat(
        [table, kept[shared].assign(extra=True, **{SOURCE: places})], ignore_index=True
    )
    partition.check(joined)
    return joined, len(added) - len(kept)


def _canonical(lesions: pd.Series) -> pd.Series:
    """Lesion ids in one case, and one of the two names of a lesion that has two."""
    names = {name.casefold(): other.casefold() for name, other in partition.SAME_LESION.items()}
    return lesions.str.casefold().replace(names)


def _copies_of(held_out: pd.DataFrame, added: pd.DataFrame) -> pd.Series:
    """Mark the rows of `added` whose image is a near-duplicate of one of `held_out`."""
    # The hashes were made for images that a model has seen, and name the split of each; here they
    # hold those that it must not see, under the name of one split for all.
    images = (Photo.open(path).working_copy for path in held_out["path"])
    splits = ["validation"] * len(held_out)
    forbidden = near_duplicates.build(images, list(held_out["image_id"]), splits)
    hashes = (Photo.open(path).hashes for path in added["path"])
    copies = [forbidden.find(of_image) is not None for of_image in hashes]
    return pd.Series(copies, index=added.index)


def added_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that `add_images` has added to a table."""
    return table[table["extra"]] if "extra" in table else table[:0]


def own_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that `add_images` has not added."""
    return table[~table["extra"].astype(bool)] if "extra" in table else table
