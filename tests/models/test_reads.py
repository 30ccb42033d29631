"""Loading a model reads each of its files once: the bytes that are hashed are those that answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dermhub.models import export
from dermhub.models.classifier import Classifier
from tests.support.opened_files import count

LOAD = "import sys, dermhub; dermhub.load(sys.argv[1], runtime=sys.argv[2])"


@pytest.mark.parametrize("runtime", ["auto", "onnx"])
def test_a_folder_with_a_graph(finished_run: Path, runtime: str) -> None:
    opened = count(LOAD, finished_run / "model", runtime)
    for name in ("config.json", "model.onnx", "gate.safetensors", "seen.safetensors"):
        assert opened[name] == (1, 0), name
    # Its bytes are hashed, and not loaded.
    assert opened["model.safetensors"] == (1, 0)


def test_an_export(finished_run: Path, tmp_path: Path) -> None:
    export.export(Classifier(finished_run / "model"), tmp_path / "x.onnx")
    opened = count(LOAD, tmp_path / "x.onnx", "auto")
    for name in ("config.json", "model.onnx", "gate.safetensors", "seen.safetensors"):
        assert opened[name] == (1, 0), name
    assert "model.safetensors" not in opened


@pytest.mark.slow
def test_pytorch(finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run / "model", tmp_path / "model")
    opened = count(LOAD, folder, "torch")
    # The graph is hashed: with another one it is not the folder that was measured.
    for name in ("config.json", "model.onnx", "gate.safetensors", "seen.safetensors"):
        assert opened[name] == (1, 0), name
