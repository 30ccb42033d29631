"""Averages of weights: by hand, as a run makes them, and of models whose weights can't be
averaged.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dermhub import files
from dermhub.errors import ConfigError, LeakError, ModelError
from dermhub.models import backbone, weights
from dermhub.models.folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from dermhub.training import transfer
from dermhub.training.config import TrainConfig
from tests.support.tiny import TINY_RUN, make_model, run_training

WEIGHTS = Path("model") / "model.safetensors"


def small(value: float, batches: int) -> torch.nn.Sequential:
    """A layer whose weights, and a batch norm whose statistics, all have one value."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    for tensor in model.state_dict().values():
        tensor.fill_(value if tensor.is_floating_point() else batches)
    return model


def test_a_mean_by_hand() -> None:
    first = small(1.0, 7)
    mean = transfer.average_weights(first, [small(2.0, 8), small(6.0, 9)])
    for name, tensor in mean.state_dict().items():
        # The number of batches that a norm has seen is a count, and the model's own.
        assert set(tensor.flatten().tolist()) == {
            7 if name.endswith("num_batches_tracked") else 3.0
        }
    assert set(first.state_dict()["0.weight"].flatten().tolist()) == {1.0}


def test_a_mean_of_one_is_a_copy() -> None:
    first = small(0.1, 7)
    mean = transfer.average_weights(first, [])
    assert all(
        torch.equal(mean.state_dict()[name], tensor) for name, tensor in first.state_dict().items()
    )
    mean.state_dict()["0.weight"].fill_(5)
    assert first.state_dict()["0.weight"][0, 0].item() == pytest.approx(0.1)


@pytest.mark.slow
def test_a_run_keeps_the_mean_of_its_weights_and_of_others(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    options = [*TINY_RUN, "--epochs", 1, "--data", tiny_data, "--seed", 5]
    run_training(*options, "--out", tmp_path / "alone")
    run_training(*options, "--soup", finished_run / "model", "--out", tmp_path / "mixed")
    alone, other, mixed = (
        load_file(folder / WEIGHTS)
        for folder in (tmp_path / "alone", finished_run, tmp_path / "mixed")
    )
    # The bias of the last layer also has the shift of the prior: that of the run alone is not in
    # the mean.
    shifts = {}
    for name in ("alone", "mixed"):
        chosen = files.read_json(tmp_path / name / "model" / "metrics.json")["selection"]
        shifts[name] = chosen["prior_exponent"] * torch.tensor(
            [chosen["prior_offset"][c] for c in LESION.classes]
        )
    alone["fc.bias"] -= shifts["alone"]
    mixed["fc.bias"] -= shifts["mixed"]
    for name, tensor in mixed.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, (alone[name] + other[name]) / 2, atol=1e-5), name
    card = (tmp_path / "mixed" / "model" / "README.md").read_text()
    known = ModelFolder(finished_run / "model").config
    assert (
        "\nThe released weights are the mean of the trained ones, which the curves show, and those "
        "of (`--soup`):\n"
        f"`{known.architecture}`, task `lesion`, weights with sha256 "
        f"`{known.weights_sha256[:12]}`;\n"
    ) in card
    assert "--soup tiny " in card
    assert str(tmp_path) not in card
    # What is resumed must still be the same model.
    weights.save(finished_copy := tmp_path / "other", backbone.build(known.architecture, 7), known)
    begun = files.read_json(tmp_path / "mixed" / "train_config.json")
    begun["options"]["soup"] = str(finished_copy)
    files.write_json(tmp_path / "mixed" / "train_config.json", begun)
    with pytest.raises(ConfigError, match="changed since"):
        run_training("--resume", tmp_path / "mixed")


def test_a_model_of_another_task(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", BINARY)
    name = ModelFolder(folder).config.architecture
    with pytest.raises(
        ConfigError,
        match=rf"^--soup .*other is a {name} of the task 'binary', expected a {name} of the task "
        r"'lesion': other ",
    ):
        transfer.load_soup([folder], TrainConfig(model=name), ["0" * 64])


def test_a_model_of_another_architecture(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    with pytest.raises(
        ConfigError,
        match=r"^--soup .*other is a .*, expected a resnet18 of the task 'lesion': other ",
    ):
        transfer.load_soup([folder], TrainConfig(model="resnet18"), ["0" * 64])


def test_a_model_that_may_have_seen_the_test_lesions(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    with pytest.raises(
        LeakError,
        match=r"^--soup .*other was trained on another table, and may have seen the lesions",
    ):
        transfer.load_soup(
            [folder], TrainConfig(model=ModelFolder(folder).config.architecture), ["2" * 64]
        )


def test_a_model_of_the_same_table_is_read(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    config = ModelFolder(folder).config
    told = dataclasses.replace(config, provenance={"data": {"table_sha256": "1" * 64}})
    files.write_json(folder / "config.json", told.to_json())
    (model,) = transfer.load_soup([folder], TrainConfig(model=config.architecture), ["1" * 64])
    assert model.state_dict().keys() == load_file(folder / "model.safetensors").keys()


def test_the_same_model_under_two_names(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    both = f"{finished_run / 'model'},{finished_run / '.' / '..' / finished_run.name / 'model'}"
    with pytest.raises(
        ConfigError,
        match=r"^--soup .* has the weights of another of them, expected each model once.$",
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--soup", both, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "train_config.json").exists()


@pytest.mark.parametrize("named", ["nowhere", "nowhere,elsewhere", "nowhere," + "long" * 99])
def test_a_model_that_does_not_exist(tiny_data: Path, named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^There is no model 'nowhere'"):
        run_training(*TINY_RUN, "--data", tiny_data, "--soup", named, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("named", [",", "a,", "a,,b", " ", "a,a"])
def test_models_without_a_name_or_named_twice(tiny_data: Path, named: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^--soup is '.*', expected models, each once, with commas"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--soup", named, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
