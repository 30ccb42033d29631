"""Folders that hold the images of one class each, with or without folders of the splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermhub.data import image_files, partition
from dermhub.data.sources.diagnoses import code_of
from dermhub.errors import DataError, Say, silent, some
from dermhub.tasks import BINARY, LESION_NAMES

DEEPEST = 2
"""Folders below the one that is given in which a layout or a table is looked for."""


SPLITS = frozenset(word for words in partition.SPLIT_WORDS.values() for word in words)
"""Names of folders of splits, in lower case."""


@dataclass(frozen=True)
class Layout:
    """Folders of classes: in the folders `parts` of the splits, or in `root` itself."""

    root: Path
    parts: dict[str, Path]


def find(folder: Path) -> Layout | None:
    """Return the layout that a folder has itself, None where it has none.

    Classes may be called by their codes or plain names, in any case. Without folders of splits, two
    folders that are called like classes make a layout. Raises DataError where two folders are
    called like one split.
    """
    parts: dict[str, Path] = {}
    classes = 0
    for path in folders(folder):
        classes += _is_class(path)
        for split, names in partition.SPLIT_WORDS.items():
            if path.name.casefold() in names and any(map(_is_class, folders(path))):
                if split in parts:
                    raise DataError(
                        f"{folder} has two folders for the {split} split ({parts[split].name}, "
                        f"{path.name}): expected one."
                    )
                parts[split] = path
    if parts:
        return Layout(folder, parts)
    return Layout(folder, {}) if classes > 1 else None


def read(layout: Layout, say: Say = silent) -> pd.DataFrame:
    """Read a layout: image_id (the path below its root), dx, path, lesion_id and split.

    Without folders of splits there is no column `split`. A missing validation or test split is
    taken from the training folder. Copies of test images leave the other splits, and copies of
    validation images the training split. Raises DataError for folders that are missing or empty.
    """
    _check_parts(layout)
    # pandas' own texts are UTF-8, which the name of a file need not be.
    table = pd.DataFrame(_rows(layout, say), dtype=object)
    _say_torn(layout, table, say)
    if not layout.parts:
        return table
    for split, others in (("test", ("train", "validation")), ("validation", ("train",))):
        held_out = table["lesion_id"][table["split"] == split]
        copies = table["split"].isin(others) & table["lesion_id"].isin(held_out)
        if copies.any():
            say(
                f"{layout.root}: {int(copies.sum())} image(s) are copies of images in the {split} "
                f"folder and left out ({some(table['image_id'][copies], 3)})."
            )
        table = table[~copies].reset_index(drop=True)
    training = table["split"] == "train"
    # `divide` sets parts aside for validation and test; one that is given goes back to training.
    given = dict.fromkeys(layout.parts, "train")
    places = partition.divide(table[training])
    table.loc[training, "split"] = table["lesion_id"][training].map(places).replace(given)
    return table


def folders(folder: Path) -> list[Path]:
    """List the folders in a folder; those of other programs are left out."""
    try:
        return [path for path in image_files.entries(folder) if path.is_dir()]
    except OSError:
        return []


def with_images(folder: Path) -> list[Path]:
    """List the folders with images in a folder, or in their place those inside them."""
    inner = [each for path in folders(folder) for each in (folders(path) or [path])]
    return [path for path in inner if image_files.holds_any(path)]


def _is_class(folder: Path) -> bool:
    return _is_name_of_class(folder.name)


def _is_name_of_class(name: str) -> bool:
    return code_of(name) in (*LESION_NAMES, *BINARY.classes)


def _contradicts(inner: str, outer: str) -> bool:
    """Tell if a folder inside that of a class is called like a class that isn't of it."""
    codes = {code_of(inner), code_of(outer)}
    two = {str(BINARY.class_of(code)) for code in codes}
    if not _is_name_of_class(inner) or len(codes) == 1:
        return False
    # Actinic keratoses are benign in some data: benign/akiec is no contradiction.
    return not codes & set(BINARY.classes) or (len(two) > 1 and "akiec" not in codes)


