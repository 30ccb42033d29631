"""Options of train.py: their fields, groups and bounds, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

import train
from dermhub.errors import ConfigError
from dermhub.training.config import GROUPS, Bounds, TrainConfig


def test_the_options_are_the_fields_of_the_configuration() -> None:
    config, out, resumed = train.options([])
    assert config == TrainConfig()
    assert (out, resumed) == (Path("runs") / "lesion-mobilenetv2_100-0", False)


def test_every_option_arrives() -> None:
    values = {
        "task": "binary",
        "data": "d",
        "model": "resnet18",
        "init": "scratch",
        "name": "n",
        "out": "o",
        "epochs": 3,
        "batch_size": 4,
        "size": 100,
        "train_size": 90,
        "lr": 0.1,
        "backbone_lr": 0.2,
        "weight_decay": 0.3,
        "label_smoothing": 0.5,
        "dropout": 0.6,
        "sampling": 0.8,
        "min_scale": 0.9,
        "ema": 0.95,
        "workers": 7,
        "seed": 7,
        "mixup": 0.3,
        "teacher": "t",
        "columns": "image=a,dx=b",
        "extra": "e",
    }
    defaults = dataclasses.asdict(TrainConfig())
    assert values.keys() == defaults.keys()
    assert not [name for name in defaults if values[name] == defaults[name]]
    arguments = [
        text
        for name, value in values.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    assert train.options(arguments) == (TrainConfig.from_json(values), Path("o"), False)


def test_a_run_is_named_by_task_model_and_seed() -> None:
    _, out, _ = train.options(
        ["--task", "binary", "--model", "hf-hub:timm/resnet18", "--seed", "3"]
    )
    assert out == Path("runs") / "binary-hf-hub:timm-resnet18-3"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        *(
            (f"--{name}", value, "a number above 0.")
            for name in ("epochs", "size", "train-size")
            for value in ("0", "-1")
        ),
        *(("--batch-size", value, "a number above 0.") for value in ("0", "-8")),
        ("--batch-size", "1", "at least 2: batch normalisation needs several images."),
        *(("--lr", value, "a number above 0.") for value in ("0.0", "-0.1", "nan", "inf")),
        *(("--min-scale", value, "a number above 0.") for value in ("0.0", "-1.0", "nan")),
        ("--min-scale", "1.5", "at most 1."),
        *((f"--{name}", "-1", "a number of at least 0.") for name in ("workers", "seed")),
        *(
            (f"--{name}", "-1.0", "a number of at least 0.")
            for name in ("weight-decay", "backbone-lr")
        ),
        ("--sampling", "-0.5", "a number of at least 0."),
        ("--sampling", "nan", "a number of at least 0."),
        ("--seed", str(2**32), "a number below 2**32."),
        *(
            (f"--{name}", "1.0", "0 <= value < 1.")
            for name in ("dropout", "label-smoothing", "ema")
        ),
        *(
            (f"--{name}", "-0.1", "0 <= value < 1.")
            for name in ("dropout", "label-smoothing", "ema")
        ),
        ("--dropout", "nan", "0 <= value < 1."),
    ],
)
def test_numbers_out_of_range(option: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train.options([option, value])
    assert str(caught.value) == f"{option} is {value}, expected {expected}"


@pytest.mark.parametrize(
    "options",
    [
        ["--epochs", "1.5"],
        ["--lr", "fast"],
        ["--crop-mode", "center"],
        ["--epoch", "3"],
        ["more"],
    ],
)
def test_options_that_argparse_refuses(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # Abbreviations are refused as well: one that is unique today would change its meaning with a
    # new option.
    with pytest.raises(SystemExit) as caught:
        train.options(options)
    assert caught.value.code == 2
    assert options[-1] in capsys.readouterr().err


def test_an_unknown_task_with_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^Unknown task 'leison': expected binary or lesion. Did you mean 'lesion'\?$",
    ):
        train.options(["--task", "leison"])


@pytest.mark.parametrize(
    "options",
    [
        ["--resume", "r", "--epochs", "3"],
        ["--epochs", "3", "--resume", "r"],
        ["--resume=r", "--epochs=3"],
    ],
)
def test_resume_takes_no_other_option(options: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"^--resume goes on with the run's own options: give no other"
    ):
        train.options(options)


def test_help_shows_every_option_in_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train.options(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    starts = [shown.index(f"\n{group}:\n") for group in GROUPS]
    assert starts == sorted(starts)
    listed = shown[starts[0] :]
    fields = dataclasses.fields(TrainConfig)
    # With --resume, at most 25: what experiments showed to be useless goes.
    assert len(fields) < 25
    for field in fields:
        assert field.metadata["group"] in GROUPS
        assert listed.count(f"\n  --{field.name.replace('_', '-')} ") == 1, field.name


def test_bounds_by_hand() -> None:
    half_open = Bounds(at_least=0, below=1)
    assert [half_open.expectation(value) for value in (0, 0.5, 1)] == [
        None,
        None,
        "a number below 1",
    ]
    assert half_open.expectation(-0.5) == "a number of at least 0"
    assert Bounds(above=0).expectation(0) == "a number above 0"
    assert Bounds(above=0, at_most=2, reason=", the end").expectation(3) == "at most 2, the end"
    assert Bounds(at_least=0, at_most=1, expected="a share").expectation(math.nan) == "a share"
    assert Bounds(at_least=0).expectation(math.inf) == "a number of at least 0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sampling": 5.0},
            "--sampling is 5.0, expected at most 4: beyond, one class is all there is.",
        ),
        ({"min_scale": 1.5}, "--min-scale is 1.5, expected at most 1."),
    ],
)
def test_options_beyond_a_limit(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_json(options)
    assert str(caught.value) == message
