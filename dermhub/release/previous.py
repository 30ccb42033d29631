"""What an earlier measurement left in a model folder and a new one keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dermhub import files, layout
from dermhub.errors import DataError, ModelError
from dermhub.evaluation.external import read_external
from dermhub.layout import EXTERNAL
from dermhub.models.folder import read_config


def previous_external(folder: Path) -> pd.DataFrame | None:
    """A folder's external.csv, if the weights are still those that its metrics.json was measured
    with.
    """
    try:
        return (
            read_external(folder / EXTERNAL, read_config(folder).task)
            if same_weights(folder)
            else None
        )
    except DataError:
        return None


def same_weights(folder: Path) -> bool:
    """Whether a folder's metrics.json, if there is one, was measured with the weights that
    config.json names.
    """
    try:
        measured = files.read_json(folder / layout.METRICS)["weights"]["sha256"]
    except (DataError, LookupError, TypeError):
        return False
    return bool(measured == read_config(folder).weights_sha256)


@dataclass(frozen=True)
class Previous:
    """What is known of a model before it is measured: its name in the card, and what was chosen on
    validation.
    """

    name: str
    selection: dict[str, Any]


def previous(folder: Path) -> Previous:
    """Name and selection of a model that was measured before; raises ModelError when its
    metrics.json has none.
    """
    path = folder / layout.METRICS
    try:
        content = files.read_json(path)
        return Previous(str(content["model"]), dict(content["selection"]))
    except (DataError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} does not tell what was chosen on validation ({error}): only a model that "
            "train.py made can be "
            "measured again."
        ) from error


@dataclass(frozen=True)
class PreviousMaps:
    """What was measured of a model's maps: the bytes of maps.csv, and the block `cascade` of
    metrics.json.
    """

    table: bytes
    cascade: dict[str, Any]


def previous_maps(folder: Path) -> PreviousMaps | None:
    """What a folder tells of its model's maps, if it was measured with the weights that are
    there.
    """
    try:
        told = files.read_json(folder / layout.METRICS)["maps"]
        if same_weights(folder) and told:
            return PreviousMaps((folder / layout.MAPS).read_bytes(), told["cascade"])
    except (DataError, LookupError, TypeError, OSError):
        pass
    return None
