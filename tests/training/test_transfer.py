"""Runs that begin with a model's weights or are averaged with them, and models that are refused.

The tests of teachers are with those of the losses.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dermhub
from dermhub import files
from dermhub.errors import ConfigError, LeakError, ModelError
from dermhub.models import backbone, weights
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from dermhub.training import transfer
from dermhub.training.config import TrainConfig
from tests.support.tiny import TINY_RUN, make_model, run_training

WEIGHTS = Path("model") / "model.safetensors"
HEAD = ("fc.weight", "fc.bias")


def table_of(folder: Path) -> str:
    """The fingerprint of the table that a model was trained on."""
    return str(ModelFolder(folder).config.provenance["data"]["table_sha256"])


def test_init_with_a_model_of_the_same_task_takes_all_of_it(finished_run: Path) -> None:
    folder = finished_run / "model"
    begun = transfer.initialise(
        folder, TrainConfig(model="test_resnet"), [table_of(folder)]
    ).state_dict()
    saved = load_file(folder / "model.safetensors")
    assert set(HEAD) < saved.keys()
    assert [name for name, tensor in saved.items() if not torch.equal(begun[name], tensor)] == []


def test_init_with_a_model_of_another_task_has_a_fresh_classifier(finished_run: Path) -> None:
    folder = finished_run / "model"
    begun = transfer.initialise(
        folder, TrainConfig(task="binary", model="test_resnet"), [table_of(folder)]
    ).state_dict()
    assert begun["fc.weight"].shape[0] == 2
    saved = load_file(folder / "model.safetensors")
    assert [
        name for name in saved if name not in HEAD and not torch.equal(begun[name], saved[name])
    ] == []


def test_init_with_a_model_of_another_architecture(finished_run: Path) -> None:
    folder = finished_run / "model"
    with pytest.raises(
        ModelError,
        match=r"model\.safetensors does not fit test_efficientnet: it lacks tensor\(s\) ",
    ):
        transfer.initialise(folder, TrainConfig(model="test_efficientnet"), [table_of(folder)])


def test_init_with_a_model_that_may_have_seen_the_test_lesions(
    tiny_data: Path, tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "other", LESION)
    with pytest.raises(
        LeakError,
        match=rf"^--init {folder} was trained on another table, and may have seen the les",
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", folder, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_init_with_a_folder_that_is_no_model(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"^{tmp_path} is not a model folder: it has no config\.json"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", tmp_path, "--out", tmp_path / "run")


def test_init_with_a_weight_file_of_such_a_model(tiny_data: Path, tmp_path: Path) -> None:
    path = make_model(tmp_path / "other", LESION) / "model.safetensors"
    with pytest.raises(LeakError, match=rf"^--init {path} was trained on another table"):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", path, "--out", tmp_path / "run")


def test_init_with_a_model_whose_weights_were_changed(finished_run: Path, tmp_path: Path) -> None:
    # The hash of the table is that of other weights, and says nothing of these.
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "changed"))
    other = make_model(tmp_path / "other", LESION)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(
        ModelError,
        match=r"changed/model\.safetensors has the sha256 \w{64}, but config\.json states ",
    ):
        transfer.initialise(folder, TrainConfig(model="test_resnet"), [table_of(folder)])


def test_init_with_a_shipped_model_by_its_id(tiny_data: Path, tmp_path: Path) -> None:
    if "lesion" not in dermhub.shipped():
        pytest.skip("model_cards/ holds no model")
    # It is refused here, because it was trained on HAM10000.
    with pytest.raises(LeakError, match=r"^--init \S+lesion was trained on another table"):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", "lesion", "--out", tmp_path / "run")


@pytest.mark.parametrize("name", ["lesoin", "pretraned"])
def test_init_with_a_model_that_does_not_exist(tiny_data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ModelError, match=rf"^There is no model '{name}': expected a model folder, "
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", name, "--out", tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_goes_on_from_a_model(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    # At a learning rate of next to nothing the weights stay as they were, but for the correction of
    # the prior.
    options = [
        *TINY_RUN,
        "--data",
        tiny_data,
        "--init",
        finished_run / "model",
        "--lr",
        1e-9,
        "--weight-decay",
        0,
    ]
    run_training(*options, "--epochs", 1, "--out", tmp_path / "on")
    before, after = load_file(finished_run / WEIGHTS), load_file(tmp_path / "on" / WEIGHTS)
    for name in ("conv1.0.weight", "fc.weight"):
        assert torch.allclose(before[name], after[name], atol=1e-6), name
    assert "--init tiny " in (tmp_path / "on" / "model" / "README.md").read_text()


def small(value: float, batches: int) -> torch.nn.Sequential:
    """A layer whose weights, and a batch norm whose statistics, all have one value."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    for tensor in model.state_dict().values():
        tensor.fill_(value if tensor.is_floating_point() else batches)
    return model


