"""What a model says about one image: `Prediction`, and where it found the evidence:
`Explanation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.models.conformal import abstention_reason
from dermhub.tasks import Task


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    `label` is the most probable class. `probabilities` are calibrated, in the task's class order,
    and sum to 1. `malignancy` is the probability of the malignant classes together, and `malignant`
    whether it reaches `threshold`, the model's operating point named `operating_point`.

    `conformal` is the prediction set, the most probable class first: for each class, the share
    `conformal_level` of its lesions has it in the set (see `dermhub.models.conformal`); a level of
    0 says that the model has no such sets. `concerns` are what speaks against relying on the
    answer.
    """

    label: str
    probabilities: dict[str, float]
    malignancy: float
    threshold: float
    operating_point: str
    conformal: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()
    conformal_level: float = 0.0

    @property
    def abstention(self) -> str:
        """One sentence why there is no confident answer, or "".

        The image is of another kind, or the prediction set is empty, too wide, or without the most
        probable class.
        """
        if self.rejected is not None:
            return self.rejected.sentence
        if not self.conformal_level:
            return ""
        return abstention_reason(self.conformal, len(self.probabilities), self.label)

    @property
    def rejected(self) -> Concern | None:
        """The concern of the gate, where this is no dermatoscopic image."""
        return next((one for one in self.concerns if one.code == NOT_DERMATOSCOPIC), None)

    @property
    def malignant(self) -> bool:
        """Whether the probability of malignancy reaches the operating point."""
        return self.malignancy >= self.threshold


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> Floats64:
    """Row-wise softmax in float64 of (N, C) logits divided by `temperature`."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def class_indices(diagnoses: Iterable[str], task: Task) -> Ints:
    """(N,) class indices of diagnosis codes, every one of which the task must know."""
    return np.array([task.index_of(dx) for dx in diagnoses], np.int64)


def malignancy(probabilities: Floats64, task: Task) -> Floats64:
    """(N,) probability of malignancy: the sum over the task's malignant classes."""
    return np.asarray(probabilities[:, list(task.positive_indices)].sum(axis=1))


def csv_columns(classes: Sequence[str]) -> list[str]:
    """The names of a row's cells, for a model with these classes."""
    own = [
        "image",
        "label",
        "malignancy",
        "malignant",
        "threshold",
        *(f"p_{name}" for name in classes),
    ]
    return [*own, "conformal", "concerns", "abstention"]


def to_record(image: str, prediction: Prediction) -> dict[str, Any]:
    """One row, for JSON: the conformal set as a list, and concerns with their sentences."""
    return {
        "image": image,
        "label": prediction.label,
        "malignancy": prediction.malignancy,
        "malignant": prediction.malignant,
        "threshold": prediction.threshold,
        **{f"p_{name}": value for name, value in prediction.probabilities.items()},
        "conformal": list(prediction.conformal),
        "concerns": [asdict(one) for one in prediction.concerns],
        "abstention": prediction.abstention,
    }


def to_csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `flat` for CSV: the conformal set and the concerns' codes as words with spaces
    between them.
    """
    codes = " ".join(one["code"] for one in row["concerns"])
    return row | {"conformal": " ".join(row["conformal"]), "concerns": codes}
