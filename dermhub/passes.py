"""Many images through a model: decoded by several processes, in one order, exactly as `Classifier.predict` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dermhub.classifier import Classifier
from dermhub.config import InputSpec
from dermhub.preprocess import to_array, to_rgb
from dermhub.training import EVALUATION_BATCH, one_sentence

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What a model gives for N images: `logits` (N, C), and `pooled` (N, K), its features averaged over the image."""

    logits: Floats32
    pooled: Floats32


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


def run(classifier: Classifier, paths: Sequence[str], workers: int = 0, factor: float = 1.0) -> Outputs:
    """Outputs for images in the order of `paths`; raises ImageError for the first that can't be read."""
    logits, pooled = [], []
    for batch in batches(classifier.config.input, paths, workers, factor):
        one, maps = classifier.engine.forward(batch.numpy())
        logits.append(one)
        pooled.append(maps.mean((2, 3)))
    return Outputs(np.concatenate(logits), np.concatenate(pooled))


def batches(spec: InputSpec, paths: Sequence[str], workers: int = 0, factor: float = 1.0) -> Iterator[torch.Tensor]:
    """Images in the order of `paths` as a model sees them, (B, 3, size, size); see `run`."""
    images = Scaled(paths, spec, factor)
    yield from one_sentence(DataLoader(images, EVALUATION_BATCH, num_workers=workers))