def test_average_weights_by_hand() -> None:
    first = small(1.0, 7)
    mean = transfer.average_weights(first, [small(2.0, 8), small(6.0, 9)])
    for name, tensor in mean.state_dict().items():
        # The number of batches that a norm has seen is a count, and the model's own.
        assert set(tensor.flatten().tolist()) == {
            7 if name.endswith("num_batches_tracked") else 3.0
        }
    assert set(first.state_dict()["0.weight"].flatten().tolist()) == {1.0}


def test_average_of_one_model_is_a_copy() -> None:
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
    other_config = ModelFolder(finished_run / "model").config
    assert (
        "\nThe released weights are the mean of the trained ones, which the curves show, and those "
        "of (`--soup`):\n"
        f"`{other_config.architecture}`, task `lesion`, weights with sha256 "
        f"`{other_config.weights_sha256[:12]}`;\n"
    ) in card
    assert "--soup tiny " in card
    assert str(tmp_path) not in card
    # A resumed run must still have the same models.
    changed = tmp_path / "other"
    weights.save(changed, backbone.build(other_config.architecture, 7), other_config)
    begun = files.read_json(tmp_path / "mixed" / "train_config.json")
    begun["options"]["soup"] = str(changed)
    files.write_json(tmp_path / "mixed" / "train_config.json", begun)
    with pytest.raises(ConfigError, match="changed since"):
        run_training("--resume", tmp_path / "mixed")


def test_soup_of_another_task(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", BINARY)
    name = ModelFolder(folder).config.architecture
    with pytest.raises(
        ConfigError,
        match=rf"^--soup .*other is a {name} of the task 'binary', expected a {name} of the task "
        r"'lesion': other ",
    ):
        transfer.load_soup([folder], TrainConfig(model=name), ["0" * 64])


def test_soup_of_another_architecture(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    with pytest.raises(
        ConfigError,
        match=r"^--soup .*other is a .*, expected a resnet18 of the task 'lesion': other ",
    ):
        transfer.load_soup([folder], TrainConfig(model="resnet18"), ["0" * 64])


def test_soup_that_may_have_seen_the_test_lesions(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    with pytest.raises(
        LeakError,
        match=r"^--soup .*other was trained on another table, and may have seen the lesions",
    ):
        transfer.load_soup(
            [folder], TrainConfig(model=ModelFolder(folder).config.architecture), ["2" * 64]
        )


def test_soup_of_the_same_table_is_read(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    config = ModelFolder(folder).config
    of_table = dataclasses.replace(config, provenance={"data": {"table_sha256": "1" * 64}})
    files.write_json(folder / "config.json", of_table.to_json())
    (model,) = transfer.load_soup([folder], TrainConfig(model=config.architecture), ["1" * 64])
    assert model.state_dict().keys() == load_file(folder / "model.safetensors").keys()


def test_soup_of_one_model_under_two_names(
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
def test_soup_that_does_not_exist(tiny_data: Path, named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^There is no model 'nowhere'"):
        run_training(*TINY_RUN, "--data", tiny_data, "--soup", named, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("named", [",", "a,", "a,,b", " ", "a,a"])
def test_soup_without_a_name_or_named_twice(tiny_data: Path, named: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^--soup is '.*', expected models, each once, with commas"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--soup", named, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
