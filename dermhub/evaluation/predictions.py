"""The table predictions.csv: logits, split, diagnosis and patient of each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.data import partition
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
    ("image_id", "lesion_id", "split", "dx", "dx_type", "sex", "localization"), str
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

    Nine digits give each float32 back exactly, and with it every figure.
    """
    return str(table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_predictions(path: Path, task: Task) -> pd.DataFrame:
    """Read a model's predictions.

    Raises DataError when the file is missing, damaged or of another task.
    """
    try:
        table = pd.read_csv(path, dtype=TEXT, keep_default_na=False, na_values=[""])
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
