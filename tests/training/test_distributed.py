"""Training by two real processes under torchrun: the same as by one, saved once, resumed, and
refused.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from dermhub.data import draws, tables
from dermhub.errors import ConfigError
from dermhub.tasks import LESION
from dermhub.training import distributed
from dermhub.training.config import STATE
from tests.support.demo_process import free_port
from tests.support.tiny import TINY_RUN, run_training

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = Path("model") / "model.safetensors"
EXACT = (*TINY_RUN, "--model", "test_convnext", "--dropout", 0, "--lr", 0.002, "--bf16", "off")
"""Layer norms and no dropout: nothing but the order of sums depends on how many processes share a
batch.
"""


def torchrun(*options: object) -> subprocess.Popen[str]:
    """Two processes of train.py."""
    where = [
        "--nproc-per-node",
        "2",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(free_port()),
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *where,
        str(ROOT / "train.py"),
        *map(str, options),
    ]
    # Gloo would look up this machine's name, which needs a network on some.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=-1, stderr=-1)


def kill_one(victim: subprocess.Popen[str]) -> None:
    """Kill -9 one of the two, as the kernel does where memory runs out; torchrun ends the other."""
    children = Path(f"/proc/{victim.pid}/task/{victim.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    victim.communicate(timeout=400)
    assert victim.returncode == 1


@pytest.fixture(scope="module")
def one(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by one process. Read only."""
    out = tmp_path_factory.mktemp("runs") / "one"
    run_training("--data", tiny_data, "--out", out, *EXACT)
    return out


@pytest.fixture(scope="module")
def two(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run by two. Read only."""
    out = tmp_path_factory.mktemp("runs") / "two"
    said, errors = (process := torchrun("--data", tiny_data, "--out", out, *EXACT)).communicate(
        timeout=400
    )
    assert process.returncode == 0, errors
    assert "Warning" not in errors
    # One of the two speaks: six epochs, and the end.
    assert [said.count(words) for words in ("  validation_nll ", "/model: test, 7 images")] == [
        6,
        1,
    ]
    return out


@pytest.mark.slow
def test_the_same_metrics_as_one_process(one: Path, two: Path) -> None:
    # Rounding alone differs: 24 steps of float32 sums in another order. Another row in one batch
    # would move a loss of 1.9 by some 0.1, gradients that are summed and not averaged would move
    # all from the second epoch on.
    first, second = (pd.read_csv(out / "history.csv") for out in (one, two))
    assert list(first["epoch"]) == list(second["epoch"]) == [1, 2, 3, 4, 5, 6]
    for name in ("lr", "train_loss", "validation_nll"):
        assert second[name].to_numpy() == pytest.approx(first[name].to_numpy(), abs=1e-4), name
    for name, tensor in load_file(one / WEIGHTS).items():
        assert torch.allclose(load_file(two / WEIGHTS)[name], tensor, atol=1e-3), name


@pytest.mark.slow
def test_saved_once(one: Path, two: Path) -> None:
    first, second = (sorted(path.relative_to(out) for path in out.rglob("*")) for out in (one, two))
    assert first == second


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(
    two: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    victim = torchrun("--data", tiny_data, "--out", out, *EXACT)
    while not (out / STATE).exists() and victim.poll() is None:
        time.sleep(0.001)
    kill_one(victim)
    assert not (out / "model").exists()
    process = torchrun("--resume", out)
    errors = process.communicate(timeout=400)[1]
    assert process.returncode == 0, errors
    resumed, whole = load_file(out / WEIGHTS), load_file(two / WEIGHTS)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_a_batch_that_can_not_be_divided_is_refused_once_and_nothing_is_written(
    tiny_data: Path, tmp_path: Path
) -> None:
    process = torchrun("--data", tiny_data, "--out", tmp_path / "run", *EXACT, "--batch-size", 7)
    said, errors = process.communicate(timeout=400)
    assert (process.returncode, said) == (1, "")
    assert [line for line in errors.splitlines() if line.startswith("train.py: ")] == [
        "train.py: A step has 7 images for 2 processes, expected the same number for each, at "
        "least 2: give another --batch-size, or torchrun another --nproc-per-node."
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_failure_of_one_process_ends_both(tiny_data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    train = tables.read_table(folder, LESION).query("split == 'train'")
    groups = np.unique(train["dx"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
    order = draws.epoch_order(groups, 0.5, (0, 0))[:32]
    damaged = Path(
        train["path"].iloc[next(index for index in order[1::2] if index not in order[0::2])]
    )
    damaged.write_bytes(damaged.read_bytes()[:300])
    process = torchrun("--data", folder, "--out", tmp_path / "run", *EXACT)
    errors = process.communicate(timeout=400)[1]
    assert process.returncode == 1
    # In the middle of a line, behind the bar. The other process may be ended before it can say
    # anything.
    assert errors.count(f"train.py: {damaged} is damaged or cut short") == 1
    assert "Traceback" not in errors.split("torch/distributed/elastic")[0]
    assert not (tmp_path / "run" / STATE).exists()


def test_every_position_belongs_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    own = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        own.append([*distributed.rows(step=6, steps=2)])
    # Two batches of six: 0 to 5, and 6 to 11; each process has two positions of each.
    assert own == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


@pytest.mark.parametrize(
    ("step", "world", "fine"), [(2, 1, True), (64, 2, True), (63, 2, False), (2, 2, False)]
)
def test_batches_that_can_be_divided(
    step: int, world: int, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(world))
    if fine:
        distributed.check_rows(step)
    else:
        with pytest.raises(
            ConfigError, match=f"^A step has {step} images for {world} processes, expected"
        ):
            distributed.check_rows(step)


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert distributed.device() == torch.device("cuda:0")
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert distributed.device() == torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.device() == torch.device("cpu")
