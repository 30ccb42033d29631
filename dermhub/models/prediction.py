"""A model's answer to one image, and the arithmetic from logits to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.errors import ConfigError, ModelError
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.models.config import ModelConfig
from dermhub.models.conformal import abstention_reason, prediction_sets
from dermhub.tasks import Task
from dermhub.zones import Zone, Zones

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Prediction:
    """A model's answer to one image.

    `label` is the most probable class. `probabilities` are calibrated, in the task's class order,
    and sum to 1. `balanced_label` is the class whose probability is the largest multiple of its
    share among the training images, so that rare classes count as much as frequent ones; "" in a
    model of an earlier dermhub, which states no such shares. `malignancy` is the probability of the
    malignant classes together, and `malignant` whether it reaches `threshold`, the model's
    operating point named `operating_point`. `zones` has the cuts of the zones of suspicion, the
    lower of which is the model's default operating point; None in a model of an earlier dermhub,
    which has no zones.

    `conformal` is the prediction set, the most probable class first: of the lesions of each class,
    the share `conformal_level` has that class in its set (see `dermhub.models.conformal`). A level
    of 0 says that the model has no such sets. `concerns` are reasons not to rely on the answer.
    `image` is the path that was given, "" for what was no path.
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
    image: str = field(default="", compare=False)
    balanced_label: str = ""

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

    @property
    def zone_word(self) -> str:
        """The zone in a table: its words, "refused" for what the gate refuses, "" without zones."""
        if not self.zones:
            return ""
        return "refused" if self.rejected else str(self.zone)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain values, which json.dumps takes.

        `probabilities` maps each class to its number, `concerns` are objects with a `code` and a
        `sentence`, and `zone` is the `zone_word`.
        """
        return {
            "label": self.label,
            "balanced_label": self.balanced_label,
            "probabilities": dict(self.probabilities),
            "malignancy": self.malignancy,
            "malignant": self.malignant,
            "threshold": self.threshold,
            "operating_point": self.operating_point,
            "zone": self.zone_word,
            "conformal": list(self.conformal),
            "conformal_level": self.conformal_level,
            "concerns": [asdict(concern) for concern in self.concerns],
            "abstention": self.abstention,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the answer as a table of one row; see `Predictions.to_frame`."""
        return Predictions([self]).to_frame()


class Predictions(list[Prediction]):
    """A list of answers of one model, as `Classifier.predict` returns it."""

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table with a row for each answer and the columns of `csv_columns`.

        Raises ConfigError where pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise ConfigError(
                "to_frame needs pandas, which is not installed: pip install pandas, or use the "
                "to_dict of each answer."
            ) from None
        columns = csv_columns(list(self[0].probabilities)) if self else []
        return pandas.DataFrame([to_row(each.image, each) for each in self], columns=columns)


def of_logits(
    logits: NDArray[Any],
    config: ModelConfig,
    concerns: Sequence[tuple[Concern, ...]],
    operating_point: str = "",
) -> list[Prediction]:
    """Turn logits (N, C) of a model and the concerns about N images into predictions.

    `operating_point` is one of the model's thresholds, by default the first.
    """
    classes = config.task.classes
    probabilities = calibrated(logits, config)
    scores = malignancy(probabilities, config.task)
    balanced = balanced_labels(probabilities, config)
    operating_point = operating_point or config.operating_point
    threshold = config.thresholds[operating_point]
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
            balanced_label=balanced_label,
        )
        for row, score, balanced_label, of_image in zip(
            probabilities, scores, balanced, concerns, strict=True
        )
    ]


def _prediction_set(row: Floats64, config: ModelConfig) -> tuple[str, ...]:
    """Return the prediction set of probabilities (C,), the most probable class first."""
    if config.conformal is None:
        return ()
    classes = config.task.classes
    held = prediction_sets(row[None], config.conformal, classes)[0]
    return tuple(classes[i] for i in np.argsort(-row, kind="stable") if held[i])


def calibrated(logits: NDArray[Any], config: ModelConfig) -> Floats64:
    """Return the probabilities (N, C) that a model answers for its logits (N, C).

    They are softmax(logits / temperature + bias), with the bias of each class, if the model has
    any. Raises ModelError as `softmax` does.
    """
    bias = [config.bias[name] for name in config.task.classes] if config.bias else 0.0
    return softmax(logits, config.temperature, bias)


def softmax(
    logits: NDArray[Any], temperature: float = 1.0, bias: Sequence[float] | Floats64 | float = 0.0
) -> Floats64:
    """Return the softmax of each row of logits (N, C) / `temperature` + `bias` (C,), in float64.

    Raises ModelError where a probability would be NaN, which would pass for a benign lesion.
    """
    with np.errstate(all="ignore"):
        scaled = np.asarray(logits, np.float64) / temperature + np.asarray(bias, np.float64)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if not np.isfinite(probabilities).all():
        raise ModelError(
            f"The model's logits, divided by the temperature {temperature:g}, give probabilities "
            "that are no numbers: fetch the model again, or use another."
        )
    return probabilities


def balanced(probabilities: Floats64, config: ModelConfig) -> Floats64:
    """Divide probabilities (N, C) by a model's shares of the classes, and let rows sum to 1 again.

    They are what the probabilities would be if all classes were equally frequent (Saerens et al.
    2002, eq. 2.4). The model must state its `prior`.
    """
    shares = np.array([config.prior[name] for name in config.task.classes])
    odds = probabilities / shares
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def balanced_labels(probabilities: Floats64, config: ModelConfig) -> list[str]:
    """Return `Prediction.balanced_label` for each row of probabilities (N, C)."""
    if not config.prior:
        return [""] * len(probabilities)
    classes = config.task.classes
    return [classes[index] for index in balanced(probabilities, config).argmax(axis=1)]


def class_indices(diagnoses: Iterable[str], task: Task) -> Ints:
    """Return the class index of each diagnosis code, (N,); the task must know every one."""
    return np.array([task.index_of(dx) for dx in diagnoses], np.int64)


def malignancy(probabilities: Floats64, task: Task) -> Floats64:
    """Sum (N, C) probabilities over the task's malignant classes: (N,)."""
    return np.asarray(probabilities[:, list(task.positive_indices)].sum(axis=1))


def csv_columns(classes: Sequence[str]) -> list[str]:
    """List the columns of a CSV table of predictions, for a model with these classes."""
    answer = ["image", "label", "balanced_label", "malignancy", "malignant", "threshold", "zone"]
    probabilities = [f"p_{name}" for name in classes]
    return [*answer, *probabilities, "conformal", "concerns", "abstention"]


def to_row(image: str, prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as a row with the columns of `csv_columns`.

    The prediction set and the concerns' codes are words with blanks between them.
    """
    return {
        "image": image,
        "label": prediction.label,
        "balanced_label": prediction.balanced_label,
        "malignancy": prediction.malignancy,
        "malignant": prediction.malignant,
        "threshold": prediction.threshold,
        "zone": prediction.zone_word,
        **{f"p_{name}": value for name, value in prediction.probabilities.items()},
        "conformal": " ".join(prediction.conformal),
        "concerns": " ".join(concern.code for concern in prediction.concerns),
        "abstention": prediction.abstention,
    }
