"""The answers of a binary and a seven-class model together, from the predictions in their folders.

They are what `assessment.assess` makes of the models' probabilities and gates, without what only
the images tell: their quality, copies of training images, and where the evidence lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import layout
from dermhub.data import partition
from dermhub.errors import DataError
from dermhub.evaluation import external, predictions
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.models import prediction
from dermhub.models.assessment import Assessment, assess
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder
from dermhub.models.prediction import Prediction
from dermhub.tasks import MALIGNANT
from dermhub.zones import Zone


@dataclass(frozen=True)
class Answers:
    """A pair's predictions of N images, and what is made of them.

    `image_ids`, `lesions` and `malignant` are (N,); without lesion ids, each image is a lesion.
    """

    image_ids: NDArray[np.str_]
    lesions: NDArray[np.str_]
    malignant: NDArray[np.bool_]
    binary: list[Prediction]
    lesion: list[Prediction]
    assessed: list[Assessment]

    @property
    def refused(self) -> NDArray[np.bool_]:
        """(N,) which images a gate refuses."""
        return np.array([each.refused is not None for each in self.assessed])

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """(N,) which images are shown as suspicious or highly suspicious, and not refused."""
        return np.array([each.flagged for each in self.assessed]) & ~self.refused

    def zone(self, zone: Zone) -> NDArray[np.bool_]:
        """(N,) which images lie in a zone."""
        return np.array([each.zone is zone for each in self.assessed])


def read(binary: Path, lesion: Path, part: str) -> Answers:
    """Read the answers to the images of a part: "validation", "test", or "ph2".

    Raises DataError when a folder lacks them, or the two have predictions of different images, and
    ModelError when the seven-class model has no zones.
    """
    configs = [ModelFolder(folder).config for folder in (binary, lesion)]
    tables = [
        _rows(folder, config, part)
        for folder, config in zip((binary, lesion), configs, strict=True)
    ]
    first, second = tables
    if list(first["image_id"]) != list(second["image_id"]):
        raise DataError(
            f"{binary} and {lesion} have predictions of different {part} images: measure both on "
            "the same."
        )
    of_binary, of_lesion = (
        _predictions(rows, config) for rows, config in zip(tables, configs, strict=True)
    )
    ids = first["lesion_id"] if "lesion_id" in first else first["image_id"]
    return Answers(
        first["image_id"].to_numpy(str),
        partition.canonical(ids).to_numpy(str),
        first["dx"].isin(MALIGNANT).to_numpy(bool),
        of_binary,
        of_lesion,
        [assess(one, other) for one, other in zip(of_binary, of_lesion, strict=True)],
    )


def _rows(folder: Path, config: ModelConfig, part: str) -> pd.DataFrame:
    """Read a model's predictions of a part, by image id."""
    if part == external.PH2:
        rows = external.read_external(folder / layout.EXTERNAL, config.task)
    else:
        rows = predictions.read_predictions(folder / layout.PREDICTIONS, config.task)
        rows = rows[rows["split"] == part]
    return rows.sort_values("image_id").reset_index(drop=True)


def _predictions(rows: pd.DataFrame, config: ModelConfig) -> list[Prediction]:
    """Make the predictions of rows of logits, with the gate's refusals as their concerns."""
    strange = (Concern(NOT_DERMATOSCOPIC, "The gate refuses this image."),)
    concerns = [strange if refused else () for refused in predictions.refused(rows)]
    return prediction.of_logits(predictions.logits_of(rows, config.task), config, concerns)
