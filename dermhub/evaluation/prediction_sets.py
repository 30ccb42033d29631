"""Figures of prediction sets on labelled images: coverage, size and accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.models import conformal
from dermhub.models.config import Conformal


def set_figures(
    probabilities: Floats64,
    targets: Ints,
    lesions: NDArray[np.str_],
    classes: tuple[str, ...],
    limits: Conformal,
    refused: NDArray[np.bool_],
) -> dict[str, Any]:
    """Measure the sets on labelled images, as JSON-ready values; shapes as in `fit`.

    The model abstains where the set is no answer, and where its gate has `refused` (N,) the image,
    as `Prediction.abstention` does.
    `coverage` counts photographs, `coverage_of_lesions` gives each lesion the weight 1, as the
    promise does. Of the images that are answered, `accuracy_answered` have the right class on top.
    None stands where there is no image.
    """
    held = conformal.prediction_sets(probabilities, limits, classes)
    size = held.sum(axis=1)
    hit = held[np.arange(len(targets)), targets]
    mute = conformal.abstains(probabilities, limits, classes) | refused
    right = probabilities.argmax(axis=1) == targets
    weight = conformal.photograph_weights(lesions)

    def figures(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "n": int(chosen.sum()),
            "lesions": len(np.unique(lesions[chosen])),
            "coverage": _mean(hit[chosen]),
            "coverage_of_lesions": _mean(hit[chosen], weight[chosen]),
            "mean_size": _mean(size[chosen]),
            "abstention_rate": _mean(mute[chosen]),
        }

    return {
        "level": limits.level,
        **figures(np.ones(len(targets), bool)),
        "accuracy_answered": _mean(right[~mute]),
        "sizes": {str(n): int((size == n).sum()) for n in range(len(classes) + 1)},
        "per_class": {name: figures(targets == index) for index, name in enumerate(classes)},
    }


def _mean(values: NDArray[Any], weights: Floats64 | None = None) -> float | None:
    return float(np.average(values, weights=weights)) if len(values) else None
