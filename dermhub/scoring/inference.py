"""Many images through a model: decoded by several processes, in one order, exactly as
`Classifier.predict` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from dermhub.arrays import Floats32
from dermhub.data.datasets import ScaledImages, VariedImages, load_batches
from dermhub.images.view import InputSpec
from dermhub.models import ood_gate
from dermhub.models.classifier import Classifier


@dataclass(frozen=True)
class Outputs:
    """What a model gives for N images: `logits` (N, C), and the `described` (N, 2K + 36) that a
    gate judges.
    """

    logits: Floats32
    described: Floats32


def logits(
    classifier: Classifier, paths: Sequence[str], workers: int = 0, factor: float = 1.0
) -> Floats32:
    """(N, C) logits of images in the order of `paths`; raises ImageError for the first that can't
    be read.
    """
    inputs = batches(classifier.config.input, paths, workers, factor)
    return np.concatenate([classifier.engine.forward(batch.numpy())[0] for batch in inputs])


def outputs(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Outputs for images; see `logits`."""
    return _outputs(classifier, batches(classifier.config.input, paths, workers))


def varied_outputs(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Outputs for training images, of which every second is varied; see `Varied` and `logits`."""
    return _outputs(classifier, load_batches(VariedImages(paths, classifier.config.input), workers))


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


def batches(
    spec: InputSpec, paths: Sequence[str], workers: int = 0, factor: float = 1.0
) -> Iterator[torch.Tensor]:
    """Images in the order of `paths` as a model sees them, (B, 3, size, size); see `logits`."""
    return load_batches(ScaledImages(paths, spec, factor), workers)


def _outputs(classifier: Classifier, inputs: Iterable[torch.Tensor]) -> Outputs:
    found, described = [], []
    for batch in inputs:
        images = batch.numpy()
        one, maps = classifier.engine.forward(images)
        found.append(one)
        described.append(ood_gate.feature_vector(maps, images, classifier.config.input))
    return Outputs(np.concatenate(found), np.concatenate(described))
