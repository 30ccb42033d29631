"""A model's answer to one image, and the arithmetic from logits to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.errors import ModelError
from dermhub.models.config import ModelConfig
from dermhub.models.conformal import abstention_reason, prediction_sets
from dermhub.tasks import Task
from dermhub.zones import Zone, Zones


@dataclass(frozen=True)
class Prediction:
    """A model's answer to one image.

    `label` is the most probable class. `probabilities` are calibrated, in the task's class order,
    and sum to 1. `malignancy` is the probability of the malignant classes together, and `malignant`
    whether it reaches `threshold`, the model's operating point named `operating_point`. `zones` has
    the cuts of the zones of suspicion, the lower of which is `threshold`; None in a model of an
    earlier dermhub, which has no zones.

    `conformal` is the prediction set, the most probable class first: of the lesions of each class,
    the share `conformal_level` has that class in its set (see `dermhub.models.conformal`). A level
    of 0 says that the model has no such sets. `concerns` are reasons not to rely on the answer.
    """

    label: str
    probabilities: dict[str, float]
    malignancy: float
    threshold: float
    operating_point: str
    conformal: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()
    conformal_level: float = 0.0
    zones: Zones | None = None

    @property
    def abstention(self) -> str:
        """Say in one sentence why there is no confident answer; "" where there is one.

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
        """The concern of the gate, where this is no dermatoscopic image; None elsewhere."""
        for concern in self.concerns:
            if concern.code == NOT_DERMATOSCOPIC:
                return concern
        return None

    @property
    def malignant(self) -> bool:
        """True where the probability of malignancy reaches the operating point."""
        return self.malignancy >= self.threshold

    @property
    def zone(self) -> Zone | None:
        """The zone of suspicion, by the probability of malignancy alone; None without zones."""
        return self.zones.of(self.malignancy) if self.zones else None


def of_logits(
    logits: NDArray[Any], config: ModelConfig, concerns: Sequence[tuple[Concern, ...]]
) -> list[Prediction]:
    """Turn logits (N, C) of a model and the concerns about N images into predictions."""
    classes = config.task.classes
    probabilities = softmax(logits, config.temperature)
    scores = malignancy(probabilities, config.task)
    # The first threshold is the model's operating point.
    operating_point, threshold = next(iter(config.thresholds.items()))
    zones = config.zones
    level = config.conformal.level if config.conformal else 0.0
    return [
        Prediction(
            label=classes[int(row.argmax())],
            probabilities=dict(zip(classes, row.tolist(), strict=True)),
            malignancy=float(score),
            threshold=threshold.value,
            operating_point=operating_point,
            conformal=_prediction_set(row, config),
            concerns=of_image,
            conformal_level=level,
            zones=zones,
        )
        for row, score, of_image in zip(probabilities, scores, concerns, strict=True)
    ]


def _prediction_set(row: Floats64, config: ModelConfig) -> tuple[str, ...]:
    """Return the prediction set of probabilities (C,), the most probable class first."""
    if config.conformal is None:
        return ()
    classes = config.task.classes
    held = prediction_sets(row[None], config.conformal, classes)[0]
    return tuple(classes[i] for i in np.argsort(-row, kind="stable") if held[i])


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> Floats64:
    """Return the softmax of each row of (N, C) logits divided by `temperature`, in float64.

    Raises ModelError where a probability would be NaN, which would pass for a benign lesion.
    """
    with np.errstate(all="ignore"):
        scaled = np.asarray(logits, np.float64) / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if not np.isfinite(probabilities).all():
        raise ModelError(
            f"The model's logits, divided by the temperature {temperature:g}, give probabilities "
            "that are no numbers: fetch the model again, or use another."
        )
    return probabilities


def class_indices(diagnoses: Iterable[str], task: Task) -> Ints:
    """Return the class index of each diagnosis code, (N,); the task must know every one."""
    return np.array([task.index_of(dx) for dx in diagnoses], np.int64)


def malignancy(probabilities: Floats64, task: Task) -> Floats64:
    """Sum (N, C) probabilities over the task's malignant classes: (N,)."""
    return np.asarray(probabilities[:, list(task.positive_indices)].sum(axis=1))


def csv_columns(classes: Sequence[str]) -> list[str]:
    """List the columns of a CSV table of predictions, for a model with these classes."""
    answer = ["image", "label", "malignancy", "malignant", "threshold", "zone"]
    probabilities = [f"p_{name}" for name in classes]
    return [*answer, *probabilities, "conformal", "concerns", "abstention"]


def to_record(image: str, prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as a flat JSON object; concerns keep their sentences."""
    return {
        "image": image,
        "label": prediction.label,
        "malignancy": prediction.malignancy,
        "malignant": prediction.malignant,
        "threshold": prediction.threshold,
        "zone": prediction.zone or "",
        **{f"p_{name}": value for name, value in prediction.probabilities.items()},
        "conformal": list(prediction.conformal),
        "concerns": [asdict(concern) for concern in prediction.concerns],
        "abstention": prediction.abstention,
    }


def to_csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """Turn an object of `to_record` into a CSV row.

    The prediction set and the concerns' codes become words with blanks between them.
    """
    codes = " ".join(concern["code"] for concern in row["concerns"])
    return row | {"conformal": " ".join(row["conformal"]), "concerns": codes}
