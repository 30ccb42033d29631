"""Measuring writes a model folder once, when everything for it is made, and reads it back once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dermhub import files
from dermhub.data import tables
from dermhub.errors import ConfigError
from dermhub.layout import CONFIG, GRAPH, OOD_GATE, SEEN
from dermhub.models.classifier import Classifier
from dermhub.models.model_folder import ModelFolder
from dermhub.release import measure
from dermhub.tasks import LESION
from tests.support.opened_files import count
from tests.support.tiny import TINY_RUN

COMMAND = "import sys; from dermhub.cli.main import main; assert main(sys.argv[1:]) == 0"
TRAIN = "import sys, train; train.main()"


@pytest.mark.slow
def test_measuring_again(finished_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run / "model", tmp_path / "model")
    opened = count(COMMAND, "measure", folder, "--data", tiny_data, "--workers", 0)
    # Read to be measured, and as everybody else reads it; written without what is made anew, and
    # with it.
    assert opened["config.json"] == (2, 2)
    # By the graph that was made the answers come; loaded from the folder it is once.
    for name in ("model.onnx", "gate.safetensors", "seen.safetensors"):
        assert opened[name] == (1, 1), name
    # Its hash is compared before the folder is touched; PyTorch opens it to see that it may, loads
    # it and hashes it; beside the graph it is hashed, and read to be compared with the graph.
    assert opened["model.safetensors"] == (6, 0)


@pytest.mark.slow
def test_a_training_run(tiny_data: Path, tmp_path: Path) -> None:
    opened = count(TRAIN, "--data", tiny_data, "--out", tmp_path / "run", *TINY_RUN)
    # Saved with the weights, and with what was measured.
    assert opened["config.json"] == (1, 2)
    for name in ("model.onnx", "gate.safetensors", "seen.safetensors"):
        assert opened[name] == (1, 1), name
    assert opened["model.safetensors"] == (6, 1)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_crash_leaves_a_folder_that_holds_what_it_states(
    finished_run: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    before = Classifier(folder).config
    real = files.write_bytes
    calls = []

    def write(path: Path, content: bytes) -> None:
        calls.append(path.name)
        if len(calls) == number:
            raise ConfigError(f"{path} can't be written (No space left on device).")
        real(path, content)

    monkeypatch.setattr(files, "write_bytes", write)
    with pytest.raises(ConfigError, match="No space left"):
        measure.measure(ModelFolder(folder), tables.read_table(tiny_data, LESION))
    # In this order: nothing is stated, the files, and last what states them.
    assert calls == [CONFIG, GRAPH, SEEN, OOD_GATE, CONFIG][:number]
    config = Classifier(folder).config
    assert config.files == (before.files if number == 1 else {})
