"""Runs that begin with the weights of a model: what they take over, and which models are
refused.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dermhub
from dermhub.errors import LeakError, ModelError
from dermhub.models.folder import ModelFolder
from dermhub.tasks import LESION
from dermhub.training import transfer
from dermhub.training.config import TrainConfig
from tests.support.tiny import TINY_RUN, make_model, run_training

WEIGHTS = Path("model") / "model.safetensors"
HEAD = ("fc.weight", "fc.bias")


def table_of(folder: Path) -> str:
    """The fingerprint of the table that a model was trained on."""
    return str(ModelFolder(folder).config.provenance["data"]["table_sha256"])


def test_a_model_of_the_same_task_is_taken_over_whole(finished_run: Path) -> None:
    folder = finished_run / "model"
    begun = transfer.initialise(
        folder, TrainConfig(model="test_resnet"), [table_of(folder)]
    ).state_dict()
    saved = load_file(folder / "model.safetensors")
    assert set(HEAD) < saved.keys()
    assert [name for name, tensor in saved.items() if not torch.equal(begun[name], tensor)] == []


def test_a_model_of_another_task_begins_with_a_fresh_classifier(finished_run: Path) -> None:
    folder = finished_run / "model"
    begun = transfer.initialise(
        folder, TrainConfig(task="binary", model="test_resnet"), [table_of(folder)]
    ).state_dict()
    assert begun["fc.weight"].shape[0] == 2
    saved = load_file(folder / "model.safetensors")
    assert [
        name for name in saved if name not in HEAD and not torch.equal(begun[name], saved[name])
    ] == []


def test_a_model_of_another_architecture(finished_run: Path) -> None:
    folder = finished_run / "model"
    with pytest.raises(
        ModelError,
        match=r"model\.safetensors does not fit test_efficientnet: it lacks tensor\(s\) ",
    ):
        transfer.initialise(folder, TrainConfig(model="test_efficientnet"), [table_of(folder)])


def test_a_model_that_may_have_seen_the_test_lesions(tiny_data: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", LESION)
    with pytest.raises(
        LeakError,
        match=rf"^--init {folder} was trained on another table, and may have seen the les",
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", folder, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_model(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"^{tmp_path} is not a model folder: it has no config\.json"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", tmp_path, "--out", tmp_path / "run")


def test_the_weight_file_of_such_a_model(tiny_data: Path, tmp_path: Path) -> None:
    path = make_model(tmp_path / "other", LESION) / "model.safetensors"
    with pytest.raises(LeakError, match=rf"^--init {path} was trained on another table"):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", path, "--out", tmp_path / "run")


def test_a_model_whose_weights_were_changed(finished_run: Path, tmp_path: Path) -> None:
    # The hash of the table is that of other weights, and says nothing of these.
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "changed"))
    other = make_model(tmp_path / "other", LESION)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(
        ModelError,
        match=r"changed/model\.safetensors has the sha256 \w{64}, but config\.json states ",
    ):
        transfer.initialise(folder, TrainConfig(model="test_resnet"), [table_of(folder)])


def test_a_shipped_model_is_begun_with_by_its_id(tiny_data: Path, tmp_path: Path) -> None:
    if "lesion" not in dermhub.shipped():
        pytest.skip("model_cards/ holds no model")
    # Which is refused here, because it was trained on HAM10000.
    with pytest.raises(LeakError, match=r"^--init \S+lesion was trained on another table"):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", "lesion", "--out", tmp_path / "run")


@pytest.mark.parametrize("name", ["lesoin", "pretraned"])
def test_a_model_that_does_not_exist(tiny_data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ModelError, match=rf"^There is no model '{name}': expected a model folder, "
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--init", name, "--out", tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_goes_on_from_a_model(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    # A rate of next to nothing: what comes out is what was begun with, but for the correction of
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
