"""External test: figures of a model on melanomas and nevi of another hospital.

Their predictions are a second table, external.csv: `source` (ph2), image_id, dx, and
`logit_<class>`. No probability or threshold is ever chosen on them; `models.ood_gate` says what of
the gate was made with them in view.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64
from dermhub.errors import DataError, some
from dermhub.evaluation import calibration, metrics, predictions, subgroups, zones
from dermhub.evaluation.bootstrap import Resamples, bounds
from dermhub.models import prediction
from dermhub.models.config import ModelConfig
from dermhub.tasks import Task

PH2 = "ph2"
"""The source of the external test: melanomas and nevi of another hospital.

Mendonca et al., EMBC 2013.
"""


def external_figures(table: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """The figures of the external test, melanoma against nevus; {} when there are no such images.

    Every photograph shows another lesion, so that intervals come from resampling photographs.
    `melanoma_auroc` is that of the probability of melanoma alone; None for a model that has no such
    class.
    """
    part = table[table["source"] == PH2]
    if part.empty:
        return {}
    task = config.task
    malignant = (part["dx"] == "mel").to_numpy(bool)
    probabilities = prediction.calibrated(predictions.logits_of(part, task), config)
    score = prediction.malignancy(probabilities, task)
    resamples = Resamples.draw(part["image_id"].to_numpy(str))
    intervals = {"malignancy_auroc": _auroc_interval(resamples, score, malignant)}
    melanoma_auroc = None
    if "mel" in task.classes:
        melanoma = probabilities[:, task.classes.index("mel")]
        melanoma_auroc = metrics.auroc(melanoma, malignant)
        intervals["melanoma_auroc"] = _auroc_interval(resamples, melanoma, malignant)
    shown: dict[str, Any] = {}
    if config.zones:
        shown["zones"] = zones.zone_figures(score, malignant, config.zones, resamples)
    if predictions.GATE in part:
        shown["refused"] = subgroups.refusals(part, task)
    return {
        "source": PH2,
        "n": len(part),
        "melanoma": int(malignant.sum()),
        "nevus": int((~malignant).sum()),
        "malignancy_auroc": metrics.auroc(score, malignant),
        "melanoma_auroc": melanoma_auroc,
        "bounds": intervals,
        "operating_points": {
            name: _operating_point(resamples, score, malignant, threshold.value)
            for name, threshold in config.thresholds.items()
        },
        "calibration": calibration.recalibration(score, malignant, resamples),
        **shown,
    }


def _auroc_interval(
    resamples: Resamples, score: Floats64, malignant: NDArray[np.bool_]
) -> list[float] | None:
    return resamples.interval(lambda weights: metrics.weighted_auroc(weights, score, malignant))


def _operating_point(
    resamples: Resamples, score: Floats64, malignant: NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    parts = [
        metrics.weighted_operating_point(weights, score, malignant, threshold)
        for weights in resamples.chunks
    ]
    return metrics.operating_point(score, malignant, threshold) | {
        "bounds": {
            name: bounds(np.concatenate([part[name] for part in parts]))
            for name in ("sensitivity", "specificity")
        }
    }


def read_external(path: Path, task: Task) -> pd.DataFrame:
    """Read external.csv; raises DataError when it is damaged or of another task."""
    try:
        table = predictions.with_text(
            pd.read_csv(path, dtype=predictions.TEXT, keep_default_na=False)
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} can't be read ({' '.join(str(error).split())}): measure the model again."
        ) from error
    needed = ("source", "image_id", "dx", *predictions.logit_columns(task))
    if missing := [name for name in needed if name not in table]:
        raise DataError(f"{path} lacks the column(s) {some(missing)}: measure the model again.")
    numbers = table[predictions.logit_columns(task)].apply(pd.to_numeric, errors="coerce")
    if predictions.GATE in table:
        numbers[predictions.GATE] = pd.to_numeric(table[predictions.GATE], errors="coerce")
    wrong = ~np.isfinite(numbers).all(axis=1) | table.duplicated(["source", "image_id"])
    wrong |= (table["source"] == PH2) & ~table["dx"].isin(["mel", "nv"])
    if wrong.any():
        raise DataError(
            f"{path} has line(s) {some(table.index[wrong] + 2)} with a logit that is no number, "
            "another diagnosis than mel and nv, or an image that was there before: measure the "
            "model again."
        )
    return table
