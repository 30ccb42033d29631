"""The external test: the images of PH2, another hospital's, and a model's predictions for them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermhub import files
from dermhub.data import tables
from dermhub.data.sources import labels
from dermhub.errors import DataError, silent, some
from dermhub.evaluation import predictions
from dermhub.evaluation.external import PH2
from dermhub.layout import EXTERNAL
from dermhub.models.classifier import Classifier
from dermhub.scoring import inference


def read_table(folder: Path) -> pd.DataFrame:
    """Read the images of the external test: source, image_id, dx, path.

    Raises DataError when labels.csv has other diagnoses than melanoma and nevus.
    """
    table = tables.attach_paths(labels.read(folder / "labels.csv", say=silent), folder)
    wrong = sorted(set(table["dx"]) - {"mel", "nv"})
    if wrong or table["dx"].nunique() < 2:
        raise DataError(
            f"{folder / 'labels.csv'} has the dx {some(sorted(set(table['dx'])))}, expected mel "
            "and nv."
        )
    columns = ["source", "image_id", "dx", "path"]
    return table[["image_id", "dx", "path"]].assign(source=PH2)[columns]


def write(
    folder: Path, saved: Classifier, ph2: Path | None, kept: bool = False, workers: int = 0
) -> None:
    """Write external.csv, the predictions for the images of `ph2`.

    Without images, an earlier external.csv stays if it is to be `kept`, and is removed otherwise.
    """
    if ph2 is None:
        if not kept:
            (folder / EXTERNAL).unlink(missing_ok=True)
        return
    table = read_table(ph2)
    logits = pd.DataFrame(
        inference.logits(saved, list(table["path"]), workers),
        columns=predictions.logit_columns(saved.config.task),
    )
    rows = pd.concat([table.drop(columns="path"), logits], axis=1)
    files.write_text(folder / EXTERNAL, predictions.to_csv(rows))
