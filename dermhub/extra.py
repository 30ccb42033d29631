"""More training images from another folder. None of them is validated or tested on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermhub import data, partition, seen
from dermhub.errors import DataError
from dermhub.labels import Task
from dermhub.preprocess import to_rgb


def add(table: pd.DataFrame, folder: Path, task: Task) -> tuple[pd.DataFrame, int]:
    """A table with a folder's images (a CSV with image_id and dx) added to its training split, and how many were not.

    Left out are images whose id the table has (in any case), images of its validation and test lesions, and copies of
    validation and test images, by perceptual hash: those figures would be of images that the model has seen. Copies
    that are scaled, compressed, turned by quarters, mirrored or cut to the central square are found; other crops are
    not. Raises DataError where nothing is left or the folder can't be read, and ImageError for an image that can't.
    """
    found = data.labelled(folder)
    data.check_classes(found, folder, task)
    held = table[table["split"] != "train"]
    known = found["image_id"].str.casefold().isin(table["image_id"].str.casefold())
    known |= _canonical(found["lesion_id"]).isin(_canonical(held["lesion_id"]))
    # A manifest holds what a model has seen, which these must not become; it takes the name of one split for all.
    manifest = seen.build((to_rgb(path) for path in held["path"]), list(held["image_id"]), ["validation"] * len(held))
    copies = [manifest.find(to_rgb(path)) is not None for path in found["path"]]
    kept = found[~known & ~pd.Series(copies, index=found.index)].assign(split="train")
    if kept.empty:
        raise DataError(
            f"All {len(found)} images of {folder} are known already, or of lesions that are held out: expected others."
        )
    columns = [name for name in kept if name in table]
    joined = pd.concat([table.assign(extra=False), kept[columns].assign(extra=True)], ignore_index=True)
    partition.check(joined)
    return joined, len(found) - len(kept)


def of(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that `add` has added to a table."""
    return table[table["extra"]] if "extra" in table else table[:0]


def _canonical(lesions: pd.Series) -> pd.Series:
    """Lesion ids in one case, and one of the two names of a lesion that has two."""
    names = {name.casefold(): other.casefold() for name, other in partition.SAME_LESION.items()}
    return lesions.str.casefold().replace(names)
