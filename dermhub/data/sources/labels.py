"""Tables of labels, read in any format of `formats.FORMATS`, checked, and brought into ours.

All that a table lacks or says twice is refused here, by line and column, before an image is opened.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermhub.data import partition
from dermhub.data.image_files import id_of
from dermhub.data.sources import delimited, diagnoses, formats, patients
from dermhub.data.sources.beside import complete
from dermhub.data.sources.delimited import Sheet, fold
from dermhub.data.sources.formats import Format
from dermhub.errors import DataError, Say, silent, some
from dermhub.tasks import LESION_NAMES, MALIGNANT, Task

MALIGNANCY = "malignancy"
"""Column with "benign", "malignant" or "": what a table says beside the name of the diagnosis."""

NUMBERED_ANEW = 0.1
"""Share of lesion ids with several patients from which on lesions are numbered by patient."""


def read(
    path: Path,
    columns: str = "",
    beside: Sequence[Path] = (),
    columns_may_lack: bool = False,
    say: Say = silent,
) -> pd.DataFrame:
    """Read a table of labels, and say how it was read.

    `columns` is the option --columns (`formats.from_option`), without which the format is found by
    the heading; with `columns_may_lack` also where the table has no such columns. Tables `beside`
    it, without labels, complete its columns.

    Returns the columns image_id, dx (a code, or the diagnosis' name in lower case), `MALIGNANCY`,
    and where the table has them lesion_id, patient_id ("" for unknown ones), split, age, sex,
    localization, dx_type and `formats.COLLECTION`. Raises DataError for a file that is no table,
    missing columns, empty cells, labels that contradict each other and ids that stand twice.
    """
    sheet = delimited.read(path, formats.columns(columns))
    kinds = formats.fitting(sheet.has)
    if columns:
        kinds = _by_option(sheet, columns, kinds, columns_may_lack)
    if not kinds:
        raise _lacks_columns(sheet)
    if not sheet.lines:
        raise DataError(f"{path} has a heading but no rows.")
    if sheet.guessed:
        say(f"{path.name} is no UTF-8: letters beyond ASCII are taken for those of Windows.")
    kind = kinds[0]
    for column in _own_columns(kind):
        if sheet.has(column):
            sheet.check_line_breaks(column)
    ids = _ids(sheet, kind)
    table = pd.DataFrame({"image_id": ids})
    table["dx"], table[MALIGNANCY] = _labels(sheet, kind)
    for other in kinds[1:]:
        _check_agreement(sheet, kind, other, table)
    joined = complete(sheet, kind, beside, ids, say)
    for name, column in (("lesion_id", kind.lesion), ("patient_id", kind.patient)):
        if joined.has(column):
            table[name] = joined.column(column)
    if sheet.has(kind.split):
        splits = {word: split for split, words in partition.SPLIT_WORDS.items() for word in words}
        cells = map(str.lower, _filled(sheet, kind.split))
        table["split"] = [splits.get(cell, cell) for cell in cells]
    if sheet.has(formats.COLLECTION):
        table[formats.COLLECTION] = sheet.column(formats.COLLECTION)
    about = patients.columns(joined, kind)
    for name, column in about.items():
        table[name] = patients.read(joined, name, column, say)
    _check_twice(path, table)
    _join_patients(path, table)
    say(_how(path, kind, joined, table))
    _say_unread(path, kind, joined, say)
    return table


def for_task(table: pd.DataFrame, task: Task, say: Say = silent) -> pd.DataFrame:
    """Take benign or malignant for the label where a task has no class for the diagnosis.

    Of actinic keratoses, which are precancerous, a table's own word counts: for some data they are
    benign, for HAM10000 and the models malignant.
    """
    stated = table[MALIGNANCY]
    is_class = stated.isin(task.classes)
    other = np.array([task.class_of(dx) is None for dx in table["dx"]], bool)
    called_benign = is_class & (table["dx"] == "akiec") & (stated == "benign")
    if called_benign.any():
        say(
            f"{int(called_benign.sum())} image(s) of actinic keratoses are benign, as the table "
            "says; the models count actinic keratoses as malignant."
        )
    return table.assign(dx=table["dx"].where(~((is_class & other) | called_benign), stated))


def _by_option(sheet: Sheet, columns: str, kinds: list[Format], may_lack: bool) -> list[Format]:
    kind = formats.from_option(columns, kinds)
    missing = [name for name in kind.needs if not sheet.has(name)]
    if missing and may_lack:
        return kinds
    if missing:
        raise DataError(
            f"{sheet.path} lacks the column(s) {some(missing)}, which --columns names; it has "
            f"{some(sheet.heading, 12)}."
        )
    return [kind]


def _lacks_columns(sheet: Sheet) -> DataError:
    missing = [name for name in ("image_id", "dx") if not sheet.has(name)]
    if len(sheet.heading) == 1:
        return DataError(
            f"{sheet.path} lacks the column(s) {some(missing)}; it has {sheet.heading[0]}. "
            "Expected several columns with commas between them: save it as CSV UTF-8."
        )
    return DataError(
        f"{sheet.path} lacks the column(s) {some(missing)}; it has {some(sheet.heading)}. Expected "
        f"image_id and dx, or their names in this table: --columns {_example(sheet.heading)}."
    )


def _example(heading: Sequence[str]) -> str:
    """Write an option --columns with a table's own headings, where one sounds like it."""

    def like(words: str, default: str) -> str:
        return next((name for name in heading if re.search(words, name, re.I)), default)

    image = like("im(a)?g|file|photo|path|name", "COLUMN")
    dx = like("dx|diag|label|class|disease|target", "COLUMN")
    return shlex.quote(f"{formats.pair('image', image)},{formats.pair('dx', dx)}")


def _filled(sheet: Sheet, column: str) -> list[str]:
    """Return the cells of a column; raises DataError for empty ones."""
    cells = sheet.column(column)
    empty = [line for cell, line in zip(cells, sheet.lines, strict=True) if not cell]
    if empty:
        raise DataError(f"{sheet.path} has an empty {sheet.name(column)} in line(s) {some(empty)}.")
    return cells


def _ids(sheet: Sheet, kind: Format) -> list[str]:
    names = _filled(sheet, kind.image)
    if sheet.guessed:
        lines = [line for name, line in zip(names, sheet.lines, strict=True) if not name.isascii()]
        if lines:
            raise delimited.no_table(
                sheet.path, f"{sheet.name(kind.image)} is no UTF-8 in line(s) {some(lines)}"
            )
    return list(map(id_of, names))


def _labels(sheet: Sheet, kind: Format) -> tuple[list[str], list[str]]:
    """Return the code and the malignancy of each row; raises DataError where they contradict."""
    names = [column for column in kind.diagnosis if sheet.has(column)]
    words = [column for column in kind.malignant if sheet.has(column)]
    codes = _one_hot(sheet, kind) if kind.one_hot else [""] * len(sheet.lines)
    texts = list(zip(*map(sheet.column, names), strict=True)) if names else [()] * len(codes)
    stated = list(zip(*map(sheet.column, words), strict=True)) if words else [()] * len(codes)
    for column, cells in zip(words, zip(*stated, strict=True), strict=False):
        if any(cells) and not any(map(diagnoses.malignancy_of, cells)):
            raise DataError(
                f"{sheet.path} has no word for benign or malignant in {sheet.name(column)} "
                f"({some(sorted({cell for cell in cells if cell}))}): expected benign and "
                "malignant, yes and no, or 0 and 1."
            )
    malignancy = []
    torn, empty = [], []
    for place, line in enumerate(sheet.lines):
        found = {diagnoses.code_of(text) for text in texts[place]} & set(LESION_NAMES)
        said = {diagnoses.malignancy_of(word) for word in stated[place]} - {""}
        code = codes[place] or _code(found, texts[place])
        if code in kind.cancers and not said:
            said = {"malignant"}
        if code in ("", "benign", "malignant") and said:
            said |= {code} - {""}
            code = min(said)
        if not code:
            empty.append(line)
        elif len(found) > 1 or len(said) > 1 or not _agree(code, said):
            torn.append(line)
        codes[place] = code
        malignancy.append(min(said, default=""))
    columns = [sheet.name(column) for column in dict.fromkeys((*names, *words))]
    if empty and any(any(stated[place]) for place, code in enumerate(codes) if not code):
        raise DataError(
            f"{sheet.path} says neither benign nor malignant in {' and '.join(columns)}, line(s) "
            f"{some(empty)}: expected these words, or 0 and 1."
        )
    if empty:
        raise DataError(
            f"{sheet.path} has an empty {' and '.join(columns)} in line(s) {some(empty)}."
        )
    if torn:
        raise DataError(
            f"{sheet.path} says two things of {len(torn)} image(s) in {' and '.join(columns)}, "
            f"line(s) {some(torn)}: correct them, or name the one column to read with --columns "
            f"image={sheet.name(kind.image)},dx={columns[0]}."
        )
    return codes, malignancy


def _code(found: set[str], texts: Sequence[str]) -> str:
    """Return the one code that was found; else the last diagnosis that is given, if any."""
    if found:
        return min(found)
    codes = [diagnoses.code_of(text) for text in texts if text]
    return codes[-1] if codes else ""


def _agree(code: str, said: set[str]) -> bool:
    """Tell if a diagnosis is what a table says of its malignancy."""
    if not said or code not in LESION_NAMES or code == "akiec":
        return True
    return said == {"malignant" if code in MALIGNANT else "benign"}


def _one_hot(sheet: Sheet, kind: Format) -> list[str]:
    """Return the code of each row that has a 1 in one of several columns."""
    columns = [column for column in kind.one_hot if sheet.has(column)]
    others = [name for name in sheet.heading if _is_other_class(name, kind)]
    if others:
        raise DataError(
            f"{sheet.path} has the column(s) {some(others)} beside {', '.join(columns)}, and "
            f"{kind.name} has no such: name the columns to read with --columns."
        )
    codes, wrong = [], []
    cells = zip(*map(sheet.column, columns), strict=True)
    for line, row in zip(sheet.lines, cells, strict=True):
        marked = [column for column, cell in zip(columns, row, strict=True) if _is_one(cell)]
        # Only a 0 in every column says that it is none of them.
        none = bool(kind.otherwise) and all(row)
        if len(marked) > 1 or not (marked or none) or not all(map(_is_mark, row)):
            wrong.append(line)
        codes.append(kind.one_hot[marked[0]] if marked else kind.otherwise)
    if wrong:
        raise DataError(
            f"{sheet.path} has {len(wrong)} row(s) without a single 1 among {', '.join(columns)}, "
            f"line(s) {some(wrong)}: expected a table of true labels."
        )
    return codes


def _is_other_class(heading: str, kind: Format) -> bool:
    """Tell if a column is named like a diagnosis that a format of marks doesn't have."""
    columns = {fold(name) for name in (*kind.one_hot, *kind.malignant)}
    return fold(heading) not in columns and diagnoses.code_of(heading) in LESION_NAMES


def _is_one(cell: str) -> bool:
    return cell.lower().replace(",", ".") in ("1", "1.0", "true")


def _is_mark(cell: str) -> bool:
    return _is_one(cell) or cell.lower().replace(",", ".") in ("", "0", "0.0", "false")


def _check_agreement(sheet: Sheet, kind: Format, other: Format, table: pd.DataFrame) -> None:
    """Raise DataError where a table that has two formats says two things."""
    torn = [
        line
        for line, *pairs in zip(
            sheet.lines, table["dx"], table[MALIGNANCY], *_labels(sheet, other), strict=True
        )
        if not _same(*pairs)
    ]
    if torn:
        raise DataError(
            f"{sheet.path} has the columns of {kind.name} and of {other.name}, which say two "
            f"things in line(s) {some(torn)}: name the columns to read with --columns "
            f"{_example(sheet.heading)}."
        )


def _same(code: str, said: str, other: str, other_said: str) -> bool:
    both_known = {code, other} <= set(LESION_NAMES)
    return (not both_known or code == other) and (not said or not other_said or said == other_said)


def _check_twice(path: Path, table: pd.DataFrame) -> None:
    twice = table["image_id"][table["image_id"].duplicated()].unique()
    if len(twice):
        raise DataError(
            f"{path} lists {len(twice)} image id(s) more than once ({some(twice)}): keep one row "
            "for each."
        )


def _join_patients(path: Path, table: pd.DataFrame) -> None:
    """Give each lesion the one patient that it belongs to, in place.

    Where lesions are numbered anew for each patient, their ids get the patient's, as a hash: a
    model folder that is published holds lesion ids, and must not hold those of patients. A few
    lesions of several patients are mistakes, and raise DataError.
    """
    if not {"lesion_id", "patient_id"} <= set(table):
        return
    named = table[(table["lesion_id"] != "") & (table["patient_id"] != "")]
    patients = named.groupby("lesion_id")["patient_id"].agg(["nunique", "first"])
    shared = patients["nunique"] > 1
    if shared.any() and shared.mean() < NUMBERED_ANEW:
        raise DataError(
            f"{path} has {int(shared.sum())} lesion(s) of more than one patient "
            f"({some(patients.index[shared])}): correct the patient or the lesion."
        )
    if shared.any():
        table["lesion_id"] = [
            f"{partition.hide(patient)}-{lesion}" if lesion and patient else lesion
            for lesion, patient in zip(table["lesion_id"], table["patient_id"], strict=True)
        ]
        return
    known = table["lesion_id"].map(patients["first"]).fillna("")
    table["patient_id"] = table["patient_id"].where(table["patient_id"] != "", known)


def _how(path: Path, kind: Format, sheet: Sheet, table: pd.DataFrame) -> str:
    """Describe in which format and by which columns a table was read, and how much it holds."""
    columns = {
        "image": (kind.image,),
        "diagnosis": (*kind.diagnosis, *kind.one_hot),
        "malignancy": kind.malignant,
        "lesion": (kind.lesion,),
        "patient": (kind.patient,),
        "split": (kind.split,),
        **{role: (column,) for role, column in patients.columns(sheet, kind).items()},
    }
    parts = []
    for role, names in columns.items():
        headings = [f"`{sheet.name(name)}`" for name in dict.fromkeys(names) if sheet.has(name)]
        parts += [f"{role} from {', '.join(headings)}"] if headings else []
    counts = [count(len(table), "image")]
    for name, word in (("lesion_id", "lesion"), ("patient_id", "patient")):
        if name in table:
            counts.append(count(table[name][table[name] != ""].nunique(), word))
    named = f" as {kind.name}" if kind.name else ""
    return f"read {path.name}{named}: {', '.join(parts)}; {', '.join(counts)}."


def count(number: int, word: str) -> str:
    """Write a number with its noun, in the plural but for 1."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _say_unread(path: Path, kind: Format, sheet: Sheet, say: Say) -> None:
    """Say which columns sound like a lesion's or a patient's, where none is read as such."""
    for role, column in (("lesion", kind.lesion), ("patient", kind.patient)):
        likely = [name for name in sheet.heading if fold(name) in formats.LIKELY[role]]
        read = {fold(name) for name in _own_columns(kind)}
        likely = [name for name in likely if fold(name) not in read]
        if likely and not sheet.has(column):
            option = shlex.quote(formats.pair(role, likely[0]))
            say(
                f"{path.name} also has `{likely[0]}`, which is not read: if it names the {role}, "
                f"give --columns {option}, so that no {role} stands in two splits."
            )


def _own_columns(kind: Format) -> tuple[str, ...]:
    """List the columns of a format by which images are told apart, labelled and divided."""
    labels = (*kind.diagnosis, *kind.malignant, *kind.one_hot)
    return (kind.image, *labels, kind.lesion, kind.patient, kind.split)
