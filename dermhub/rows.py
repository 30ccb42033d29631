"""A prediction as a row of a table, as `predict` prints it and an archive's scores hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dermhub.prediction import Prediction


def columns(classes: Sequence[str]) -> list[str]:
    """The names of a row's cells, for a model with these classes."""
    own = ["image", "label", "malignancy", "malignant", "threshold", *(f"p_{name}" for name in classes)]
    return [*own, "conformal", "concerns", "abstention"]


def flat(image: str, prediction: Prediction) -> dict[str, Any]:
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


def cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `flat` for CSV: the conformal set and the concerns' codes as words with spaces between them."""
    codes = " ".join(one["code"] for one in row["concerns"])
    return row | {"conformal": " ".join(row["conformal"]), "concerns": codes}
