"""Folders with images of other places, and what a model says of them: the content of external.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermhub import data, files, passes, summary, verify
from dermhub.classifier import Classifier
from dermhub.config import read_config
from dermhub.errors import DataError, some
from dermhub.external import EXTERNAL, PH2, read_external

COLUMNS = ["source", "image_id", "dx", "path"]


@dataclass(frozen=True)
class Sources:
    """Folders with images that a model is measured on besides its own; None where there are none.

    `ph2` has the external test with its labels.csv, `ood` a folder for each kind of photograph that is no
    dermatoscopic image.
    """

    ph2: Path | None = None
    ood: Path | None = None

    def tables(self) -> list[pd.DataFrame]:
        """A table with the columns source, image_id, dx, path for each source; raises DataError for what is none."""
        return ([ph2_table(self.ph2)] if self.ph2 else []) + (other_tables(self.ood) if self.ood else [])

    def write(self, folder: Path, saved: Classifier, kept: pd.DataFrame | None, workers: int = 0) -> None:
        """Write external.csv: the predictions for these sources, and those of others that are kept.

        There is no such file where there is nothing.
        """
        parts = []
        for table in self.tables():
            found = passes.logits(saved, list(table["path"]), workers)
            logits = pd.DataFrame(found, columns=summary.logit_columns(saved.config.task))
            parts.append(pd.concat([table.drop(columns="path"), logits], axis=1))
        if kept is not None:
            kept = kept[~kept["source"].isin([part["source"].iloc[0] for part in parts])]
            parts += [kept] if len(kept) else []
        path = folder / EXTERNAL
        path.unlink(missing_ok=True)
        if parts:
            files.write_text(path, summary.to_csv(pd.concat(parts)))


def kept(folder: Path) -> pd.DataFrame | None:
    """A folder's external.csv, if the weights are still those that its metrics.json was measured with."""
    try:
        return read_external(folder / EXTERNAL, read_config(folder).task) if same_weights(folder) else None
    except DataError:
        return None


def same_weights(folder: Path) -> bool:
    """Whether a folder's metrics.json, if there is one, was measured with the weights that config.json names."""
    try:
        measured = files.read_json(folder / verify.METRICS)["weights"]["sha256"]
    except (DataError, LookupError, TypeError):
        return False
    return bool(measured == read_config(folder).weights_sha256)


def ph2_table(folder: Path) -> pd.DataFrame:
    """The images of the external test: source, image_id, dx, path. Raises DataError unless labels.csv fits."""
    table = data.attach_paths(data.read_labels(folder / "labels.csv"), folder)
    wrong = sorted(set(table["dx"]) - {"mel", "nv"})
    if wrong or table["dx"].nunique() < 2:
        raise DataError(f"{folder / 'labels.csv'} has the dx {some(sorted(set(table['dx'])))}, expected mel and nv.")
    return table[["image_id", "dx", "path"]].assign(source=PH2)[COLUMNS]


def other_tables(folder: Path) -> list[pd.DataFrame]:
    """The images of each folder inside one, as `ph2_table` gives them: their `source` is the folder's name."""
    places = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not places:
        raise DataError(f"{folder} holds no folders: expected one for each kind of photograph, such as natural/.")
    tables = []
    for place in places:
        found = data.find_images(place)
        rows = {"image_id": list(found), "dx": "", "path": [str(path) for path in found.values()]}
        tables.append(pd.DataFrame(rows).assign(source=place.name)[COLUMNS])
    return tables
