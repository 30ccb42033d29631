"""PyTorch Datasets of images for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dermhub.data.augment import augment
from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec, to_array


class EvaluationImages(Dataset[torch.Tensor]):
    """Images as `Classifier.predict` sees them: item i is a float32 tensor (3, size, size)."""

    def __init__(self, paths: list[str], spec: InputSpec) -> None:
        self.paths, self.spec = paths, spec

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(to_array(to_rgb(self.paths[index]), self.spec))


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """One epoch of augmented views with their class indices; see `epoch_order` for the order.

    The view at a position depends on (seed, epoch, position) alone. `copies` are paths of sharper
    copies, each shown in its image's place with its chance (see
    `additions.substitution_probability`).
    """

    def __init__(
        self,
        paths: list[str],
        targets: NDArray[np.int64],
        order: NDArray[np.int64],
        spec: InputSpec,
        size: int,
        min_scale: float,
        key: tuple[int, int],
        copies: tuple[list[str], NDArray[np.float64]] | None = None,
        randaugment: int = 0,
    ) -> None:
        self.paths, self.targets, self.order, self.copies, self.randaugment = (
            paths,
            targets,
            order,
            copies,
            randaugment,
        )
        self.spec, self.size, self.min_scale, self.key = spec, size, min_scale, key

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        index = int(self.order[position])
        rng = np.random.default_rng([*self.key, position])
        path = self.paths[index]
        if self.copies is not None and rng.random() < self.copies[1][index]:
            path = self.copies[0][index]
        view = augment(to_rgb(path), self.spec, self.size, self.min_scale, rng, self.randaugment)
        return view, int(self.targets[index])


def epoch_order(
    groups: NDArray[np.int64], sampling: float, key: tuple[int, int]
) -> NDArray[np.int64]:
    """Indices of one epoch, as many as there are images, in random order.

    A group (a diagnosis) is drawn in proportion to share**sampling: 1 keeps the data's own shares,
    0 draws all groups equally often. Within a group every image is used before one is repeated.
    """
    rng = np.random.default_rng([*key, 0x0DE2])
    names, counts = np.unique(groups, return_counts=True)
    wanted = counts.astype(float) ** sampling
    numbers = np.floor(np.cumsum(wanted / wanted.sum()) * len(groups) + 0.5).astype(int)
    drawn = []
    for name, number in zip(names, np.diff(numbers, prepend=0), strict=True):
        members = np.flatnonzero(groups == name)
        rounds = -(-int(number) // len(members))
        drawn.append(
            np.concatenate([rng.permutation(members) for _ in range(max(rounds, 1))])[:number]
        )
    return rng.permutation(np.concatenate(drawn))


LEAST_CROP = 0.35
"""Smallest crop of a view that stands for another photograph of a training image, as a share of the
central square.
"""


class VariedImages(Dataset[torch.Tensor]):
    """Training images as a model sees them, but every second one as in training: (3, size, size)
    float32.

    Its light, colours, magnification and sharpness are then those that another dermatoscope might
    give it.
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


class ScaledImages(Dataset[torch.Tensor]):
    """Images as a model sees them after each was scaled by a factor (1: as they are); (3, size,
    size) float32.
    """

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


def load_batches(images: Dataset[torch.Tensor], workers: int) -> Iterator[torch.Tensor]:
    """Yield batches of `EVALUATION_BATCH` images in order; raises ImageError in one sentence."""
    yield from one_sentence(DataLoader(images, EVALUATION_BATCH, num_workers=workers))


EVALUATION_BATCH = 8  # see classifier.BATCH


def one_sentence(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader; an image that can't be read is told in one sentence."""
    try:
        yield from loader
    except ImageError as error:
        # A worker process sends its whole traceback as the error's text, with the sentence at the
        # end.
        raise ImageError(str(error).rpartition("ImageError: ")[2].strip()) from None