def _rows(layout: Layout, say: Say) -> list[dict[str, str]]:
    """Return a row for each image in the folder of a class, whatever its name."""
    rows: list[dict[str, str]] = []
    taken: set[tuple[str, ...]] = set()
    outside, copies, torn, split_inside = [], [], [], []
    _say_unused(layout, say)
    for split, folder in (layout.parts or {"": layout.root}).items():
        _check_folders(folder)
        paths = image_files.find(folder)
        image_files.check_files(paths)
        for path in paths:
            parts = path.relative_to(folder).parts
            # Tables of predictions hold the ids, and a line break would tear their rows.
            name = re.sub(r"[\r\n\t]", " ", path.relative_to(layout.root).as_posix())
            image_id = image_files.plain(name)
            if len(parts) < 2:
                outside.append(image_id)
                continue
            inner = parts[1:-1]
            if any(_contradicts(name, parts[0]) for name in inner):
                torn.append(image_id)
                continue
            if any(name.casefold() in SPLITS for name in inner):
                split_inside.append(image_id)
            lesion = partition.file_id(path)
            if (split, parts[0], path.stem, lesion) in taken:
                copies.append(image_id)
                continue
            taken.add((split, parts[0], path.stem, lesion))
            row = {
                "image_id": image_files.without_suffix(image_id),
                "dx": code_of(parts[0]),
                "path": str(path),
                "lesion_id": lesion,
            }
            rows.append(row | ({"split": split} if split else {}))
    if torn:
        raise DataError(
            f"{layout.root}: the folders of {len(torn)} image(s) name two classes "
            f"({some(torn, 3)}): move each image into the folder of its class, or rename the inner "
            "folder."
        )
    if split_inside:
        say(
            f"{layout.root}: {len(split_inside)} image(s) lie in folders called like splits inside "
            f"those of classes ({some(split_inside, 3)}), which divide nothing: expected "
            "train/CLASS and test/CLASS."
        )
    for names, reason in (
        (outside, "lie in no folder of a class"),
        (copies, "are copies of one with the same name"),
    ):
        if names:
            say(f"{layout.root}: {len(names)} image(s) {reason}, not used ({some(names, 3)}).")
    return _with_suffix_where_needed(rows)


def _say_unused(layout: Layout, say: Say) -> None:
    """Say which folders beside those of the splits hold images that are not used."""
    used = set(layout.parts.values())
    if not used:
        return
    unused = [path for path in folders(layout.root) if path not in used]
    names = [path.name for path in unused if image_files.holds_any(path)]
    if names:
        say(f"{layout.root}: images in other folders are not used ({some(names, 3)}).")


def _with_suffix_where_needed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Tell images apart that differ by their endings alone, as in 1.jpg and 1.png."""
    ids: set[str] = set()
    for row in rows:
        name = row["image_id"]
        if name in ids:
            name += Path(row["path"]).suffix
        while name in ids:
            name += "'"
        row["image_id"] = name
        ids.add(name)
    return rows


def _check_parts(layout: Layout) -> None:
    """Raise DataError where there is no training folder, or nothing that is held out."""
    if not layout.parts:
        return
    needed = ("train",) if "validation" in layout.parts else ("train", "test")
    for split in needed:
        if split in layout.parts:
            continue
        found = next((path for path in folders(layout.root) if path.name.lower() == split), None)
        problem = (
            f"{found} holds no folders of classes"
            if found
            else f"There is no folder {layout.root / split}"
        )
        raise DataError(
            f"{problem}: expected train and test, or give a folder of classes alone, which is "
            "divided here."
        )


def _check_folders(folder: Path) -> None:
    """Raise DataError for a class of two without a folder, and for a class without an image."""
    names = {code_of(path.name): path for path in folders(folder) if _is_class(path)}
    if not names.keys() - set(BINARY.classes):
        for name in BINARY.classes:
            names.setdefault(name, folder / name)
    for path in names.values():
        image_files.check_any(path)


def _say_torn(layout: Layout, table: pd.DataFrame, say: Say) -> None:
    """Say which images lie in folders of two classes."""
    classes = table.groupby("lesion_id")["dx"].transform("nunique")
    torn = table[classes > 1]
    if len(torn):
        first = torn["image_id"][torn["lesion_id"] == torn["lesion_id"].iloc[0]]
        say(
            f"{layout.root}: WARNING: {torn['lesion_id'].nunique()} image(s) lie in folders of two "
            f"classes ({some(first)} are one image), so that one label of each is wrong: remove "
            "the wrong copies."
        )
