"""Tables of images: read, checked, and divided by lesion.

A table is a pandas DataFrame with one row an image and the columns image_id, lesion_id, dx, path,
split, and, where the data have them, dx_type, age, sex, localization.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import files
from dermhub.data import partition
from dermhub.errors import DataError, some, suggest
from dermhub.images.decode import to_rgb
from dermhub.models import prediction
from dermhub.tasks import LESION_NAMES, Task


def find_images(folder: Path) -> dict[str, Path]:
    """Image id (file name without extension) -> path of every image below a folder.

    The Kaggle copy of HAM10000 holds each folder twice, in two spellings: of copies with one name
    the first in sorted order is taken. Raises DataError for a folder without images, and where
    files with one name differ (in length: reading 10,000 images twice would take minutes).
    """
    paths: dict[str, Path] = {}
    for path in files.image_files(folder):
        first = paths.setdefault(path.stem, path)
        if first is not path and first.stat().st_size != path.stat().st_size:
            raise DataError(
                f"{first} and {path} differ but have one name, and so one image id: rename or "
                "remove one."
            )
    return paths


def read_labels(csv: Path) -> pd.DataFrame:
    """Read a table with at least `image_id` and `dx`; an `image_id` may carry an image's extension.

    Raises DataError for a file that is no table, missing columns, empty cells and duplicate ids.
    """
    try:
        table = pd.read_csv(csv, dtype={"image_id": str, "dx": str, "lesion_id": str, "split": str})
    except FileNotFoundError:
        raise DataError(
            f"There is no file {csv}: give a CSV table with the columns image_id and dx."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{csv} can't be read as a CSV table ({' '.join(str(error).split())})."
        ) from None
    if not isinstance(table.index, pd.RangeIndex):
        # Otherwise pandas takes the first cells for the names of the rows, and every column is one
        # off.
        raise DataError(
            f"{csv} has rows with more cells than its heading: remove the commas at their ends."
        )
    missing = [name for name in ("image_id", "dx") if name not in table]
    if missing:
        raise DataError(
            f"{csv} lacks the column(s) {some(missing)}; it has {some(table.columns)}. Expected "
            "image_id and dx."
        )
    if table.empty:
        raise DataError(f"{csv} has a heading but no rows.")
    optional = [name for name in ("lesion_id", "split") if name in table]
    for name in ("image_id", "dx", *optional):
        table[name] = table[name].str.strip()
        empty = table.index[table[name].isna() | (table[name] == "")] + 2
        if len(empty):
            raise DataError(f"{csv} has an empty {name} in line(s) {some(empty)}.")
    table["image_id"] = [_without_suffix(name) for name in table["image_id"]]
    table["dx"] = table["dx"].str.lower()
    twice = table["image_id"][table["image_id"].duplicated()].unique()
    if len(twice):
        raise DataError(
            f"{csv} lists {len(twice)} image id(s) more than once ({some(twice)}): keep one row "
            "for each."
        )
    return table


def attach_paths(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Add the column `path`; raises DataError naming the ids that have no file below the folder."""
    paths = find_images(folder)
    missing = [name for name in table["image_id"] if name not in paths]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(table)} image ids have no file below {folder}: "
            f"{some(missing)}."
        )
    return table.assign(path=[str(paths[name]) for name in table["image_id"]])


def read_table(folder: Path, task: Task) -> pd.DataFrame:
    """Read the images and labels below a folder, check them, and add each image's split.

    Understands HAM10000 (a CSV with image_id and dx, optionally lesion_id and split) and folders
    train|test/benign|malignant. Raises DataError, or LeakError when a lesion is in two splits.
    """
    table = _read_layout(folder) if _has_layout(folder) else _read_csv_folder(folder)
    check_classes(table, folder, task)
    partition.check(table)
    partition.check_copies(table)
    for split in partition.SPLITS:
        # Malignant and benign ones: without either, no threshold can be chosen and no AUROC
        # measured.
        classes = {str(task.class_of(dx)) for dx in table["dx"][table["split"] == split]}
        if not classes & task.positive or not classes - task.positive:
            content = f"holds only {some(sorted(classes))}" if classes else "is empty"
            raise DataError(
                f"The {split} split of {folder} {content}: expected malignant and benign images "
                "there."
            )
    return table.reset_index(drop=True)


