"""Real training runs of a tiny model: interrupted, resumed, begun from a file, and their files."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dermhub.data import tables
from dermhub.errors import ConfigError, DataError, ModelError
from dermhub.models import backbone, weights
from dermhub.tasks import BINARY, LESION
from dermhub.training import fit as training_fit
from dermhub.training import state as training_state
from dermhub.training.config import STATE, TrainConfig
from tests.support.tiny import TINY_RUN, TINY_SPEC, make_model, run_training

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = Path("model") / "model.safetensors"
HEADING = "epoch,train_loss,images_per_second,seconds\n"


def same_tensors(first: Path, second: Path) -> bool:
    left = load_file(first)
    right = load_file(second)
    if left.keys() != right.keys():
        return False
    return all(torch.equal(left[name], right[name]) for name in left)


@dataclass
class Stopped:
    """A run that a signal ended after its first complete epoch."""

    out: Path
    code: int
    errors: str


def stopped(tiny_data: Path, out: Path, name: str) -> Stopped:
    """Start train.py as a process of its own, and send it a signal after its first epoch."""
    command = [sys.executable, str(ROOT / "train.py"), "--data", str(tiny_data)]
    # Where the tests themselves run in the background of a script, processes would inherit that
    # SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, *map(str, TINY_RUN), "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    signal.signal(signal.SIGINT, before)
    while not (out / STATE).exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.Signals[name])
    errors = process.communicate(timeout=60)[1]
    return Stopped(out, process.returncode, errors)


def test_everything_promised_is_there(finished_run: Path) -> None:
    files = {
        path.relative_to(finished_run).as_posix()
        for path in finished_run.rglob("*")
        if path.is_file()
    }
    figures = ("confusion_matrix", "curves", "data", "reliability", "roc")
    assert files == {
        *(
            ".lock",
            "train_config.json",
            "images.csv",
            "data.json",
            "data.png",
            "history.csv",
            "curves.png",
            "state.safetensors",
        ),
        *("model/README.md", "model/config.json", "model/model.safetensors", "model/metrics.json"),
        *(
            "model/predictions.csv",
            "model/gate.safetensors",
            "model/seen.safetensors",
            "model/model.onnx",
        ),
        *(f"model/figures/{name}.png" for name in figures),
    }
    for path in finished_run.rglob("*.png"):
        with Image.open(path) as image:
            image.load()


def test_the_loss_falls(finished_run: Path) -> None:
    history = pd.read_csv(finished_run / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert history["train_loss"].iloc[-2:].mean() < 0.9 * history["train_loss"].iloc[0]


def test_the_averaged_weights_are_what_is_saved(finished_run: Path) -> None:
    state, saved = load_file(finished_run / STATE), load_file(finished_run / WEIGHTS)
    names = [name for name in saved if saved[name].is_floating_point()]
    assert len(names) > 20
    # Matrices in half precision, biases and norms as they are.
    assert saved["conv1.0.weight"].dtype == saved["fc.weight"].dtype == torch.float16
    assert saved["fc.bias"].dtype == torch.float32
    for name in names:
        assert torch.equal(saved[name], state[f"average.{name}"].to(saved[name].dtype)), name
    assert not any(
        torch.equal(saved[name], state[f"model.{name}"])
        for name in names
        if name.endswith("weight")
    )


def test_the_learning_rate_goes_through_the_whole_run(finished_run: Path) -> None:
    # 35 training images are four steps of eight; six epochs, the first to warm up; the last step of
    # each is kept.
    expected = [0.01 * training_fit.learning_rate(4 * epoch - 1, 24, 4) for epoch in range(1, 7)]
    assert list(pd.read_csv(finished_run / "history.csv")["lr"]) == pytest.approx(expected)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = stopped(tiny_data, tmp_path / "run", "SIGKILL")
    assert run.code == -signal.SIGKILL
    assert not (run.out / "model").exists()
    run_training("--resume", run.out)
    assert same_tensors(run.out / WEIGHTS, finished_run / WEIGHTS)
    # No half-written file of the killed process is left in the folder of the model.
    names = {path.name for path in (finished_run / "model").iterdir()}
    assert {path.name for path in (run.out / "model").iterdir()} == names


@pytest.mark.slow
def test_ctrl_c_ends_in_one_sentence_and_the_run_can_go_on(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = stopped(tiny_data, tmp_path / "run", "SIGINT")
    assert run.code == 130
    assert "Traceback" not in run.errors
    assert (
        run.errors.splitlines()[-1]
        == "train.py: stopped; --resume RUN goes on after the last complete epoch."
    )
    assert not (run.out / "model").exists()
    run_training(f"--resume={run.out}")
    assert same_tensors(run.out / WEIGHTS, finished_run / WEIGHTS)


@pytest.mark.slow
def test_a_finished_run_resumed_writes_the_same(finished_run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(out / "model")
    run_training("--resume", out)
    for name in ("config.json", "predictions.csv", "model.safetensors"):
        # But for the date: a test may run past midnight.
        again, before = (re.sub(rb'"date": "[0-9-]+"', b"", (run / "model" / name).read_bytes())
                         for run in (out, finished_run))  # fmt: skip
        assert again == before, name
    again, before = (
        json.loads((run / "model" / "metrics.json").read_text()) for run in (out, finished_run)
    )
    # The time of an answer is the one figure that is not a function of the run.
    assert again.pop("latency").keys() == before.pop("latency").keys()
    assert again == before
    assert (out / "history.csv").read_bytes() == (finished_run / "history.csv").read_bytes()


@pytest.mark.slow
def test_a_run_stopped_in_its_first_epoch_starts_from_its_weights_again(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    # Before the first state is saved, a resumed run must not silently start from random weights.
    options = [
        *TINY_RUN,
        "--epochs",
        1,
        "--init",
        finished_run / WEIGHTS,
        "--task",
        "binary",
        "--data",
        tiny_data,
    ]
    run_training(*options, "--out", tmp_path / "whole")
    (tmp_path / "stopped").mkdir()
    for name in ("train_config.json", "images.csv"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "stopped")
    run_training("--resume", tmp_path / "stopped")
    assert same_tensors(tmp_path / "stopped" / WEIGHTS, tmp_path / "whole" / WEIGHTS)
    # Seven classes in the file, two in the run: the last layer is new, the rest began where the
    # file ended.
    assert load_file(tmp_path / "whole" / WEIGHTS)["fc.weight"].shape[0] == 2
    first, last = load_file(finished_run / WEIGHTS), load_file(tmp_path / "whole" / WEIGHTS)
    moved = (last["conv1.0.weight"] - first["conv1.0.weight"]).norm() / first[
        "conv1.0.weight"
    ].norm()
    assert 0 < float(moved) < 0.3


def make_fit(tiny_data: Path, out: Path, **options: object) -> training_fit.Fit:
    values: dict[str, object] = {
        "batch_size": 8,
        "train_size": 32,
        "workers": 0,
        "epochs": 1,
        "model": "test_resnet",
    }
    config = TrainConfig(**values | options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    table = tables.read_table(tiny_data, LESION)
    return training_fit.Fit(backbone.build(config.model, 7), table, config, TINY_SPEC, out)


@pytest.mark.parametrize(("batch", "steps"), [(8, 4), (20, 1), (35, 1), (64, 1)])
def test_an_epoch_has_as_many_steps_as_whole_batches(
    tiny_data: Path, tmp_path: Path, batch: int, steps: int
) -> None:
    # 35 training images; a batch that is larger than the data is one step as well.
    fit = make_fit(tiny_data, tmp_path, batch_size=batch)
    row = fit.train_epoch(0)
    counted = {int(state["step"]) for state in fit.optimizer.state.values()}
    assert counted == {steps}
    # The classifier starts near zero: all seven classes are equally likely.
    assert row["train_loss"] == pytest.approx(math.log(7), abs=0.3)


def test_the_learning_rate_by_hand() -> None:
    rates = [training_fit.learning_rate(step, 10, 2) for step in range(11)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(0)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_average_by_hand() -> None:
    kept, new = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(kept.weight, 0.0)
    torch.nn.init.constant_(new.weight, 1.0)
    training_fit.update_average(kept, new, 0, 0.9)
    # The first step moves nine tenths of the way ((1 + 0) / (10 + 0) stays), a late one a tenth.
    assert kept.weight.item() == pytest.approx(0.9)
    training_fit.update_average(kept, new, 10_000, 0.9)
    assert kept.weight.item() == pytest.approx(0.91)


def test_norms_and_biases_do_not_decay_and_the_classifier_learns_fastest(
    tiny_data: Path, tmp_path: Path
) -> None:
    fit = make_fit(tiny_data, tmp_path, backbone_lr=0.25, weight_decay=0.1)
    parameters = dict(fit.model.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    seen = set()
    for group in fit.optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            assert group["scale"] == (1.0 if name.startswith("fc.") else 0.25)
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
    assert seen == set(parameters)


def test_predict_all_keeps_the_order_of_the_paths(tiny_data: Path, tmp_path: Path) -> None:
    model, config = weights.load(make_model(tmp_path / "model", BINARY))
    paths = list(tables.read_table(tiny_data, BINARY)["path"])[:5]
    forwards = training_fit.predict_all(model, paths, config.input)
    assert forwards.shape == (5, 2)
    assert np.allclose(
        forwards[::-1], training_fit.predict_all(model, paths[::-1], config.input), atol=1e-5
    )
    assert len(np.unique(forwards[:, 0])) == 5


def test_a_loss_that_is_no_number_stops_the_run(tiny_data: Path, tmp_path: Path) -> None:
    fit = make_fit(tiny_data, tmp_path, lr=1e30)
    with pytest.raises(ConfigError, match=r"^The loss became (nan|inf) at step \d+: lower --lr\.$"):
        fit.run()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"history.csv can't be read \(.*\): start a new run.$"),
        ("epoch,train_loss\n1,2.0\n", "history.csv is damaged or cut short: start a new run.$"),
        (
            "epoch,train_loss,images_per_second,seconds\n1,2,3\n",
            "history.csv is damaged or cut short: start a new run.$",
        ),
        (
            HEADING + "1,2,3,4\n2,2,3,abc\n3,2,3,4\n4,2,3,4\n5,2,3,4\n6,2,3,4\n",
            "history.csv is damaged or cut short: start a new run.$",
        ),
        (
            HEADING + "1,2,3,4\n2,inf,3,4\n3,2,3,4\n4,2,3,4\n5,2,3,4\n6,2,3,4\n",
            "history.csv is damaged or cut short: start a new run.$",
        ),
        (
            HEADING + "1,2,3,4\n3,2,3,4\n2,2,3,4\n4,2,3,4\n5,2,3,4\n6,2,3,4\n",
            "history.csv is damaged or cut short: start a new run.$",
        ),
        ("", r"history.csv can't be read \(.*\): start a new run.$"),
        (
            "epoch,train_loss,images_per_second,seconds\n1,2,3,4\n",
            "history.csv has 1 rows, expected the 6 epochs of state.safetensors: start a",
        ),
    ],
)
def test_a_history_that_does_not_fit(
    finished_run: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (out / "history.csv").unlink()
    if content is not None:
        (out / "history.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        run_training("--resume", out)


@pytest.mark.parametrize("content", [b"", b"\x80\x04 a pickle", b"\xff" * 100])
def test_a_state_that_is_damaged(finished_run: Path, tmp_path: Path, content: bytes) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (out / STATE).write_bytes(content)
    with pytest.raises(ModelError, match=f"{STATE} is "):
        run_training("--resume", out)


@pytest.mark.parametrize("name", ["state.safetensors", "history.csv"])
def test_a_pipe_in_the_place_of_a_file(finished_run: Path, tmp_path: Path, name: str) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (out / name).unlink()
    os.mkfifo(out / name)
    with pytest.raises(
        (ModelError, DataError), match=rf"{name} (is|can't be read \(it is) no file"
    ):
        run_training("--resume", out)


@pytest.mark.parametrize("place", [20, 0.02, 0.5, 0.999])
def test_one_bit_of_a_state_is_noticed(finished_run: Path, tmp_path: Path, place: float) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    path = out / STATE
    content = bytearray(path.read_bytes())
    index = int(place * len(content)) if place < 1 else int(place)
    content[index] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{STATE} is "):
        run_training("--resume", out)


def test_a_state_of_an_earlier_version_has_no_checksum(finished_run: Path, tmp_path: Path) -> None:
    tensors = load_file(finished_run / STATE)
    save_file(tensors, tmp_path / "old", {"format": "pt", "progress": '{"epochs": 6}'})
    model = backbone.build("test_resnet", 7)
    optimizer = training_fit.make_optimizer(model, TrainConfig())
    progress = training_state.load_state(tmp_path / "old", model, copy.deepcopy(model), optimizer)
    assert progress == {"epochs": 6}


def test_a_state_of_another_model(finished_run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    path = out / "train_config.json"
    path.write_text(path.read_text().replace("test_resnet", "test_efficientnet"))
    with pytest.raises(
        ModelError, match="does not fit the model of this run: start a new run instead"
    ):
        run_training("--resume", out)


def test_weights_in_place_of_a_state(finished_run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.copy(finished_run / WEIGHTS, out / STATE)
    with pytest.raises(ModelError, match="is not the state of a training run"):
        run_training("--resume", out)
