"""Tables of images: read, checked, and divided by lesion.

A table is a pandas DataFrame with one row an image and the columns image_id, lesion_id, dx, path,
split, and, where the data have them, patient_id, dx_type, age, sex, localization.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.data import image_files, partition
from dermhub.data.sources import delimited, diagnoses, formats, labels, layouts
from dermhub.data.sources.layouts import Layout
from dermhub.errors import DataError, Say, silent, some, suggest
from dermhub.images.decode import to_rgb
from dermhub.models import prediction
from dermhub.tasks import BINARY, COARSE, LESION, LESION_NAMES, Task

SUFFIXES = ("", ".csv", ".tab", ".tsv", ".txt", ".gz")
"""Endings of tables. The one of HAM10000 on Dataverse has none, or is a .tab."""

WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def attach_paths(
    table: pd.DataFrame, folder: Path, say: Say = silent, others: Iterable[str] = ()
) -> pd.DataFrame:
    """Add the column `path`, and say how many images no row names.

    `others` are ids of rows that are not wanted here. See `image_files.Places` for the ids that a
    file may have. Raises DataError naming the ids that have no file below the folder.
    """
    places = image_files.Places(folder)
    matches = places.match(list(table["image_id"]))
    missing = [name for name, path in zip(table["image_id"], matches, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(table)} image ids have no file below {folder}: "
            f"{some(missing)}."
        )
    paths = [path for path in matches if path is not None]
    image_files.check_files(paths)
    if unnamed := places.unnamed(others):
        say(
            f"{folder}: {len(unnamed):,} image(s) there are named by no row of the table, and not "
            f"used ({some(unnamed, 3)})."
        )
    # pandas' own texts are UTF-8, which the name of a file need not be.
    return table.assign(path=pd.Series(map(str, paths), index=table.index, dtype=object))


def read_table(
    folder: Path, task: Task, columns: str = "", columns_may_lack: bool = False, say: Say = silent
) -> pd.DataFrame:
    """Read the images and labels below a folder, check them, and add each image's split.

    Understands a table of labels in any format of `formats.FORMATS` or with `columns`, the option
    --columns, and folders of classes, with or without folders of splits, also one or two folders
    deeper. With `columns_may_lack` the option is heeded only where a table has these columns.
    Raises DataError, or LeakError when a lesion or a patient is in two splits.
    """
    source = _source(folder, columns, bool(columns) and not columns_may_lack, say)
    if isinstance(source, Layout):
        table = layouts.read(source, say)
    else:
        table = _read_labelled(source, folder, columns, columns_may_lack, say)
        table = labels.for_task(table, task, say)
    check_classes(table, folder, task)
    if "split" not in table:
        table["split"] = partition.assign(table)
    _check_splits(table, folder, task)
    return table.drop(columns=labels.MALIGNANCY, errors="ignore").reset_index(drop=True)


def check_classes(table: pd.DataFrame, folder: Path, task: Task) -> None:
    """Raise DataError for a `dx` that the task does not know."""
    others = table["dx"][[task.class_of(dx) is None for dx in table["dx"]]]
    unknown = sorted(set(others))
    if unknown:
        known = (*LESION_NAMES, *task.classes)
        raise DataError(
            f"{folder} has {len(unknown)} class(es) that the task {task.name!r} does not know "
            f"({some(unknown)}); expected "
            f"{', '.join(dict.fromkeys(known))}. {_advice(table, others, task)}"
            f"{suggest(unknown[0], known)}"
        )


def _advice(table: pd.DataFrame, others: pd.Series, task: Task) -> str:
    """Say how many images are of no class, and what to do about them."""
    counts = others.value_counts()
    each = some((f"{count:,} x {dx}" for dx, count in counts.items()), 9)
    advice = f"They are {len(others):,} of {len(table):,} images ({each}): take these out"
    says = table.get(labels.MALIGNANCY, pd.Series("", index=table.index))[others.index] != ""
    words = [bool(diagnoses.malignancy_of(dx)) for dx in counts.index]
    if task is LESION and (says.all() or all(words)):
        advice += ", or train --task binary, as it is known which are malignant"
    elif all(words):
        advice += ", or say that the column is about malignancy with --columns malignant=COLUMN"
    elif task is BINARY:
        advice += ", or say in a column malignant (0 or 1) what they are"
    return f"{advice}."


def read_folder(
    folder: Path, columns: str = "", columns_may_lack: bool = False, say: Say = silent
) -> pd.DataFrame:
    """Read the table of labels of a folder, with each image's path and lesion_id.

    `columns` is the option --columns; with `columns_may_lack` it is heeded only where the table has
    these columns. Raises DataError where there is no table, or several.
    """
    table = _one_table(folder, _tables(folder, columns))
    return _read_labelled(table, folder, columns, columns_may_lack, say)


def check_images(table: pd.DataFrame, split: str) -> None:
    """Decode every image of a split once; raises ImageError for the first that can't be read.

    Test images are decoded only when a run is over, which is too late to learn of a damaged one.
    """
    for path in table["path"][table["split"] == split]:
        to_rgb(path)


def targets(table: pd.DataFrame, task: Task) -> NDArray[np.int64]:
    """(N,) class indices of a table's rows; every `dx` must be one that the task knows."""
    return prediction.class_indices(table["dx"], task)


