"""The way in which the processes that decode hand their batches over to the one that trains.

PyTorch hands tensors over in shared memory (/dev/shm), of which a container has 64 MB by default.
Where a run needs more, arrays go through pipes instead: the same numbers, a little later.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

SHARED = "/dev/shm"
"""Folder of Linux's shared memory."""

AHEAD = 2
"""Batches that each process prepares before they are asked for, as DataLoader has it."""

NICE = 10
"""Niceness that processes which decode add to their own, from 0 to 19."""

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Handover:
    """A way to hand batches over.

    `workers` is the number of processes, and `collate` makes a batch of its rows (None: as
    DataLoader does it, in shared memory). `note` says in a sentence why it is another way, or "".
    """

    workers: int
    collate: Callable[[Sequence[tuple[torch.Tensor, int]]], Batch] | None = None
    note: str = ""


def choose(batch_bytes: int, workers: int, shared: str = SHARED) -> Handover:
    """Choose the way for `workers` processes and batches of a size in bytes.

    `shared` is the folder of the shared memory; only Linux has one.
    """
    if workers == 0 or sys.platform != "linux":
        return Handover(workers)
    try:
        # The processes' queues need it, and it lies in shared memory, too.
        multiprocessing.Semaphore()
        place = os.statvfs(shared)
    except OSError as error:
        note = f"{shared} can't be used ({error.strerror or error}): this process decodes alone."
        return Handover(0, note=note)
    # Those that are ready, the one that is trained on and the one that comes next.
    needed = batch_bytes * (AHEAD * workers + 2)
    free = place.f_bavail * place.f_frsize
    if needed <= free:
        return Handover(workers)
    note = (
        f"{shared} has {free / 1e6:.0f} MB, and {workers} processes need {needed / 1e6:.0f} MB: "
        "they send their batches through pipes (docker run --shm-size=1g gives more)."
    )
    return Handover(workers, through_pipe, note)


def step_aside(_worker: int) -> None:
    """Let the process that trains have the cores first; run in each process that decodes.

    All threads of a step wait for the one whose core is taken: on two cores an epoch took 6 % less
    time. The next batches are decoded while the step leaves a core idle.
    """
    if sys.platform != "win32":
        os.nice(NICE)


def through_pipe(rows: Sequence[tuple[torch.Tensor, int]]) -> Batch:
    """Make a batch of arrays, (B, 3, size, size) and (B,), which needs no shared memory."""
    views = np.stack([view.numpy() for view, _ in rows])
    return views, np.array([label for _, label in rows], np.int64)
