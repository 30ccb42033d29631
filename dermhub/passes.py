"""Many images through a model: decoded by several processes, in one order, exactly as `Classifier.predict` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dermhub import gate
from dermhub.augment import augment
from dermhub.classifier import Classifier
from dermhub.config import InputSpec
from dermhub.preprocess import to_array, to_rgb
from dermhub.training import EVALUATION_BATCH, one_sentence

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What a model gives for N images: `logits` (N, C), and the `described` (N, 2K + 36) that a gate judges."""

    logits: Floats32
    described: Floats32


LEAST_CROP = 0.35
"""Smallest crop of a view that stands for another photograph of a training image, as a share of the central square."""


class Varied(Dataset[torch.Tensor]):
    """Training images as a model sees them, but every second one as in training: (3, size, size) float32.

    Its light, colours, magnification and sharpness are then those that another dermatoscope might give it.
    """

    def __init__(self, paths: Sequence[str], spec: InputSpec) -> None:
        self.paths, self.spec = paths, spec

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        rgb = to_rgb(self.paths[index])
        if index % 2 == 0:
            return torch.from_numpy(to_array(rgb, self.spec))
        return augment(rgb, self.spec, self.spec.size, LEAST_CROP, np.random.default_rng(index))


class Scaled(Dataset[torch.Tensor]):
    """Images as a model sees them after each was scaled by a factor (1: as they are); (3, size, size) float32."""

    def __init__(self, paths: Sequence[str], spec: InputSpec, factor: float) -> None:
        self.paths, self.spec, self.factor = paths, spec, factor

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        rgb = to_rgb(self.paths[index])
        if self.factor != 1:
            size = (max(round(rgb.width * self.factor), 1), max(round(rgb.height * self.factor), 1))
            rgb = rgb.resize(size, Image.Resampling.BICUBIC)
        return torch.from_numpy(to_array(rgb, self.spec))


def logits(classifier: Classifier, paths: Sequence[str], workers: int = 0, factor: float = 1.0) -> Floats32:
    """(N, C) logits of images in the order of `paths`; raises ImageError for the first that can't be read."""
    inputs = batches(classifier.config.input, paths, workers, factor)
    return np.concatenate([classifier.engine.forward(batch.numpy())[0] for batch in inputs])


def run(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Outputs for images; see `logits`."""
    return _outputs(classifier, batches(classifier.config.input, paths, workers))


def varied(classifier: Classifier, paths: Sequence[str], workers: int = 0) -> Outputs:
    """Outputs for training images, of which every second is varied; see `Varied` and `logits`."""
    return _outputs(classifier, _load(Varied(paths, classifier.config.input), workers))


def by_split(classifier: Classifier, parts: Mapping[str, pd.DataFrame], workers: int = 0) -> dict[str, Outputs]:
    """Outputs for the images of each split's table: those of training varied, because a gate is fitted on them."""
    return {
        split: (varied if split == "train" else run)(classifier, list(part["path"]), workers)
        for split, part in parts.items()
    }


def batches(spec: InputSpec, paths: Sequence[str], workers: int = 0, factor: float = 1.0) -> Iterator[torch.Tensor]:
    """Images in the order of `paths` as a model sees them, (B, 3, size, size); see `logits`."""
    return _load(Scaled(paths, spec, factor), workers)


def _load(images: Dataset[torch.Tensor], workers: int) -> Iterator[torch.Tensor]:
    yield from one_sentence(DataLoader(images, EVALUATION_BATCH, num_workers=workers))


def _outputs(classifier: Classifier, inputs: Iterable[torch.Tensor]) -> Outputs:
    found, described = [], []
    for batch in inputs:
        images = batch.numpy()
        one, maps = classifier.engine.forward(images)
        found.append(one)
        described.append(gate.describe(maps, images, classifier.config.input))
    return Outputs(np.concatenate(found), np.concatenate(described))
