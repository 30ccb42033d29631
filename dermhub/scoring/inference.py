"""Many images through a model, exactly as `Classifier.predict` does: the only loop for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from dermhub.arrays import Floats32
from dermhub.data import batches
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec
from dermhub.models import ood_gate
from dermhub.models.classifier import Classifier

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for N images: `logits` (N, C), and the `described` (N, 2K + 36) that a gate
    judges.
    """

    logits: Floats32
    described: Floats32


def run(
    answer: Callable[[Floats32], Result], spec: InputSpec, paths: Sequence[str], workers: int = 0
) -> list[Result]:
    """What `answer` gives for each batch (B, 3, size, size) of images in the order of `paths`.

    `workers` threads decode; with 0, the caller's does. Raises ImageError for the first image that
    can't be read.
    """
    return batches.map_batches(
        lambda views: answer(np.stack(views)), paths, batches.as_predicted(spec), workers
    )


def logits(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Floats32:
    """(N, C) logits of images in the order of `paths`; see `run`."""
    forward = classifier.engine.forward
    return np.concatenate(
        run(lambda batch: forward(batch)[0], classifier.config.input, paths, workers)
    )


def outputs(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Outputs for images; see `run`."""
    return _outputs(classifier, paths, batches.as_predicted(classifier.config.input), workers)


def varied_outputs(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Outputs for training images, of which every second is varied; see `batches.varied` and
    `run`.
    """
    return _outputs(classifier, paths, batches.varied(classifier.config.input), workers)


def outputs_by_split(
    classifier: Classifier, parts: Mapping[str, pd.DataFrame], workers: int = 0
) -> dict[str, Outputs]:
    """Outputs for the images of each split's table: those of training varied, because a gate is
    fitted on them.
    """
    return {
        split: (varied_outputs if split == "train" else outputs)(
            classifier, list(part["path"]), workers
        )
        for split, part in parts.items()
    }


def _outputs(
    classifier: Classifier,
    paths: Sequence[str],
    view: Callable[[Photo, int], Floats32],
    workers: int,
) -> Outputs:
    def answer(views: list[Floats32]) -> tuple[Floats32, Floats32]:
        images = np.stack(views)
        found, maps = classifier.engine.forward(images)
        return found, ood_gate.feature_vector(maps, images, classifier.config.input)

    every, described = zip(*batches.map_batches(answer, paths, view, workers), strict=True)
    return Outputs(np.concatenate(every), np.concatenate(described))
