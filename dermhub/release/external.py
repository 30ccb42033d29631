"""The external test: the images of PH2, another hospital's, and a model's predictions for them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermhub import files
from dermhub.data import tables
from dermhub.data.sources import labels
from dermhub.errors import DataError, silent, some
from dermhub.evaluation import predictions
from dermhub.evaluation.external import PH2, read_external
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

    Without images, an earlier external.csv stays if it is to be `kept`, but for the scores of the
    gate, which is another one now; otherwise it is removed.
    """
    path = folder / EXTERNAL
    task = saved.config.task
    if ph2 is not None:
        table = read_table(ph2)
        outputs = inference.outputs(saved, list(table["path"]), workers)
        logits = pd.DataFrame(outputs.logits, columns=predictions.logit_columns(task))
        rows = pd.concat([table.drop(columns="path"), logits], axis=1)
        if saved.gate:
            rows[predictions.GATE] = saved.gate.score(outputs.described)
        files.write_text(path, predictions.to_csv(rows))
    elif not kept:
        path.unlink(missing_ok=True)
    else:
        rows = read_external(path, task).drop(columns=predictions.GATE, errors="ignore")
        files.write_text(path, predictions.to_csv(rows))