def training_targets(table: pd.DataFrame, task: Task) -> NDArray[np.int64]:
    """(N,) targets of training rows: class indices, and for a task of C classes C + place in COARSE
    for a row that is only called benign or malignant; see `losses.memberships`.
    """
    coarse = {word: len(task.classes) + place for place, word in enumerate(COARSE)}
    indices = [
        coarse.get(dx) if (index := task.index_of(dx)) is None else index for dx in table["dx"]
    ]
    return np.array(indices, np.int64)


def fill_lesions(table: pd.DataFrame, say: Say = silent) -> pd.DataFrame:
    """Give an id to each lesion that has none, made of the image's bytes; needs the column `path`.

    So at least copies of one file count as one lesion. Of a patient who is known such an id does
    not have the form `partition.FILE_ID`, because the patient is never divided.
    """
    if "lesion_id" not in table:
        table = table.assign(lesion_id="")
    elif empty := int((table["lesion_id"] == "").sum()):
        say(
            f"{empty:,} of {len(table):,} images have no lesion id: each counts as a lesion of its "
            "own."
        )
    patients = table.get(partition.PATIENT, pd.Series("", index=table.index))
    ids = [
        lesion or (f"{partition.hide(patient)}-" if patient else "") + partition.file_id(Path(path))
        for lesion, patient, path in zip(table["lesion_id"], patients, table["path"], strict=True)
    ]
    return table.assign(lesion_id=ids)


def tree(table: pd.DataFrame) -> str:
    """Draw a table's splits and diagnoses as a tree with the number of images, a line for each.

    Lesions are counted where all of a split's are known by the data, else patients.
    """
    lines = []
    for split in partition.SPLITS:
        part = table[table["split"] == split]
        lines.append(f"|-- {split:20} {len(part):7,} images{_of_lesions(part)}")
        counts = part["dx"].value_counts().sort_index()
        lines += [f"|   |-- {dx:16} {count:7,}" for dx, count in counts.items()]
    return "\n".join(lines)


def _of_lesions(part: pd.DataFrame) -> str:
    """Count the lesions, or else the patients, of which all images of a split are known to be."""
    if not part["lesion_id"].str.fullmatch(partition.MADE_ID).any():
        return f" of {labels.count(part['lesion_id'].nunique(), 'lesion')}"
    patients = partition.patients_alone(part["lesion_id"])
    return f" of {labels.count(patients, 'patient')}" if patients else ""


