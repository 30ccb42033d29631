"""Predictions drawn at random, and their figures, for the tests of intervals and subgroups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.tasks import Task

THRESHOLD = 0.4
"""Operating point of sensitivity and specificity."""


def draw_predictions(
    task: Task, images: int = 120, lesions: int = 80, seed: int = 0
) -> tuple[Floats64, Ints, NDArray[Any]]:
    """Probabilities (N, C) of some skill with many ties, targets (N,) that miss no class of the
    task, and lesion ids (N,).
    """
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.arange(lesions), rng.integers(0, lesions, images - lesions)])
    targets = (ids % len(task.classes)).astype(np.int64)
    logits = rng.normal(size=(images, len(task.classes)))
    logits[np.arange(images), targets] += 1
    return prediction.softmax(np.round(logits, 1)), targets, np.array([f"L{i}" for i in ids])


def figures_with_interval(probabilities: Floats64, targets: Ints, task: Task) -> dict[str, Any]:
    """The figures of `bootstrap.weighted_figures` as `metrics.summarize` gives them."""
    summary = metrics.summarize(probabilities, targets, task, {"point": THRESHOLD})
    point = summary["operating_points"]["point"]
    return {
        **{name: summary[name] for name in metrics.HEADLINE},
        "sensitivity": point["sensitivity"],
        "specificity": point["specificity"],
        "call_accuracy": point["accuracy"],
        **{f"recall {name}": row["recall"] for name, row in summary["per_class"].items()},
    }