def check_classes(table: pd.DataFrame, folder: Path, task: Task) -> None:
    """Raise DataError for a `dx` that the task does not know."""
    unknown = sorted({dx for dx in table["dx"] if task.class_of(dx) is None})
    if unknown:
        known = (*LESION_NAMES, *task.classes)
        raise DataError(
            f"{folder} has {len(unknown)} class(es) that the task {task.name!r} does not know "
            f"({some(unknown)}); expected "
            f"{', '.join(dict.fromkeys(known))}.{suggest(unknown[0], known)}"
        )


def read_folder(folder: Path) -> pd.DataFrame:
    """Read the one CSV table of a folder, with each image's path and lesion_id.

    Raises DataError where there is none, or several.
    """
    find_images(folder)
    tables = sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        # The Kaggle copy also holds CSV tables of pixel values; the metadata is the one to read.
        tables = [path for path in tables if path.name.lower().endswith("metadata.csv")] or tables
    if len(tables) != 1:
        raise DataError(
            f"{folder} holds {len(tables)} CSV tables, expected one with the columns image_id, dx "
            "and lesion_id, or folders train|test/benign|malignant."
        )
    table = attach_paths(read_labels(tables[0]), folder)
    if "lesion_id" not in table:
        table["lesion_id"] = _content_ids(table["path"])
    return table


def check_images(table: pd.DataFrame, split: str) -> None:
    """Decode every image of a split once; raises ImageError for the first that can't be read.

    Test images are decoded only when a run is over, which is too late to learn of a damaged one.
    """
    for path in table["path"][table["split"] == split]:
        to_rgb(path)


def targets(table: pd.DataFrame, task: Task) -> NDArray[np.int64]:
    """(N,) class indices of a table's rows; every `dx` must be one that the task knows."""
    return prediction.class_indices(table["dx"], task)


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in files.IMAGE_SUFFIXES else name


def _read_csv_folder(folder: Path) -> pd.DataFrame:
    table = read_folder(folder)
    if "split" not in table:
        table["split"] = partition.assign(table)
    wrong = sorted(set(table["split"]) - set(partition.SPLITS))
    if wrong:
        raise DataError(
            f"The table of {folder} has split(s) {some(wrong)}, expected "
            f"{', '.join(partition.SPLITS)}."
        )
    return table


def _has_layout(folder: Path) -> bool:
    return any((folder / part / "malignant").is_dir() for part in ("train", "test"))


def _read_layout(folder: Path) -> pd.DataFrame:
    """Read the folders train|test/benign|malignant; validation is taken from the train folder."""
    rows = [
        {"image_id": f"{part}/{dx}/{image_id}", "dx": dx, "path": str(path), "split": part}
        for part in ("train", "test")
        for dx in ("benign", "malignant")
        for image_id, path in find_images(folder / part / dx).items()
    ]
    table = pd.DataFrame(rows)
    table["lesion_id"] = _content_ids(table["path"])
    # A copy of a test image in train/ would be a leak: it leaves the training data.
    tested = set(table["lesion_id"][table["split"] == "test"])
    table = table[(table["split"] == "test") | ~table["lesion_id"].isin(tested)].copy()
    training = table[table["split"] == "train"]
    places = partition.divide(training)
    # `divide` also sets a test part aside; here the test images are given, so that part goes back
    # to training.
    splits = training["lesion_id"].map(places).replace({"test": "train"})
    table.loc[training.index, "split"] = splits
    return table


def _content_ids(paths: pd.Series) -> list[str]:
    """An id of the form `partition.FILE_ID` for each file, from its bytes.

    Without lesion ids, at least copies of one file count as one lesion.
    """
    return [files.sha256(Path(path))[:16] for path in paths]
