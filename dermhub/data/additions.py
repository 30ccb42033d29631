"""Additions to the training split from other folders. None of them is validated or tested on.

`add_images` adds more images, and `add_sharper` sharper copies of training images, shown in their
place so often that sharpness says nothing of the diagnosis.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub import files
from dermhub.data import image_files, partition, tables
from dermhub.data.sources import labels
from dermhub.errors import DataError, Say, silent, some
from dermhub.images import near_duplicates
from dermhub.images.decode import to_rgb
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec, view_box
from dermhub.tasks import Task

SHARPER = "sharper"
"""Column with the path of an image's sharper copy, "" for none."""

SIDE = 32
"""Height and width in pixels at which a copy is compared with its image."""

DIFFERENCE = 5.0
"""Largest mean difference, of 255, between an image and its copy.

Of 4,305 copies of HAM10000, 99 % differ by less than 3.8, and an image from the copy of another, be
it the most similar one, by 5.2 and more.
"""


def add_images(
    table: pd.DataFrame, folder: Path, task: Task, columns: str = "", say: Say = silent
) -> tuple[pd.DataFrame, int]:
    """Add the images of a folder with a table of labels to a table's training split.

    `columns` is the option --columns, heeded where that table has such columns.

    Returns the table and the number of images left out. Left out are images whose id the table has
    (in any case), images of its validation and test lesions and patients, and copies of validation
    and test images, by perceptual hash: those figures would be of images that the model has seen.
    Copies that are scaled, compressed, turned by quarters, mirrored or cut to the central square
    are found; other crops are not. Raises DataError where nothing is left or the folder can't be
    read, and ImageError for an image that can't.
    """
    added = tables.read_folder(folder, columns, columns_may_lack=True, say=say)
    added = labels.for_task(added, task, say)
    tables.check_classes(added, folder, task)
    held_out = table[table["split"] != "train"]
    excluded = added["image_id"].str.casefold().isin(table["image_id"].str.casefold())
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
    shared = [name for name in kept if name in table]
    joined = pd.concat(
        [table.assign(extra=False), kept[shared].assign(extra=True)], ignore_index=True
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


def add_sharper(table: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, int, int]:
    """Add the column `sharper` to a table: the paths of a folder's sharper copies.

    Returns the table, the number of training images with a copy, and the number of copies left out.
    A copy has its image's name and shows the same view (or the view's central square) in more
    pixels; the column is empty for all images without one and for those of validation and test.
    Left out are copies that show something else, which could be a photograph that is held out.
    Raises DataError for a folder without a copy or without one of some diagnosis, and for a copy
    that is not larger than its image.
    """
    if table["image_id"].str.contains("/").any():
        raise DataError(
            "Sharper copies are found by image_id: expected data with a table, not folders of "
            "classes."
        )
    trained = table["split"] == "train"
    matches = image_files.Places(folder).match(list(table["image_id"]))
    candidates = [
        str(path) if path and train else "" for path, train in zip(matches, trained, strict=True)
    ]
    copies = [
        copy if copy and _same_view(path, copy) else ""
        for path, copy in zip(table["path"], candidates, strict=True)
    ]
    if not any(copies):
        raise DataError(
            f"{folder} has no copy of a training image: expected files that have their image_id as "
            "a name."
        )
    with_copy = {dx for dx, copy in zip(table["dx"], copies, strict=True) if copy}
    without = set(table["dx"][trained]) - with_copy
    if without:
        raise DataError(
            f"{folder} has no copy of any image of {some(sorted(without))}: a model could tell it "
            "by its sharpness, so no copy can be used. Expected copies of every diagnosis."
        )
    count = sum(map(bool, copies))
    left_out = sum(map(bool, candidates)) - count
    column = pd.Series(copies, index=table.index, dtype=object)
    return table.assign(**{SHARPER: column}), count, left_out


def _same_view(path: str, copy: str) -> bool:
    """Compare an image with its copy; raises DataError for a copy that is not larger."""
    image = to_rgb(path)
    sharper = to_rgb(copy)
    # Very large images are decoded at a reduced size, so the sizes are read from the files.
    width, height = _size(path)
    copy_width, copy_height = _size(copy)
    if min(copy_width, copy_height) <= min(width, height):
        raise DataError(
            f"{copy} is {copy_width} x {copy_height} pixels, not larger than {path} ({width} x "
            f"{height}): expected a sharper copy."
        )
    difference = np.abs(_thumbnail(image) - _thumbnail(sharper))
    return float(difference.mean()) <= DIFFERENCE


def _size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _thumbnail(rgb: Image.Image) -> NDArray[np.float32]:
    """The view of an image at `SIDE` x `SIDE` pixels: (SIDE, SIDE, 3), 0 to 255."""
    box = view_box(rgb.size, InputSpec(SIDE))
    return np.asarray(rgb.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), np.float32)


def sharper_fingerprint(table: pd.DataFrame) -> str:
    """A sha256 over the copies that a table names: which image each belongs to, and its bytes."""
    used = table.loc[table[SHARPER] != "", ["image_id", SHARPER]].sort_values("image_id")
    lines = (f"{name} {files.sha256(Path(path))}\n" for name, path in used.itertuples(index=False))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def substitution_probability(rows: pd.DataFrame) -> NDArray[np.float64]:
    """(N,) probability that an image's copy is shown in its place.

    Of each diagnosis the same share of views is sharp: as many as the one with the fewest copies
    has. Otherwise a model could learn that blurred means melanoma (of HAM10000, 44 % of the
    melanomas have a copy and 64 % of the nevi).
    """
    has_copy = rows[SHARPER] != ""
    shares = has_copy.groupby(rows["dx"]).mean()
    # A diagnosis without copies is divided by a small number instead of 0; none of it has a copy.
    share_of_row = rows["dx"].map(shares).clip(lower=1e-9)
    return np.asarray(np.where(has_copy, shares.min() / share_of_row, 0.0))
