"""Runs that begin with a model's weights, and models that are refused.

The tests of teachers are with those of the losses.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import dermhub
from dermhub.data import tables
from dermhub.errors import LeakError, ModelError
from dermhub.images.drawn_lesions import draw
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import LESION
from dermhub.training import transfer
from dermhub.training.config import TrainConfig
from tests.support.tiny import TINY_RUN, make_model, run_training

WEIGHTS = Path("model") / "model.safetensors"
HEAD = ("fc.weight", "fc.bias")
NOTHING = pd.DataFrame({"image_id": [], "path": []})


def table_of(folder: Path) -> str:
    """The fingerprint of the table that a model was trained on."""
    return str(ModelFolder(folder).config.provenance["data"]["table_sha256"])


def test_init_with_a_model_of_the_same_task_takes_all_of_it(finished_run: Path) -> None:
    folder = finished_run / "model"
    begun = transfer.initialise(
        folder, TrainConfig(model="test_resnet"), [table_of(folder)], NOTHING
    ).state_dict()
    saved = load_file(folder / "model.safetensors")
    assert set(HEAD) < saved.keys()
    assert [name for name, tensor in saved.items() if not torch.equal(begun[name], tensor)] == []


def test_init_with_a_model_of_another_task_has_a_fresh_classifier(finished_run: Path) -> None:
    folder = finished_run / "model"
    begun = transfer.initialise(
        folder, TrainConfig(task="binary", model="test_resnet"), [table_of(folder)], NOTHING
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
        transfer.initialise(
            folder, TrainConfig(model="test_efficientnet"), [table_of(folder)], NOTHING
        )


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
        transfer.initialise(folder, TrainConfig(model="test_resnet"), [table_of(folder)], NOTHING)


def test_init_with_a_shipped_model_by_its_id(tiny_data: Path, tmp_path: Path) -> None:
    if "lesion" not in dermhub.shipped():
        pytest.skip("model_cards/ holds no model")
    # It was trained on HAM10000 and has seen none of the drawings; but it is no ResNet.
    with pytest.raises(ModelError, match=r"lesion/model\.safetensors does not fit test_resnet: "):
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
    # At a learning rate of next to nothing the weights stay as they were.
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


def test_a_first_stage_on_other_images(tiny_data: Path, finished_run: Path, tmp_path: Path) -> None:
    # Another table of other images, another task and another size of the input.
    folder = finished_run / "model"
    others = pd.DataFrame({"image_id": ["new"], "path": [str(tmp_path / "new.png")]})
    draw(4321, (64, 48), 0.5).save(tmp_path / "new.png")
    config = TrainConfig(task="binary", model="test_resnet", size=96)
    begun = transfer.initialise(folder, config, ["0" * 64], others).state_dict()
    saved = load_file(folder / "model.safetensors")
    assert begun["fc.weight"].shape[0] == 2
    assert torch.equal(begun["conv1.0.weight"], saved["conv1.0.weight"].float())
    # A run that holds out an image which the model has seen would be measured on it.
    table = tables.read_table(tiny_data, LESION)
    trained = table[table["split"] == "train"].head(2)
    ids = ", ".join(trained["image_id"])
    with pytest.raises(
        LeakError,
        match=rf"^--init {folder} has seen 2 image\(s\) that this run is validated or tested on "
        rf"\({ids}\): give a model",
    ):
        transfer.initialise(folder, config, ["0" * 64], trained)
