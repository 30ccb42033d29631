"""Confidence intervals of figures, from resampled lesions. Plain numpy.

Photographs of one lesion are not independent, so intervals come from resampling lesions, not
images: the percentile bootstrap (Efron 1979) over clusters (Field & Welsh 2007, section 3). The
interval of the ECE, which resampling raises, is moved onto the figure. A figure that is undefined
in too many resamples, or never varies, has no interval: None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.tasks import Task

RESAMPLES = 1000

SEED = 0

LEVEL = 0.95
"""Share of the resamples that lie inside an interval."""

FEWEST = 10
"""A figure of a subgroup that rests on fewer lesions says nothing and is not reported."""

CHUNK = 100
"""Resamples worked on at a time, so that memory stays small for ten thousand images."""


@dataclass(frozen=True)
class Resamples:
    """Resamples of the lesions of N images, drawn once and shared by all figures of these images.

    `chunks` hold (B, N) weights, how often each image counts in each of B resamples; `count` is the
    number of resamples, `seed` what they were drawn with, and `lesions` the number of lesions.
    """

    chunks: tuple[Floats64, ...]
    count: int
    seed: int
    lesions: int

    @classmethod
    def draw(cls, lesions: NDArray[Any], count: int = RESAMPLES, seed: int = SEED) -> Resamples:
        """Draw `count` resamples of the lesions with the ids `lesions` (N,), one for each image."""
        chunks = tuple(lesion_weights(lesions, count, seed))
        return cls(chunks, count, seed, len(np.unique(lesions)))

    def values(self, figure: Callable[[Floats64], Floats64]) -> Floats64:
        """(count,) values of a batched figure, (B, N) weights -> (B,), over all resamples."""
        return np.concatenate([figure(weights) for weights in self.chunks])

    def interval(self, figure: Callable[[Floats64], Floats64]) -> list[float] | None:
        """The interval of a batched figure, (B, N) weights -> (B,); see `bounds`."""
        return bounds(self.values(figure))


def lesion_weights(
    lesions: NDArray[Any], count: int = RESAMPLES, seed: int = SEED
) -> Iterator[Floats64]:
    """Yield (B, N) weights of the images in resamples of their lesions, at most `CHUNK` at a time.

    `lesions` (N,) holds each image's lesion id.
    """
    ids, lesion_of_image = np.unique(lesions, return_inverse=True)
    equal_chance = np.full(len(ids), 1 / len(ids))
    rng = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        # Drawing lesions with replacement gives each a multinomial count, which its photographs
        # share.
        counts = rng.multinomial(len(ids), equal_chance, min(CHUNK, count - start))
        yield counts[:, lesion_of_image].astype(float)


def intervals(
    resamples: Resamples, probabilities: Floats64, targets: Ints, task: Task, threshold: float
) -> dict[str, Any]:
    """The 95% interval of every headline figure, and of each class's recall.

    `probabilities` is (N, C) with rows summing to 1, `targets` (N,) class indices, and `threshold`
    the operating point of sensitivity and specificity. `bounds` and `recall` hold [low, high] or
    None.
    """
    figures = resampled_figures(resamples, probabilities, targets, task, threshold)
    # Bins are noisier in a resample, which raises its ECE: the cloud is moved back onto the figure
    # itself.
    ece = metrics.expected_calibration_error(probabilities, targets)
    figures["ece"] = np.maximum(figures["ece"] - figures["ece"].mean() + ece, 0.0)
    limits = {name: bounds(values) for name, values in figures.items()}
    return {
        "level": LEVEL,
        "resamples": resamples.count,
        "seed": resamples.seed,
        "lesions": resamples.lesions,
        "recall": {name: limits.pop(f"recall {name}") for name in task.classes},
        "bounds": limits,
    }


def resampled_figures(
    resamples: Resamples, probabilities: Floats64, targets: Ints, task: Task, threshold: float
) -> dict[str, Floats64]:
    """Name -> (count,) values of each figure of `weighted_figures` over all resamples."""
    parts = [
        weighted_figures(weights, probabilities, targets, task, threshold)
        for weights in resamples.chunks
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def weighted_figures(
    weights: Floats64, probabilities: Floats64, targets: Ints, task: Task, threshold: float
) -> dict[str, Floats64]:
    """Name -> (B,) values of each figure that has an interval, for (B, N) weights.

    These are `metrics.HEADLINE`; sensitivity, specificity and "call_accuracy", the accuracy of the
    call, at `threshold`; and "recall CLASS" for each class. NaN where a resample leaves a figure
    undefined.
    """
    summary = metrics.weighted_summary(weights, probabilities, targets, task)
    score = prediction.malignancy(probabilities, task)
    malignant = np.isin(targets, task.positive_indices)
    point = metrics.weighted_operating_point(weights, score, malignant, threshold)
    recall = summary["recall"]
    return {
        **{name: summary[name] for name in metrics.HEADLINE},
        **{name: point[name] for name in ("sensitivity", "specificity")},
        "call_accuracy": point["accuracy"],
        **{f"recall {name}": recall[:, index] for index, name in enumerate(task.classes)},
    }


def bounds(values: Floats64) -> list[float] | None:
    """The 95% interval [low, high] of a figure's (B,) values over resamples, NaN where undefined.

    None where more than a tenth of the resamples leave the figure undefined, or all agree.
    """
    defined = values[np.isfinite(values)]
    # A figure that every tenth resample leaves undefined has no interval that could be trusted.
    if len(defined) < 0.9 * len(values):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:
        # Eleven of eleven detected is no certainty, but resampling the eleven can't tell how far
        # from it.
        return None
    return [round(float(low), 6), round(float(high), 6)]
