"""config.json: read back as it was written, and refused in one sentence when it is wrong."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from typing import Any

import pytest

from dermhub.errors import ConfigError, ModelError
from dermhub.images.view import InputSpec
from dermhub.models.config import FORMAT_VERSION, Conformal, ModelConfig
from dermhub.tasks import BINARY, LESION, Task
from dermhub.training.config import TrainConfig
from tests.support.tiny import make_config

GONE = object()
LEAST = dict.fromkeys(LESION.classes, 0.1)


def changed(key: str, value: Any, task: Task = LESION) -> dict[str, Any]:
    """Return a valid config.json with a value replaced or removed.

    `key` is a path joined by slashes.
    """
    content: dict[str, Any] = copy.deepcopy(make_config(task).to_json())
    *path, last = key.split("/")
    place = content
    for step in path:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return content


def check_refused(key: str, value: Any, message: str) -> None:
    """Assert that a config.json with this value is refused in one sentence that matches."""
    with pytest.raises(ModelError, match=message) as raised:
        ModelConfig.from_json(changed(key, value), "here.json")
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize("task", [BINARY, LESION], ids=lambda task: task.name)
def test_json_round_trip(task: Task) -> None:
    config = make_config(task)
    again = ModelConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.task is task
    assert list(again.thresholds) == ["sensitivity_95", "youden"]
    assert not {"conformal", "files"} & set(config.to_json()["dermhub"])
    least = dict(zip(task.classes, (i / 100 for i in range(7)), strict=False))
    more = dataclasses.replace(
        config, conformal=Conformal(0.9, least), files={"gate.safetensors": "1" * 64}
    )
    assert ModelConfig.from_json(json.loads(json.dumps(more.to_json()))) == more


def test_zones_are_the_operating_point_and_one_more_cut() -> None:
    config = make_config(LESION)
    zones = config.zones
    assert zones is not None
    # The lower cut stands among the thresholds alone.
    assert zones.suspicious is config.thresholds["sensitivity_95"]
    block = config.to_json()["dermhub"]["zones"]
    assert block == {"highly_suspicious": dataclasses.asdict(zones.highly_suspicious)}
    assert zones.highly_suspicious.value == 0.6


def test_a_folder_of_an_earlier_dermhub_has_no_zones() -> None:
    older = ModelConfig.from_json(changed("dermhub/zones", GONE))
    assert (older.zones, older.highly_suspicious) == (None, None)
    assert "zones" not in older.to_json()["dermhub"]


def cut(value: Any, **more: Any) -> dict[str, Any]:
    return {"highly_suspicious": {"value": value, "aim": "a"}, **more}


@pytest.mark.parametrize(
    ("zones", "sentence"),
    [
        (cut(0.2), "begins at 0.2, expected at least 0.25, where the suspicious one begins"),
        (cut(1.5), "zones must hold 'highly_suspicious' alone, with a value between 0 and 1."),
        (cut(0.5, low=0.1), "zones must hold 'highly_suspicious' alone"),
        (cut("0.5"), "the zones are garbled"),
        (cut(math.nan), "zones must hold 'highly_suspicious' alone"),
        ({}, "the zones are garbled ('highly_suspicious')"),
        ([], "the zones are garbled"),
        (None, "the zones are garbled"),
        ({"highly_suspicious": {"value": 0.5}}, "the zones are garbled"),
    ],
)
def test_wrong_zones(zones: Any, sentence: str) -> None:
    with pytest.raises(ModelError, match=re.escape(sentence)):
        ModelConfig.from_json(changed("dermhub/zones", zones))


def test_json_holds_what_timm_reads() -> None:
    content = make_config(LESION).to_json()
    assert content["architecture"] == "test_efficientnet"
    assert content["num_classes"] == content["pretrained_cfg"]["num_classes"] == 7
    assert content["label_names"] == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert content["pretrained_cfg"] == {
        "input_size": [3, 64, 64],
        "crop_mode": "center",
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 7,
    }


def test_own_task_and_geometry_survive() -> None:
    task = Task("two", ("nv", "mel"), frozenset({"mel"}))
    spec = InputSpec(96, "squash", (0.5, 0.25, 0.125), (1.0, 2.0, 4.0))
    config = ModelConfig(
        "test_resnet", task, spec, 2.0, make_config(BINARY).thresholds, {}, "1" * 64
    )
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("key", ["crop_pct", "interpolation"])
def test_timm_defaults_may_be_left_out(key: str) -> None:
    assert ModelConfig.from_json(changed(f"pretrained_cfg/{key}", GONE)) == make_config(LESION)


@pytest.mark.parametrize(
    "content", [None, 5, "text", [], [1], {}, {"dermhub": None}, {"dermhub": [1]}]
)
def test_not_a_dermhub_configuration(content: Any) -> None:
    with pytest.raises(
        ModelError,
        match=r"^here.json has no 'dermhub' block: it is not a model that dermhub wrote.$",
    ):
        ModelConfig.from_json(content, "here.json")


@pytest.mark.parametrize(
    "key",
    [
        "architecture",
        "num_classes",
        "pretrained_cfg",
        "dermhub/format_version",
        "dermhub/task",
        "dermhub/class_names",
        "dermhub/positive_classes",
        "dermhub/temperature",
        "dermhub/thresholds",
    ],
)
def test_missing_key_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=rf"^here\.json lacks {key.rpartition('/')[2]}\.$"):
        ModelConfig.from_json(changed(key, GONE), "here.json")


@pytest.mark.parametrize("key", ["input_size", "crop_mode", "mean", "std"])
def test_missing_key_of_the_input_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=f"pretrained_cfg lacks or garbles '{key}'"):
        ModelConfig.from_json(changed(f"pretrained_cfg/{key}", GONE))


TWICE = ["akiec", "akiec", "bkl", "df", "mel", "nv", "vasc"]
WRONG = [
    (
        "dermhub/format_version",
        FORMAT_VERSION + 1,
        "format version 2, newer than the 1 .* update dermhub",
    ),
    ("dermhub/format_version", 0, "format version 0, expected 1"),
    ("dermhub/format_version", "1", "format version '1', expected 1"),
    ("num_classes", 6, "num_classes is 6 but class_names lists 7"),
    ("num_classes", "7", "num_classes is '7' but class_names lists 7"),
    ("dermhub/class_names", ["nv", "mel"], "num_classes is 7 but class_names lists 2"),
    ("dermhub/class_names", TWICE, "num_classes is 7 but class_names lists 6"),
    (
        "dermhub/class_names",
        [1, 2, 3, 4, 5, 6, 7],
        "class_names 1, 2, 3, 4, 5 and 2 more are not all text",
    ),
    ("dermhub/class_names", [[name] for name in TWICE], "garbled"),
    ("dermhub/class_names", 7, "garbled"),
    (
        "label_names",
        ["nv", "mel", "akiec", "bcc", "bkl", "df", "vasc"],
        "label_names and class_names are not the same",
    ),
    (
        "dermhub/positive_classes",
        ["mel", "scc"],
        "positive_classes are mel, scc, expected some of class_names",
    ),
    ("dermhub/positive_classes", "mel", "positive_classes are e, l, m, expected some"),
    ("dermhub/positive_classes", [], "positive_classes are none, expected some"),
    ("dermhub/positive_classes", list(LESION.classes), "but not all"),
    ("dermhub/temperature", 0, "temperature is 0.0, expected a finite number above 0"),
    ("dermhub/temperature", -1.5, "temperature is -1.5"),
    ("dermhub/temperature", math.nan, "temperature is nan"),
    ("dermhub/temperature", math.inf, "temperature is inf"),
    ("dermhub/temperature", "warm", "garbled .*'warm'"),
    ("dermhub/temperature", None, "garbled"),
    ("dermhub/temperature", True, "garbled"),
    ("dermhub/temperature", 10**400, "garbled"),
    ("dermhub/bias", 1.0, "bias has the classes none, expected akiec, bcc, "),
    ("dermhub/bias", {"nv": 1.0}, "bias has the classes nv, expected akiec, bcc, "),
    ("dermhub/bias", dict.fromkeys(LESION.classes, "0"), "bias must be a number for each class"),
    ("dermhub/bias", dict.fromkeys(LESION.classes, math.nan), "bias must be a number for each"),
    ("dermhub/bias", dict.fromkeys(LESION.classes, 51), "bias must be a number from -50 to 50 for"),
    ("dermhub/prior", {}, "prior has the classes none, expected akiec, bcc, "),
    ("dermhub/prior", dict.fromkeys(LESION.classes, 0.2), "prior must be a share above 0 for each"),
    ("dermhub/prior", dict.fromkeys(LESION.classes, 0) | {"nv": 1}, "prior must be a share above"),
    ("label_names", None, "garbled"),
    ("pretrained_cfg/mean", [10**400, 0.5, 0.5], "three means and three stds"),
    ("dermhub/thresholds", {}, "at least one threshold, each between 0 and 1"),
    ("dermhub/thresholds", [], "garbled"),
    ("dermhub/thresholds", None, "garbled"),
    ("dermhub/thresholds/youden", {"value": 0.5}, "garbled .*aim"),
    ("dermhub/thresholds/youden", {"value": 0.5, "aim": "", "why": ""}, "garbled .*why"),
    ("dermhub/thresholds/youden/value", 1.01, "at least one threshold, each between 0 and 1"),
    ("dermhub/thresholds/youden/value", -0.01, "between 0 and 1"),
    ("dermhub/thresholds/youden/value", math.nan, "between 0 and 1"),
    ("dermhub/thresholds/youden/value", "0.5", "between 0 and 1"),
    ("dermhub/thresholds/youden/value", None, "between 0 and 1"),
    (
        "dermhub/weights_sha256",
        GONE,
        "weights_sha256 is None, expected the sha256 .*: save the model again",
    ),
    (
        "dermhub/weights_sha256",
        "",
        "weights_sha256 is '', expected the sha256 of model.safetensors as 64",
    ),
    ("dermhub/weights_sha256", "0" * 63, "weights_sha256 is '0{63}', expected"),
    ("dermhub/weights_sha256", "G" * 64, "weights_sha256 is 'G{64}', expected"),
    ("dermhub/weights_sha256", 5, "weights_sha256 is 5, expected"),
    ("dermhub/provenance", "me", "garbled"),
    ("dermhub/provenance", None, "garbled"),
    ("dermhub/conformal", None, "conformal must hold 'level' and 'least'"),
    ("dermhub/conformal", [0.9], "conformal must hold 'level' and 'least'"),
    ("dermhub/conformal", {"level": 0.9}, "conformal must hold 'level' and 'least'"),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": [0.1] * 7},
        "conformal must hold 'level' and 'least'",
    ),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": LEAST, "more": 1},
        "conformal must hold 'level' and 'least'",
    ),
    (
        "dermhub/conformal",
        {"level": 90, "least": LEAST},
        "the conformal level is 90, expected a number between 0 and",
    ),
    ("dermhub/conformal", {"level": 0, "least": LEAST}, "the conformal level is 0"),
    ("dermhub/conformal", {"level": "0.9", "least": LEAST}, "the conformal level is '0.9'"),
    ("dermhub/conformal", {"level": math.nan, "least": LEAST}, "the conformal level is nan"),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": {}},
        "conformal has the classes none, expected akiec, bcc, bkl, df",
    ),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": {"nv": 0.5}},
        "conformal has the classes nv, expected akiec, bcc",
    ),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": LEAST | {"nv": 1.01}},
        "between 0 and 1 for each class",
    ),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": LEAST | {"nv": -0.1}},
        "between 0 and 1 for each class",
    ),
    (
        "dermhub/conformal",
        {"level": 0.9, "least": LEAST | {"nv": None}},
        "between 0 and 1 for each class",
    ),
    ("dermhub/files", None, "files must give the sha256 of each file as 64 hexadecimal digits"),
    ("dermhub/files", ["gate.safetensors"], "files must give the sha256 of each file"),
    ("dermhub/files", {"gate.safetensors": "1" * 63}, "files must give the sha256 of each file"),
    ("dermhub/files", {"gate.safetensors": None}, "files must give the sha256 of each file"),
    (
        "dermhub/files",
        {"../gate.safetensors": "1" * 64},
        "files names '../gate.safetensors', expected names such as",
    ),
    (
        "dermhub/files",
        {"gate.pickle": "1" * 64},
        "files names 'gate.pickle', expected names such as 'gate.safetensors",
    ),
    ("pretrained_cfg", None, "pretrained_cfg lacks or garbles"),
    ("pretrained_cfg", [1], "pretrained_cfg lacks or garbles"),
    ("pretrained_cfg/input_size", 64, "pretrained_cfg lacks or garbles"),
    ("pretrained_cfg/input_size", [3, 64], "pretrained_cfg lacks or garbles"),
    ("pretrained_cfg/input_size", [1, 64, 64], "square RGB input"),
    ("pretrained_cfg/input_size", [3, 64, 65], "square RGB input"),
    ("pretrained_cfg/input_size", [3, 0, 0], "square RGB input"),
    ("pretrained_cfg/input_size", [3, 64.5, 64.5], "square RGB input"),
    ("pretrained_cfg/input_size", [3, "64", "64"], "square RGB input"),
    ("pretrained_cfg/mean", [0.5, 0.5], "three means"),
    ("pretrained_cfg/mean", ["a", "b", "c"], "three means"),
    ("pretrained_cfg/std", [0.5, 0.5, 0], "three stds above 0"),
    ("pretrained_cfg/std", [math.nan] * 3, "three stds above 0"),
    ("pretrained_cfg/std", 0.5, "pretrained_cfg lacks or garbles"),
    (
        "pretrained_cfg/interpolation",
        "bilinear",
        "interpolation 'bilinear' is not understood, only 'bicubic'",
    ),
    ("pretrained_cfg/crop_pct", 0.875, "only crop_mode 'center' or 'squash' with crop_pct 1.0"),
    ("pretrained_cfg/crop_mode", "border", "only crop_mode 'center' or 'squash' with crop_pct 1.0"),
    ("pretrained_cfg/crop_mode", ["center"], "only crop_mode"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"), WRONG, ids=[f"{key}={value!r:.12}" for key, value, _ in WRONG]
)
def test_garbled_configuration_is_refused(key: str, value: Any, message: str) -> None:
    check_refused(key, value, message)


def test_train_config_defaults_are_valid() -> None:
    config = TrainConfig()
    assert (config.task, config.size, config.train_size) == ("lesion", 224, 192)


@pytest.mark.parametrize(
    "option", ["epochs", "batch_size", "size", "train_size", "lr", "min_scale"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_option_that_must_be_above_zero(option: str, value: int) -> None:
    with pytest.raises(
        ConfigError, match=f"^--{option.replace('_', '-')} is {value}, expected a number above 0.$"
    ):
        TrainConfig.from_json({option: value})


@pytest.mark.parametrize(
    "option",
    [
        "workers",
        "weight_decay",
        "seed",
        "backbone_lr",
        "sampling",
        "mixup",
    ],
)
def test_option_that_may_be_zero_but_not_less(option: str) -> None:
    assert getattr(TrainConfig.from_json({option: 0}), option) == 0
    with pytest.raises(
        ConfigError, match=f"^--{option.replace('_', '-')} is -1, expected a number of at least 0.$"
    ):
        TrainConfig.from_json({option: -1})


@pytest.mark.parametrize("option", ["dropout", "label_smoothing", "ema"])
def test_option_that_is_a_share_below_one(option: str) -> None:
    assert getattr(TrainConfig.from_json({option: 0.0}), option) == 0
    for value in (1.0, -0.1, math.nan):
        with pytest.raises(
            ConfigError,
            match=f"^--{option.replace('_', '-')} is {value}, expected 0 <= value < 1.$",
        ):
            TrainConfig.from_json({option: value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("option", ["lr", "mixup", "sampling"])
def test_option_that_is_not_finite(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"--{option} is {value}"):
        TrainConfig.from_json({option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_scale": 1.01}, "^--min-scale is 1.01, expected at most 1.$"),
        (
            {"task": "lesions"},
            "^Unknown task 'lesions': expected binary or lesion. Did you mean 'lesion'.$",
        ),
        ({"task": "x"}, "^Unknown task 'x': expected binary or lesion.$"),
        (
            {"sampling": 4.5},
            "^--sampling is 4.5, expected at most 4: beyond, one class is all there is.$",
        ),
        ({"epochs": "5"}, "^--epochs is '5', expected a value of type int.$"),
        ({"epochs": 1.5}, "^--epochs is 1.5, expected a value of type int.$"),
        ({"epochs": True}, "^--epochs is True, expected a value of type int.$"),
        ({"lr": None}, "^--lr is None, expected a value of type float.$"),
        ({"task": 5}, "^--task is 5, expected a value of type str.$"),
        ({"epoch": 3}, "^Unknown training option 'epoch'. Did you mean 'epochs'.$"),
        (
            {"cutmix": 1.0},
            "^The run was begun with --cutmix 1.0, an option that this dermhub no longer has: "
            "finish the run with the version that began it.$",
        ),
        (
            {"warmup": 0.5},
            "^The run was begun with --warmup 0.5, an option that this dermhub no longer has: ",
        ),
        ({"zzz": 3}, "^Unknown training option 'zzz'.$"),
        ([1], "^Expected the training options as a JSON object, got list.$"),
    ],
)
def test_training_options_that_can_not_be(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_json(options)


def test_options_of_an_earlier_version_that_change_nothing() -> None:
    earlier = {"epochs": 3, "cutmix": 0.0, "soup": "", "weights": "fp32", "bf16": "auto"}
    assert TrainConfig.from_json(earlier) == TrainConfig(epochs=3)


def test_bias_and_prior_come_back_in_the_order_of_the_classes() -> None:
    backwards = LESION.classes[::-1]
    bias = {name: float(place) for place, name in enumerate(backwards)}
    prior = {name: (place + 1) / 28 for place, name in enumerate(backwards)}
    config = dataclasses.replace(make_config(LESION), bias=bias, prior=prior)
    again = ModelConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert list(again.bias) == list(again.prior) == list(LESION.classes)
    # A folder of an earlier version states neither, and a new one nothing that it has not.
    plain = make_config(LESION).to_json()["dermhub"]
    assert not {"bias", "prior"} & plain.keys()
