"""Work done side by side in processes, for work between whose steps threads wait for each other.

To measure a photograph takes many short steps of Python, which runs one thread at a time. Two
threads scored 178 files a second where two processes scored 223 (`benchmarks/archive.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from dermhub.data import batches
from dermhub.errors import ConfigError

Item = TypeVar("Item")

Result = TypeVar("Result")

_work: list[Callable[[Any], Any]] = []
"""In a process of the pool: the one function that it calls."""


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Generator[Result]:
    """Yield the result of `work` for each item, in the order of the items.

    `work` is copied into each process once; it, the items and the results must be picklable. At
    most `batches.AHEAD` results per process are in memory. An error of `work` is raised at its
    item's place. Raises ConfigError where a process ends before its work does, and OSError where
    none can be started.
    """
    # A fork would copy the locks of threads that it lacks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (work,)) as pool:
        try:
            yield from batches.ahead(pool, _call, items, batches.AHEAD * processes)
        except BrokenProcessPool:
            raise ConfigError(
                "A process that scores images was ended from outside, perhaps for lack of memory: "
                "run the same command with --workers 1; it goes on from here."
            ) from None


def available() -> bool:
    """Return False where this system has no semaphores, by which processes share their work."""
    try:
        multiprocessing.get_context("spawn").Semaphore()
    # OSError: in a container without /dev/shm. ImportError: a Python built without them.
    except (OSError, ImportError):
        return False
    return True


def _begin(work: Callable[[Any], Any]) -> None:
    """Prepare a process of the pool."""
    # Ctrl-C reaches all processes of a terminal. The first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work[:] = [work]


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _call(item: Any) -> Any:
    (work,) = _work
    return work(item)
