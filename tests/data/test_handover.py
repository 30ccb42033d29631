"""Batches are the same, whichever way the processes that decode hand them over."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dermhub.data import handover
from dermhub.data.datasets import one_sentence
from dermhub.errors import ConfigError


class Niceness(Dataset[int]):
    """The niceness of the process that is asked."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return os.nice(0)


class Numbers(Dataset[tuple[torch.Tensor, int]]):
    """Six views of 2 x 2 pixels, with their numbers as labels."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, 2, 2), index / 4), index


class Ends(Dataset[tuple[torch.Tensor, int]]):
    """A view at which the process ends, as it does when the system ends it for want of memory."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> NoReturn:
        os._exit(1)


class Fails(Dataset[tuple[torch.Tensor, int]]):
    """A view at which an error in our own code is raised."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> NoReturn:
        raise ZeroDivisionError


def test_no_processes_need_nothing() -> None:
    assert handover.choose(10**15, 0) == handover.Handover(0)


def test_what_fits_goes_through_shared_memory(tmp_path: Path) -> None:
    assert handover.choose(1, 2, str(tmp_path)) == handover.Handover(2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/shm")
def test_too_little_shared_memory_makes_pipes(tmp_path: Path) -> None:
    chosen = handover.choose(10**15, 2, str(tmp_path))
    assert (chosen.workers, chosen.collate) == (2, handover.through_pipe)
    # Two processes keep two batches ready each, one is trained on, and one comes next.
    assert "and 2 processes need 6000000000 MB: they send their batches through" in chosen.note


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/shm")
def test_no_shared_memory_makes_no_processes(tmp_path: Path) -> None:
    chosen = handover.choose(1, 2, str(tmp_path / "none"))
    assert (chosen.workers, chosen.collate) == (0, None)
    assert chosen.note == (
        f"{tmp_path / 'none'} can't be used (No such file or directory): this process decodes "
        "alone."
    )


def test_both_ways_give_the_same_batches() -> None:
    usual = one_sentence(DataLoader(Numbers(), 4))
    piped = one_sentence(DataLoader(Numbers(), 4, collate_fn=handover.through_pipe))
    for (views, labels), (others, numbers) in zip(usual, piped, strict=True):
        assert torch.equal(views, others)
        assert torch.equal(labels, numbers)
        assert (views.dtype, labels.dtype) == (others.dtype, numbers.dtype)


@pytest.mark.slow
def test_a_process_that_is_ended_is_one_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        list(one_sentence(DataLoader(Ends(), 1, num_workers=1)))
    assert str(caught.value).startswith("The 1 processes that decode images failed (DataLoader wor")
    assert str(caught.value).endswith("(docker run --shm-size=1g).")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_error_in_our_own_code_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        list(one_sentence(DataLoader(Fails(), 1, num_workers=1)))


def test_a_process_that_decodes_steps_aside() -> None:
    loader = DataLoader(Niceness(), None, num_workers=1, worker_init_fn=handover.step_aside)
    assert list(loader) == [min(os.nice(0) + 10, 19)]
