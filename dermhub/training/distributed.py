"""Several processes, as `torchrun` starts them: who one is, and what those that train one model do
together.

In training each takes its own rows of every batch, and DistributedDataParallel averages their
gradients (Li et al. 2020), so that a step is that of one process with the whole batch. Outside
torchrun there is one process, and this costs nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dermhub.errors import ConfigError, DermhubError

if TYPE_CHECKING:
    import torch
    from torch import nn


PATIENCE = datetime.timedelta(hours=2)
"""How long processes wait for each other: the first one alone fetches the data, validates and
saves.
"""


LOST = re.compile("closed by peer|reset by peer|NCCL|Broken pipe")
"""How Gloo and NCCL tell that another process is gone."""


def launched() -> bool:
    """Whether this is one of the processes that torchrun started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def world() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_main() -> bool:
    """Whether this is the process that fetches, validates, saves and prints."""
    return rank() == 0


def reports_errors() -> bool:
    """Whether this process tells an error: until they are joined all meet the same ones, and the
    first tells them.
    """
    if is_main():
        return True
    import torch.distributed as dist

    return dist.is_initialized()


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """What is done here, the first process does alone; the others begin when it is through, and all
    are joined then.

    Where the first one fails the others are still waiting, and torchrun ends them.
    """
    if not is_main():
        _join()
    yield
    if is_main():
        _join()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """What all do side by side; raises DermhubError in one that waits for another that has
    ended.
    """
    try:
        yield
    except RuntimeError as error:
        if launched() and LOST.search(str(error)):
            raise DermhubError(
                "Another process of this training has ended, and this one with it: look for what "
                "the other one said, "
                "then go on with --resume RUN."
            ) from None
        raise
    if launched():
        import torch.distributed as dist

        dist.destroy_process_group()


def device(name: str) -> str:
    """This process's own device for a `--device` option; raises ConfigError for one GPU that all
    would share.
    """
    import torch

    if world() == 1:
        return name
    if name.startswith("cuda:"):
        raise ConfigError(
            f"--device {name} is one GPU for {world()} processes: leave it out, each takes its own."
        )
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return f"cuda:{os.environ.get('LOCAL_RANK', rank())}"
    return name


def rows(step: int, steps: int) -> range:
    """The positions in an epoch of `steps` steps of `step` images whose images are this
    process's.
    """
    return range(rank(), steps * step, world())


def check_rows(step: int) -> None:
    """Refuse a number of images a step that the processes can't share equally; raises
    ConfigError.
    """
    if step % world() or (world() > 1 and step // world() < 2):
        raise ConfigError(
            f"A step has {step} images for {world()} processes, expected the same number for each, "
            "at least 2: "
            "give another --batch-size, or torchrun another --nproc-per-node."
        )


def check_same(what: Any) -> None:
    """Refuse processes that were given different options or data; raises ConfigError."""
    if world() == 1:
        return
    import torch.distributed as dist

    told: list[Any] = [None] * world()
    dist.all_gather_object(told, what)
    others = [str(number) for number, one in enumerate(told) if one != told[0]]
    if others:
        raise ConfigError(
            f"Process {', '.join(others)} has other options or other data than process 0: give all "
            "the same."
        )


def parallel(model: nn.Module) -> nn.Module:
    """The model to train with: its weights are the first process's, and its gradients the mean over
    all.

    Each process normalises a batch by its own rows; the running statistics are those of the first
    one.
    """
    if not launched():
        return model
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model)


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes."""
    if launched():
        import torch.distributed as dist

        dist.all_reduce(value)
    return value / world()


def _join() -> None:
    if not launched():
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE
    )
