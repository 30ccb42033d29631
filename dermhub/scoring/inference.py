"""Inference on many images, exactly as `Classifier.predict` does it."""

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
    """A model's outputs for N images.

    `logits` is (N, C); `described` (N, 2K + 36) holds the images' feature vectors, by which a gate
    judges them (see `ood_gate.feature_vector`).
    """

    logits: Floats32
    described: Floats32


def run(
    answer: Callable[[Floats32], Result], spec: InputSpec, paths: Sequence[str], workers: int = 0
) -> list[Result]:
    """Return the result of `answer` for each batch (B, 3, size, size), in the order of `paths`.

    `workers` threads decode; with 0, the caller's thread does. Raises ImageError for the first
    image that can't be read.
    """

    def answer_views(views: list[Floats32]) -> Result:
        return answer(np.stack(views))

    return batches.map_batches(answer_views, paths, batches.as_predicted(spec), workers)


def logits(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Floats32:
    """Return the logits (N, C) of images in the order of `paths`; see `run`."""

    def answer(batch: Floats32) -> Floats32:
        return classifier.engine.forward(batch)[0]

    return np.concatenate(run(answer, classifier.config.input, paths, workers))


def features(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Floats32:
    """Return the features (N, K) of images, those of `Classifier.embed`; see `run`."""

    def answer(batch: Floats32) -> Floats32:
        means: Floats32 = classifier.engine.forward(batch)[1].mean(axis=(2, 3))
        return means

    return np.concatenate(run(answer, classifier.config.input, paths, workers))


def outputs(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Return the outputs for images in the order of `paths`; see `run`."""
    return _outputs(classifier, paths, batches.as_predicted(classifier.config.input), workers)


def varied_outputs(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Return the outputs for training images, every second varied as in `batches.varied`."""
    return _outputs(classifier, paths, batches.varied(classifier.config.input), workers)


def outputs_by_split(
    classifier: Classifier, parts: Mapping[str, pd.DataFrame], workers: int = 0
) -> dict[str, Outputs]:
    """Return the outputs for the images of each split's table.

    Those of training are varied, because a gate is fitted on them.
    """
    by_split = {}
    for split, part in parts.items():
        make = varied_outputs if split == "train" else outputs
        by_split[split] = make(classifier, list(part["path"]), workers)
    return by_split


def _outputs(
    classifier: Classifier,
    paths: Sequence[str],
    view: Callable[[Photo, int], Floats32],
    workers: int,
) -> Outputs:
    """Return the outputs for the views of images that `view` makes."""

    def answer(views: list[Floats32]) -> tuple[Floats32, Floats32]:
        images = np.stack(views)
        batch_logits, maps = classifier.engine.forward(images)
        return batch_logits, ood_gate.feature_vector(maps, images, classifier.config.input)

    answers = batches.map_batches(answer, paths, view, workers)
    all_logits, described = zip(*answers, strict=True)
    return Outputs(np.concatenate(all_logits), np.concatenate(described))
