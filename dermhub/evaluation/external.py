"""The external test: melanomas and nevi of another hospital.

Their predictions are a second table, external.csv: `source` (ph2), image_id, dx, and
`logit_<class>`. No probability or threshold is ever chosen on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermhub.arrays import Floats64
from dermhub.errors import DataError, some
from dermhub.evaluation import bootstrap, calibration, metrics, predictions
from dermhub.models import prediction
from dermhub.models.config import ModelConfig
from dermhub.tasks import Task

PH2 = "ph2"
"""The source of the external test: melanomas and nevi of another hospital (Mendonca et al., EMBC
2013).
"""


def external_figures(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """The figures of the external test, melanoma against nevus, or {} when there are no such
    images.

    Every photograph shows another lesion, so that intervals come from resampling photographs.
    `melanoma_auroc` is that of the probability of melanoma alone; None for a model that has no such
    class.
    """
    part = table[table["source"] == PH2]
    if part.empty:
        return {}
    task, sick = config.task, (part["dx"] == "mel").to_numpy(bool)
    probabilities = prediction.softmax(predictions.logits_of(part, task), config.temperature)
    score = prediction.malignancy(probabilities, task)
    ids = part["image_id"].to_numpy(str)
    weights = list(bootstrap.lesion_weights(ids))
    melanoma = probabilities[:, task.classes.index("mel")] if "mel" in task.classes else None
    bounds = {"malignancy_auroc": _interval(weights, score, sick)}
    if melanoma is not None:
        bounds["melanoma_auroc"] = _interval(weights, melanoma, sick)
    points = {}
    for name, threshold in config.thresholds.items():
        points[name] = metrics.operating_point(score, sick, threshold.value)
        called = score >= threshold.value
        points[name]["bounds"] = {
            "sensitivity": _share(weights, called, sick),
            "specificity": _share(weights, ~called, ~sick),
        }
    return {
        "source": PH2,
        "n": len(part),
        "melanoma": int(sick.sum()),
        "nevus": int((~sick).sum()),
        "malignancy_auroc": metrics.auroc(score, sick),
        "melanoma_auroc": None if melanoma is None else metrics.auroc(melanoma, sick),
        "bounds": bounds,
        "operating_points": points,
        "calibration": calibration.recalibration(score, sick, ids),
    }


def read_external(path: Path, task: Task) -> pd.DataFrame:
    """Read external.csv; raises DataError when it is damaged or of another task."""
    try:
        table = pd.read_csv(
            path, dtype={"source": str, "image_id": str, "dx": str}, keep_default_na=False
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} can't be read ({' '.join(str(error).split())}): measure the model again."
        ) from error
    if missing := [
        name
        for name in ("source", "image_id", "dx", *predictions.logit_columns(task))
        if name not in table
    ]:
        raise DataError(f"{path} lacks the column(s) {some(missing)}: measure the model again.")
    numbers = table[predictions.logit_columns(task)].apply(pd.to_numeric, errors="coerce")
    wrong = ~np.isfinite(numbers).all(axis=1) | table.duplicated(["source", "image_id"])
    wrong |= (table["source"] == PH2) & ~table["dx"].isin(["mel", "nv"])
    if wrong.any():
        raise DataError(
            f"{path} has line(s) {some(table.index[wrong] + 2)} with a logit that is no number, "
            "another diagnosis than "
            "mel and nv, or an image that was there before: measure the model again."
        )
    return table


def _interval(weights: list[Floats64], score: Floats64, positive: Any) -> list[float] | None:
    return bootstrap.bounds(
        np.concatenate([bootstrap.weighted_auroc(w, score, positive) for w in weights])
    )


def _share(weights: list[Floats64], part: Any, whole: Any) -> list[float] | None:
    with np.errstate(invalid="ignore"):
        return bootstrap.bounds(
            np.concatenate([(w @ (part & whole)) / (w @ whole) for w in weights])
        )
