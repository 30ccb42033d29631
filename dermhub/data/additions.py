"""More training images from another folder. None of them is validated or tested on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub import files
from dermhub.data import partition, tables
from dermhub.errors import DataError, some
from dermhub.images import near_duplicates
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec, view_box
from dermhub.tasks import Task


def add_images(table: pd.DataFrame, folder: Path, task: Task) -> tuple[pd.DataFrame, int]:
    """A table with a folder's images (a CSV with image_id and dx) added to its training split, and
    how many were not.

    Left out are images whose id the table has (in any case), images of its validation and test
    lesions, and copies of validation and test images, by perceptual hash: those figures would be of
    images that the model has seen. Copies that are scaled, compressed, turned by quarters, mirrored
    or cut to the central square are found; other crops are not. Raises DataError where nothing is
    left or the folder can't be read, and ImageError for an image that can't.
    """
    found = tables.read_folder(folder)
    tables.check_classes(found, folder, task)
    held = table[table["split"] != "train"]
    known = found["image_id"].str.casefold().isin(table["image_id"].str.casefold())
    known |= _canonical(found["lesion_id"]).isin(_canonical(held["lesion_id"]))
    # A manifest holds what a model has seen, which these must not become; it takes the name of one
    # split for all.
    manifest = near_duplicates.build(
        (to_rgb(path) for path in held["path"]), list(held["image_id"]), ["validation"] * len(held)
    )
    copies = [
        manifest.find(near_duplicates.hashes(to_rgb(path))) is not None for path in found["path"]
    ]
    kept = found[~known & ~pd.Series(copies, index=found.index)].assign(split="train")
    if kept.empty:
        raise DataError(
            f"All {len(found)} images of {folder} are known already, or of lesions that are held "
            "out: expected others."
        )
    columns = [name for name in kept if name in table]
    joined = pd.concat(
        [table.assign(extra=False), kept[columns].assign(extra=True)], ignore_index=True
    )
    partition.check(joined)
    return joined, len(found) - len(kept)


def added_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that `add` has added to a table."""
    return table[table["extra"]] if "extra" in table else table[:0]


def _canonical(lesions: pd.Series) -> pd.Series:
    """Lesion ids in one case, and one of the two names of a lesion that has two."""
    names = {name.casefold(): other.casefold() for name, other in partition.SAME_LESION.items()}
    return lesions.str.casefold().replace(names)


SHARPER = "sharper"


SIDE = 32
"""Height and width in pixels at which a copy is compared with its image."""


DIFFERENCE = 5.0
"""Largest mean difference, of 255, between an image and its copy. Of 4,305 copies of HAM10000, 99 %
differ by less than 3.8, and an image from the copy of another, be it the most similar one, by 5.2
and more.
"""


def add_sharper(table: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, int, int]:
    """A table with the column `sharper`, how many training images have a copy there, and how many
    copies were left out.

    A copy has its image's name and shows the same view (or the view's central square) in more
    pixels; the column holds its path, and is empty for all images without one and for those of
    validation and test. Left out are copies that show something else, which could be a photograph
    that is held out. Raises DataError for a folder without a copy or without one of some diagnosis,
    and for a copy that is not larger than its image.
    """
    if table["image_id"].str.contains("/").any():
        raise DataError(
            "Sharper copies are found by image_id: expected data with a table, not folders of "
            "classes."
        )
    found = tables.find_images(folder)
    trained = table["split"] == "train"
    paths = [
        str(found.get(name, "")) if train else ""
        for name, train in zip(table["image_id"], trained, strict=True)
    ]
    kept = [
        copy if copy and _same(own, copy) else ""
        for own, copy in zip(table["path"], paths, strict=True)
    ]
    if not any(kept):
        raise DataError(
            f"{folder} has no copy of a training image: expected files that have their image_id as "
            "a name."
        )
    without = set(table["dx"][trained]) - {
        dx for dx, copy in zip(table["dx"], kept, strict=True) if copy
    }
    if without:
        raise DataError(
            f"{folder} has no copy of any image of {some(sorted(without))}: a model could tell it "
            "by its sharpness, so "
            "no copy can be used. Expected copies of every diagnosis."
        )
    count = sum(map(bool, kept))
    return table.assign(**{SHARPER: kept}), count, sum(map(bool, paths)) - count


def sharper_fingerprint(table: pd.DataFrame) -> str:
    """A hash over the copies that a table names: which image each belongs to, and its bytes."""
    shown = table.loc[table[SHARPER] != "", ["image_id", SHARPER]].sort_values("image_id")
    lines = (f"{name} {files.sha256(Path(path))}\n" for name, path in shown.itertuples(index=False))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def substitution_probability(rows: pd.DataFrame) -> NDArray[np.float64]:
    """(N,) probability that an image's copy is shown in its place.

    Of each diagnosis the same share of views is sharp: as many as the one with the fewest copies
    has. Otherwise a model could learn that blurred means melanoma (of HAM10000, 44 % of the
    melanomas have a copy and 64 % of the nevi).
    """
    has = rows[SHARPER] != ""
    shares = has.groupby(rows["dx"]).mean()
    return np.asarray(np.where(has, shares.min() / rows["dx"].map(shares).clip(lower=1e-9), 0.0))


def _same(own: str, copy: str) -> bool:
    image, other = to_rgb(own), to_rgb(copy)
    # Very large images come reduced, so that their files tell the sizes.
    sizes = [_size(path) for path in (own, copy)]
    if min(sizes[1]) <= min(sizes[0]):
        (width, height), (wide, high) = sizes
        raise DataError(
            f"{copy} is {wide} x {high} pixels, not larger than {own} ({width} x {height}): "
            "expected a sharper copy."
        )
    return float(np.abs(_small(image) - _small(other)).mean()) <= DIFFERENCE


def _size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _small(rgb: Image.Image) -> NDArray[np.float32]:
    box = view_box(rgb.size, InputSpec(SIDE))
    return np.asarray(rgb.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), np.float32)
