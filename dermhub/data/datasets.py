"""The PyTorch Dataset of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dermhub.data.augment import augment
from dermhub.errors import ConfigError, ImageError
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """One epoch of augmented views with their targets, in the order of `draws.epoch_order`.

    `paths` and `targets` are of all training images, `order` holds the index of the image at each
    position. The view at a position depends on `key`, which is (seed, epoch), and the position
    alone. `size`, `min_scale` and `alike` are those of `augment`. `decode` opens a file, by default
    anew each time.
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
        alike: bool = False,
        decode: Callable[[str], Image.Image] = to_rgb,
    ) -> None:
        self.paths = paths
        self.targets = targets
        self.order = order
        self.spec = spec
        self.size = size
        self.min_scale = min_scale
        self.key = key
        self.alike = alike
        self.decode = decode

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        index = int(self.order[position])
        rng = np.random.default_rng([*self.key, position])
        rgb = self.decode(self.paths[index])
        view = augment(rgb, self.spec, self.size, self.min_scale, rng, self.alike)
        return torch.from_numpy(view), int(self.targets[index])


def one_sentence(loader: DataLoader[Any]) -> Iterator[list[torch.Tensor]]:
    """Yield a loader's batches as tensors; its errors become one sentence.

    A worker process sends its whole traceback as the error's text, with the sentence at the end.
    Raises ImageError for an unreadable image, and ConfigError where processes can't be started,
    have no memory left or were ended.
    """
    try:
        for batch in loader:
            yield [torch.as_tensor(part) for part in batch]
    except ImageError as error:
        sentence = str(error).rpartition("ImageError: ")[2].strip()
        raise ImageError(sentence) from None
    except (RuntimeError, OSError, MemoryError) as error:
        problem = _problem_of_processes(error)
        if not loader.num_workers or problem is None:
            raise
        raise ConfigError(
            f"The {loader.num_workers} processes that decode images failed ({problem}): use fewer "
            "--workers, or 0, or give them more memory (docker run --shm-size=1g)."
        ) from error


def _problem_of_processes(error: Exception) -> str | None:
    """Say in a few words what became of a loader's processes; None for an error in our own code."""
    text = str(error)
    if text.startswith("Caught "):
        # Raised in a process, and its traceback with it.
        last = text.strip().splitlines()[-1]
        known = ("MemoryError", "OSError", "shared memory", "No space left")
        return last if any(word in last for word in known) else None
    cause = error.__context__ if "exited unexpectedly" in text and error.__context__ else error
    return " ".join(str(cause).split())[:160] or type(error).__name__
