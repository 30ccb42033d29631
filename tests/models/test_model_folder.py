"""Model folders: the configuration is read once, and files are hashed when they are read."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import pytest

from dermhub import files
from dermhub.errors import ConfigError, ModelError
from dermhub.layout import CONFIG, GRAPH, OOD_GATE, SEEN, WEIGHTS
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import LESION
from tests.support.tiny import make_config

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""The sha256 of "abc", an example of FIPS 180-4."""


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """Make a folder with a gate of three bytes."""
    return ModelFolder(tmp_path / "model").write(make_config(LESION), {OOD_GATE: b"abc"})


def test_what_is_written_is_read(folder: ModelFolder) -> None:
    again = ModelFolder(folder.path)
    assert again.config == folder.config
    assert again.hashes == {WEIGHTS: "0" * 64, OOD_GATE: ABC}
    assert again.read(OOD_GATE) == b"abc"
    again.check(OOD_GATE)


def test_files_are_stated_in_the_order_of_their_names(folder: ModelFolder) -> None:
    other = folder.write(folder.config, {SEEN: b"seen", GRAPH: b"graph"})
    assert list(other.config.files) == [OOD_GATE, GRAPH, SEEN]
    assert other.config.files[OOD_GATE] == ABC
    assert other.config.files[SEEN] == hashlib.sha256(b"seen").hexdigest()
    assert ModelFolder(folder.path).config == other.config
    replaced = other.write(other.config, {OOD_GATE: b"abd"})
    assert replaced.config.files[OOD_GATE] == hashlib.sha256(b"abd").hexdigest()
    assert replaced.config.files[SEEN] == other.config.files[SEEN]


def test_weights_are_stated_by_themselves(folder: ModelFolder) -> None:
    other = folder.write(folder.config, {WEIGHTS: b"abc"})
    assert (other.config.weights_sha256, list(other.config.files)) == (ABC, [OOD_GATE])
    assert other.read(WEIGHTS) == b"abc"


def test_a_file_that_was_dropped_is_stated_no_more(folder: ModelFolder) -> None:
    other = folder.write(dataclasses.replace(folder.config, files={}), {})
    assert other.config.files == ModelFolder(folder.path).config.files == {}


@pytest.mark.parametrize("act", [ModelFolder.read, ModelFolder.check])
def test_other_bytes_and_no_bytes_are_refused(folder: ModelFolder, act) -> None:  # type: ignore[no-untyped-def]
    path = folder.path / OOD_GATE
    path.write_bytes(b"abd")
    other = hashlib.sha256(b"abd").hexdigest()
    with pytest.raises(ModelError) as raised:
        act(folder, OOD_GATE)
    assert str(raised.value) == (
        f"{path} has the sha256 {other}, but config.json states {ABC}: the file was changed or "
        "damaged; fetch or copy the model again."
    )
    path.unlink()
    with pytest.raises(
        ModelError,
        match=r"gate\.safetensors can't be read \(No such file or directory\): .*again\.$",
    ):
        act(folder, OOD_GATE)


def test_a_crash_before_config_json_leaves_the_earlier_folder(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder.path / CONFIG).read_bytes()

    def full(path: Path, _: object) -> None:
        raise ConfigError(f"{path} can't be written (No space left on device).")

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(ConfigError):
        folder.write(folder.config, {SEEN: b"seen"})
    assert (folder.path / CONFIG).read_bytes() == before
    # The new file lies there, and nothing states it.
    assert ModelFolder(folder.path).read(OOD_GATE) == b"abc"
    assert SEEN not in ModelFolder(folder.path).config.files


def test_a_place_that_can_not_be_written(folder: ModelFolder) -> None:
    with pytest.raises(ConfigError, match=r"can't be written"):
        folder.write(folder.config, {"config.json/x": b""})


def test_what_is_no_model_folder(tmp_path: Path) -> None:
    for name in ("none", "photo.jpg"):
        (tmp_path / "photo.jpg").write_bytes(b"")
        with pytest.raises(ModelError, match=rf"{name} is not a model folder: it has no config"):
            _ = ModelFolder(tmp_path / name).config
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        _ = ModelFolder(tmp_path).config


def test_a_single_onnx_file_is_told_that_exports_are_folders(tmp_path: Path) -> None:
    path = tmp_path / "lesion.onnx"
    path.write_bytes(b"")
    with pytest.raises(ModelError) as raised:
        _ = ModelFolder(path).config
    assert str(raised.value) == (
        f"{path} is a single ONNX file, but an exported model is a folder: give the folder "
        "that holds config.json and model.onnx, or export the model again with python -m dermhub "
        "export."
    )


def test_an_export_is_a_folder_with_a_graph_and_no_weights(folder: ModelFolder) -> None:
    assert not folder.is_export  # no graph
    graph = folder.write(folder.config, {GRAPH: b"graph"})
    assert graph.is_export
    with pytest.raises(ModelError, match=r"has no model\.safetensors, which PyTorch needs: it is "):
        graph.check_whole()
    whole = graph.write(graph.config, {WEIGHTS: b"weights"})
    assert not whole.is_export
    whole.check_whole()


def test_the_same_folder_from_elsewhere(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path.parent)
    absolute = ModelFolder("model").absolute()
    monkeypatch.chdir("/")
    assert absolute.read(OOD_GATE) == b"abc"
    shutil.rmtree(folder.path)
    assert absolute.config == folder.config
