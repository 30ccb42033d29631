"""Columns about the patient and the ground truth: age, sex, place of the lesion, kind of proof."""

from __future__ import annotations

import math
import re

import pandas as pd

from dermhub.data.sources import formats
from dermhub.data.sources.delimited import Sheet
from dermhub.data.sources.formats import ABOUT, Format
from dermhub.errors import Say, some

OLDEST = 130
"""Years beyond which an age is an error."""

UNKNOWN = frozenset({"", "unknown", "unk", "u", "-", "--", "?", "not known", "not available", "x"})
"""Cells for an age that is not known, in lower case."""


def columns(sheet: Sheet, kind: Format) -> dict[str, str]:
    """Map each of our columns about the patient to the table's, where it has one."""
    found = {name: next(filter(sheet.has, kind.about_columns(name)), "") for name in ABOUT}
    return {name: theirs for name, theirs in found.items() if theirs}


def read(sheet: Sheet, name: str, column: str, say: Say) -> pd.Series:
    """Read the cells of `column` as those of our column `name`, NaN where nothing is known."""
    cells = sheet.column(column)
    if name == "age":
        return pd.Series(_ages(sheet, column, cells, say), dtype=float)
    if name == "dx_type":
        cells = [formats.DX_TYPES.get(cell.lower(), cell) for cell in cells]
    return pd.Series([cell or math.nan for cell in cells], dtype=object)


def _ages(sheet: Sheet, column: str, cells: list[str], say: Say) -> list[float]:
    """Return ages in years, NaN for those that are not known; says which can't be read."""
    ages = [_age(cell) for cell in cells]
    unread = [
        f"{line} ({cell[:20]})"
        for line, cell, age in zip(sheet.lines, cells, ages, strict=True)
        if math.isnan(age) and cell.lower() not in UNKNOWN
    ]
    if unread:
        say(
            f"{sheet.path.name}: {sheet.name(column)} is no age in line(s) {some(unread)}; these "
            "ages count as unknown."
        )
    return ages


def _age(cell: str) -> float:
    """Read an age in years, such as "45", "45.0", "45,5" or "85+"; NaN for anything else."""
    match = re.fullmatch(r"(?:>=?|≥)?\s*(\d{1,3}(?:[.,]\d+)?)\s*\+?(?:\s*(?:years?|y|yrs?))?", cell)
    age = round(float(match[1].replace(",", ".")), 2) if match else math.nan
    return age if age <= OLDEST else math.nan