def _source(folder: Path, columns: str, table_only: bool, say: Say) -> Layout | Path:
    """Return what tells the labels of the images below a folder: a layout, or a table.

    Folders of splits go before a table, and a table before folders of classes alone. The folder
    itself goes before those below it. With `table_only` only tables are taken. Raises DataError
    where there is neither, or several.
    """
    image_files.check_any(folder)
    layout = layouts.find(folder)
    spare = [layout] if layout and table_only else []
    layout = None if table_only else layout
    tables = _tables(folder, columns)
    if layout and (layout.parts or not tables):
        if tables:
            say(f"{folder}: the folders tell the classes; {some(_names(tables))} is not read.")
        return layout
    if tables:
        return _one_table(folder, tables)
    level = [folder]
    for _ in range(layouts.DEEPEST):
        level = [path for parent in level for path in layouts.folders(parent)]
        inner = [layout for path in level if (layout := layouts.find(path))]
        if table_only:
            spare += inner
            inner = []
        inner_tables = [table for path in level for table in _tables(path, columns)]
        if len(inner) + len(inner_tables) > 1:
            places = [*(layout.root for layout in inner), *inner_tables]
            raise DataError(
                f"{folder} holds several data sets "
                f"({some(path.relative_to(folder) for path in places)}): give one of them, or call "
                "folders of splits train, val and test."
            )
        if inner:
            return inner[0]
        if inner_tables:
            return inner_tables[0]
    if spare:
        raise DataError(
            f"{spare[0].root} has folders of classes, which need no --columns, and no table with "
            f"the columns that --columns names is there ({columns}): leave --columns out, or put "
            "the table there."
        )
    return _one_table(folder, [])


def _tables(folder: Path, columns: str) -> list[Path]:
    """List the tables of labels that lie directly in a folder.

    The Kaggle copy of HAM10000 also holds tables of pixel values; the metadata is the one to read.
    """
    if not folder.is_dir():
        return []
    named = list(formats.parse(columns).values())
    tables: list[Path] = []
    as_named: list[Path] = []
    for path in _files(folder):
        has = delimited.read_heading(path).has
        fits = bool(named) and all(map(has, named))
        if not fits and not formats.fitting(has):
            continue
        if any(image_files.same_content(path, other) for other in tables):
            continue
        tables.append(path)
        as_named += [path] if fits else []
    tables = as_named or tables
    metadata = [path for path in tables if path.name.partition(".")[0].lower().endswith("metadata")]
    return metadata if len(tables) > 1 and metadata else tables


def _files(folder: Path) -> list[Path]:
    """List the files directly in a folder that may be tables."""
    paths = image_files.entries(folder)
    return [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]


def _one_table(folder: Path, tables: Sequence[Path]) -> Path:
    """Return the one table; raises DataError, naming what is there, for another number."""
    if len(tables) == 1:
        return tables[0]
    image_files.check_any(folder)
    others = [path for path in image_files.entries(folder) if path.suffix.lower() == ".csv"]
    # Opening a pipe would wait for somebody to write into it.
    others = [path for path in others if path.is_file() or path.is_dir()]
    if not tables and len(others) == 1:
        # Reading it tells what it lacks.
        return others[0]
    expected = "expected one with the columns image_id, dx and lesion_id"
    if len(tables) > 1:
        raise DataError(
            f"{folder} holds {len(tables)} CSV tables, {expected}: take the others away, or join "
            "them and say train, validation or test in a column split. There are "
            f"{some(_names(tables))}."
        )
    also = f" There are {some(_names(others))}." if others else ""
    books = [path for path in image_files.entries(folder) if path.suffix.lower() in WORKBOOKS]
    if books and not others:
        also = f" {books[0].name} is a workbook: save it as CSV UTF-8."
    elif len(places := layouts.with_images(folder)) > 1:
        names = (path.relative_to(folder).as_posix() for path in places)
        also += (
            f" Images lie in {some(names)}: call at least two such folders by their classes, such "
            "as benign and malignant, or nv and mel."
        )
    raise DataError(
        f"{folder} holds {len(others)} CSV tables, {expected}, or folders "
        f"train|test/benign|malignant.{also}"
    )


def _names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def _read_labelled(
    table: Path, folder: Path, columns: str, columns_may_lack: bool, say: Say
) -> pd.DataFrame:
    """Read a table of labels and what lies beside it, with each image's path and lesion_id."""
    beside = [path for path in _files(table.parent) if path != table]
    content = labels.read(table, columns, beside, columns_may_lack, say)
    return fill_lesions(attach_paths(content, folder, say), say)


def _check_splits(table: pd.DataFrame, folder: Path, task: Task) -> None:
    """Raise DataError for splits without malignant or benign images, and LeakError for a leak."""
    wrong = sorted(set(table["split"]) - set(partition.SPLITS))
    if wrong:
        raise DataError(
            f"The table of {folder} has split(s) {some(wrong)}, expected "
            f"{', '.join(partition.SPLITS)}."
        )
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
                "there. Add images, or say with a column of splits which ones belong there."
            )
