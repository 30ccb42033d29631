"""Same lesion, another photograph: how often the answer changes where nothing but the photograph did."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub import metrics
from dermhub.labels import Task
from dermhub.metrics import Floats


def retest(probabilities: Floats, lesions: NDArray[Any], task: Task, threshold: float) -> dict[str, Any]:
    """Compare all pairs of photographs of each lesion; `probabilities` is (N, C), `lesions` (N,) ids.

    `class_differs` and `decision_differs` are the shares of a lesion's pairs whose most probable class, or whose side
    of the operating point `threshold`, is not the same, and `malignancy_difference` the absolute difference of
    P(malignant): means over lesions, so that one with fifteen pairs counts no more than one with a single pair.
    `lesions_class` and `lesions_decision` count the lesions with any such pair. None where no lesion has two.
    """
    called = probabilities.argmax(axis=1)
    score = metrics.malignancy(probabilities, task)
    decided = score >= threshold
    names, counts = np.unique(lesions, return_counts=True)
    images, pairs, rows = 0, 0, []
    for name in names[counts > 1]:
        own = np.flatnonzero(lesions == name)
        both = np.array(list(combinations(own, 2)))
        one, other = both[:, 0], both[:, 1]
        images, pairs = images + len(own), pairs + len(both)
        rows.append(
            [
                (called[one] != called[other]).mean(),
                (decided[one] != decided[other]).mean(),
                np.abs(score[one] - score[other]).mean(),
            ]
        )
    differs = np.array(rows).reshape(-1, 3)
    mean = [float(v) for v in differs.mean(axis=0)] if rows else [None, None, None]
    return {
        "lesions": len(rows),
        "images": images,
        "pairs": pairs,
        "class_differs": mean[0],
        "decision_differs": mean[1],
        "malignancy_difference": mean[2],
        "lesions_class": int((differs[:, 0] > 0).sum()),
        "lesions_decision": int((differs[:, 1] > 0).sum()),
    }
