"""Distributed training helpers: rank, world size, process group, rows of each process.

Under `torchrun` each process takes its own rows of every batch, and DistributedDataParallel
averages their gradients (Li et al. 2020), so that a step is that of one process with the whole
batch. Outside torchrun there is one process, and this costs nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dermhub.errors import ConfigError, DermhubError

if TYPE_CHECKING:
    import torch
    from torch import nn


PATIENCE = datetime.timedelta(hours=2)
"""Longest wait of a process for another: the first alone fetches the data, validates and saves."""

LOST = re.compile("closed by peer|reset by peer|NCCL|Broken pipe")
"""Pattern of the errors of Gloo and NCCL for a process that is gone."""


def launched() -> bool:
    """Tell if torchrun started this process."""
    return all(os.environ.get(name, "").isdecimal() for name in ("RANK", "WORLD_SIZE"))


def check_variables() -> None:
    """Raise ConfigError for variables of torchrun's that torchrun would not set so.

    Schedulers of clusters set some of them, too.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"):
        value = os.environ.get(name, "")
        if not (value if name == "MASTER_ADDR" else value.isdecimal()):
            raise ConfigError(
                f"RANK and WORLD_SIZE are set, as torchrun sets them, but {name} is {value!r}: "
                "start with torchrun, or unset RANK and WORLD_SIZE."
            )


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def world() -> int:
    """The number of processes that train together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_main() -> bool:
    """Tell if this is the process that fetches, validates, saves and prints."""
    return rank() == 0


def reports_errors() -> bool:
    """Tell if this process prints its errors.

    Until they are joined all processes meet the same errors, and the first one prints them.
    """
    if is_main():
        return True
    import torch.distributed as dist

    return dist.is_initialized()


def one_voice() -> contextlib.AbstractContextManager[object]:
    """A block in which only the first process writes on stderr, since all have the same to say."""
    return contextlib.nullcontext() if is_main() else contextlib.redirect_stderr(io.StringIO())


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """A block that the first process runs alone; then the others run it, and all are joined.

    Where the first one fails the others are still waiting, and torchrun ends them.
    """
    if not is_main():
        _join()
    yield
    if is_main():
        _join()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """A block that all processes run side by side.

    Raises DermhubError in a process that waits for another that has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if launched() and LOST.search(str(error)):
            raise DermhubError(
                "Another process of this training has ended, and this one with it: look for what "
                "the other one said, then go on with --resume RUN."
            ) from None
        raise
    if launched():
        import torch.distributed as dist

        dist.destroy_process_group()


def device() -> torch.device:
    """The device of this process: a GPU of its own where there are some, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) if launched() else 0)


def rows(step: int, steps: int) -> range:
    """The positions of this process's images in an epoch of `steps` steps of `step` images."""
    return range(rank(), steps * step, world())


def check_rows(step: int) -> None:
    """Raise ConfigError for a number of images a step that the processes can't share equally."""
    if step % world() or (world() > 1 and step // world() < 2):
        raise ConfigError(
            f"A step has {step} images for {world()} processes, expected the same number for each, "
            "at least 2: give another --batch-size, or torchrun another --nproc-per-node."
        )


def check_same(inputs: Any) -> None:
    """Raise ConfigError for processes that were given different options or data."""
    if world() == 1:
        return
    import torch.distributed as dist

    gathered: list[Any] = [None] * world()
    dist.all_gather_object(gathered, inputs)
    others = [str(number) for number, other in enumerate(gathered) if other != gathered[0]]
    if others:
        raise ConfigError(
            f"Process {', '.join(others)} has other options or other data than process 0: give all "
            "the same."
        )


def parallel(model: nn.Module) -> nn.Module:
    """Wrap the model to train: the first process's weights, and the mean of all gradients.

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
