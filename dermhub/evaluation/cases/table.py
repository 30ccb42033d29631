"""The table cases.csv: the features by which similar cases are found for validation and test.

A row an image: `split` (validation, test, or ph2 of the external test), `image_id`, `code` (the
whole numbers of `models.beside.case_index`, as base64), and, for comparison, what a search among
all training images with all features finds: `all_nearest`, the classes of the 10 nearest lesions,
and `all_precision`, the average precision. These two are empty for validation images.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np
import pandas as pd

from dermhub import tensors
from dermhub.errors import DataError, some
from dermhub.models.beside.case_index import CaseIndex, Codes

COLUMNS = ("split", "image_id", "code", "all_nearest", "all_precision")


def to_rows(split: str, ids: pd.Series, codes: Codes) -> pd.DataFrame:
    """Make the rows of images (N) with codes (N, D), without the comparison."""
    texts = [base64.b64encode(bytes(np.ascontiguousarray(code))).decode() for code in codes]
    return pd.DataFrame(
        {
            "split": split,
            "image_id": ids.to_numpy(),
            "code": texts,
            "all_nearest": "",
            "all_precision": np.nan,
        }
    )


def codes_of(table: pd.DataFrame) -> Codes:
    """Return the codes of the rows: (N, D)."""
    return np.stack([tensors.numbers(base64.b64decode(text), "|i1") for text in table["code"]])


def read(path: Path, index: CaseIndex) -> pd.DataFrame:
    """Read cases.csv; raises DataError where it is damaged or does not fit the index."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        cells = table["all_precision"]
        table["all_precision"] = pd.to_numeric(cells.where(cells != "", None))
        lengths = {len(base64.b64decode(text, validate=True)) for text in table["code"]}
    except (OSError, ValueError, KeyError, binascii.Error) as error:
        raise DataError(
            f"{path} can't be read ({' '.join(str(error).split())[:200]}): measure the model again."
        ) from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise DataError(f"{path} lacks the column(s) {some(missing)}: measure the model again.")
    twice = table.duplicated(["split", "image_id"])
    if lengths != {index.codes.shape[1]} or twice.any():
        raise DataError(
            f"{path} has codes of {some(sorted(lengths))} bytes and {int(twice.sum())} images "
            f"twice, expected codes of {index.codes.shape[1]} bytes, each image once: measure the "
            "model again."
        )
    return table
