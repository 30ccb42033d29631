"""The table predictions.csv: logits, split, diagnosis and patient of each image."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.data import partition
from dermhub.data.cells import from_cell, to_cell
from dermhub.errors import DataError, some
from dermhub.evaluation import robustness
from dermhub.tasks import Task

ABOUT = ("dx_type", "age", "sex", "localization")
"""Columns that describe the patient and the ground truth: reported, never an input of a model."""

GATE = "gate"
"""Column with an image's score of the gate; above 1, the image is refused.

The table of a model without a gate lacks it.
"""

TEXT = dict.fromkeys(
    (
        *("source", "image_id", "lesion_id", "split", "dx", "dx_type", "sex", "localization"),
        *robustness.LABELS,
    ),
    str,
)
"""Columns that are read as text, also where they look like numbers."""


def logits_of(table: pd.DataFrame, task: Task) -> NDArray[np.float32]:
    """(N, C) float32 logits of a table of predictions."""
    return np.asarray(table[logit_columns(task)].to_numpy(np.float32))


def refused(table: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,) where the gate refuses the images of a table of predictions; nowhere without a gate."""
    if GATE not in table:
        return np.zeros(len(table), bool)
    return np.asarray(table[GATE].to_numpy(float) > 1)


def logit_columns(task: Task) -> list[str]:
    """The columns of the logits, in the order of the task's classes."""
    return [f"logit_{name}" for name in task.classes]


def to_csv(table: pd.DataFrame) -> str:
    """Format a table as CSV.

    Nine digits give each float32 back exactly, and with it every figure. Text that a spreadsheet
    would compute is escaped (`data.cells`); `with_text` gives it back.
    """
    escaped = _map_text(table, to_cell)
    return str(escaped.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def with_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that `to_csv` wrote, as pandas has read it, with the text that was escaped."""
    return _map_text(table, from_cell)


def _map_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Change the cells of all columns of text; empty ones stay."""

    def changed(value: object) -> object:
        return change(value) if isinstance(value, str) else value

    return table.assign(**{name: table[name].map(changed) for name in TEXT if name in table})


def read_predictions(path: Path, task: Task) -> pd.DataFrame:
    """Read a model's predictions.

    Raises DataError when the file is missing, damaged or of another task.
    """
    try:
        table = _from_csv(path)
    except OSError as error:
        raise DataError(
            f"{path} can't be read ({error.strerror or error}): measure the model again."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{path} is no CSV table ({' '.join(str(error).split())}): measure the model again."
        ) from error
    needed = ["image_id", "lesion_id", "split", "dx", *logit_columns(task)]
    if missing := [name for name in needed if name not in table]:
        raise DataError(f"{path} lacks the column(s) {some(missing)}: measure the model again.")
    _check_rows(path, table, needed, task)
    return table


def _from_csv(source: Path | io.StringIO) -> pd.DataFrame:
    return with_text(pd.read_csv(source, dtype=TEXT, keep_default_na=False, na_values=[""]))


def check_writable(table: pd.DataFrame) -> None:
    """Raise DataError for a cell of a data table that would make its predictions unreadable.

    Asked before the first epoch: the predictions are written when a training run is over.
    """
    columns = ["image_id", "lesion_id", "split", "dx", *(name for name in ABOUT if name in table)]
    rows = table.loc[table["split"].isin(partition.SPLITS[1:]), columns].reset_index(drop=True)
    try:
        text = to_csv(rows)
        text.encode()
        back = _from_csv(io.StringIO(text))
    except ValueError as error:
        raise DataError(
            f"The table of the images can't be kept as CSV ({' '.join(str(error).split())}): "
            "expected ids and names of ordinary letters."
        ) from error
    if len(back) != len(rows):
        raise DataError(
            "The table of the images can't be kept as CSV, since a cell breaks its line: expected "
            "ids and names of ordinary letters."
        )
    for name in columns:
        changed = (back[name] != rows[name]) & ~(back[name].isna() & rows[name].isna())
        if changed.any():
            raise DataError(
                f"{int(changed.sum())} image(s) have a {name} that can't be kept as CSV "
                f"({some(repr(cell) for cell in rows[name][changed])}): expected ordinary letters "
                "and, for an age, years."
            )


def _check_rows(path: Path, table: pd.DataFrame, needed: list[str], task: Task) -> None:
    held_out = partition.SPLITS[1:]
    logits = table[logit_columns(task)].apply(pd.to_numeric, errors="coerce")
    wrong = table[needed].isna().any(axis=1)
    wrong |= ~np.isfinite(logits).all(axis=1)
    wrong |= ~table["split"].isin(held_out)
    wrong |= table["dx"].map(lambda dx: task.class_of(str(dx)) is None)
    wrong |= table["image_id"].duplicated()
    for name in ("age", GATE, *robustness.TRAITS):
        if name in table:
            number = pd.to_numeric(table[name], errors="coerce")
            wrong |= table[name].notna() & number.isna()
    for name in robustness.LABELS:
        if name in table:
            wrong |= table[name].notna() & ~table[name].isin(task.classes)
    if wrong.any():
        lines = some(table.index[wrong] + 2)
        raise DataError(
            f"{path} has line(s) {lines} with an empty cell, a logit or another figure that is no "
            "number, an unknown split or diagnosis, or an image that was there before: measure "
            "the model again."
        )
    if empty := [split for split in held_out if not (table["split"] == split).any()]:
        raise DataError(
            f"{path} has no image of the split(s) {some(empty)}: measure the model again."
        )
