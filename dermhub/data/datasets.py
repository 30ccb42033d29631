"""The PyTorch Dataset that the training loop reads, and the order in which it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from dermhub.data.augment import augment
from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec


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
        return torch.from_numpy(view), int(self.targets[index])


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


def one_sentence(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader; an image that can't be read is told in one sentence."""
    try:
        yield from loader
    except ImageError as error:
        # A worker process sends its whole traceback as the error's text, with the sentence at the
        # end.
        raise ImageError(str(error).rpartition("ImageError: ")[2].strip()) from None
