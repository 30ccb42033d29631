"""The folder of a model, found by what people give for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dermhub.errors import ModelError
from dermhub.models import catalog
from dermhub.models.classifier import load


@pytest.fixture
def run(tiny_lesion_model: Path, tmp_path: Path) -> Path:
    """The folder of a training run with its model."""
    shutil.copytree(tiny_lesion_model, tmp_path / "run" / "model")
    (tmp_path / "run" / "train_config.json").write_text("{}")
    return tmp_path / "run"


def test_a_run_stands_for_its_model(run: Path) -> None:
    assert catalog.locate(run) == catalog.locate(run / "model") == run / "model"
    assert load(str(run)).name == load(run / "model").name == "run"


def test_a_model_that_holds_a_folder_of_that_name_is_itself(
    run: Path, tiny_lesion_model: Path
) -> None:
    shutil.copy(tiny_lesion_model / "config.json", run)
    assert catalog.locate(run) == run


def test_a_folder_that_is_neither_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert catalog.locate(tmp_path) == tmp_path
    with pytest.raises(ModelError, match=f"^{tmp_path} is not a model folder"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "model.onnx"])
def test_a_file_of_a_model_stands_for_its_folder(run: Path, name: str) -> None:
    (run / "model" / "model.onnx").touch()
    assert catalog.locate(run / "model" / name) == run / "model"


def test_a_single_graph_of_an_earlier_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lesion.onnx"
    path.write_bytes(b"graph")
    assert catalog.locate(path) == path
    with pytest.raises(ModelError, match=f"^{path} is a single ONNX file, but an exported model"):
        load(path)
