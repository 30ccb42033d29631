"""Damaged or unsuitable exports and graphs: each is refused in one sentence."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import dermhub
from dermhub import files
from dermhub.errors import ModelError
from dermhub.images.view import InputSpec
from dermhub.layout import CONFIG, GRAPH, OOD_GATE
from dermhub.models import export
from dermhub.models.classifier import Classifier
from dermhub.models.config import FORMAT_VERSION
from dermhub.models.engines import onnx_runtime, select
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from tests.support.tiny import Command, add_file, make_config

Shapes = dict[str, list[Any]]
SHAPES: Shapes = {
    "images": ["batch", 3, 64, 64],
    "logits": ["batch", 7],
    "features": ["batch", 3, 64, 64],
}


@pytest.fixture(scope="module")
def exported(tiny_lesion_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a whole export. Read only."""
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export.export(Classifier(tiny_lesion_model), path)
    return path


@pytest.fixture
def damaged(exported: Path, tmp_path: Path) -> Path:
    """Copy the export, to damage it."""
    return Path(shutil.copytree(exported, tmp_path / "tiny.onnx"))


def graph(shapes: Shapes = SHAPES, /, **texts: str) -> bytes:
    """Write a model by hand: the images are the feature maps.

    The logits are their means, by a matrix of ones.
    """
    ends = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    source, *_ = shapes
    classes = shapes.get("logits", ["batch", 7])[1]
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [3, classes], [1.0] * 3 * classes)
    nodes = [
        helper.make_node("Identity", [source], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "ones"], ["logits"]),
    ]
    outputs = [end for name, end in ends.items() if name != source]
    made = helper.make_graph(nodes, "by hand", [ends[source]], outputs, [ones])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in texts.items():
        model.metadata_props.add(key=f"dermhub.{key}", value=value)
    content: bytes = model.SerializeToString()
    return content


def metadata() -> dict[str, str]:
    """Return metadata that fits `graph`, by the last part of its keys."""
    return {"weights": "0" * 64}


def engine(content: bytes, **changes: Any) -> OnnxEngine:
    """Load a graph in a folder M, with some of the configuration's fields replaced."""
    folder = ModelFolder("M")
    folder.config = dataclasses.replace(make_config(LESION), **changes)
    return OnnxEngine(folder, content)


def refusal(content: bytes, **changes: Any) -> str:
    """Return the sentence with which a graph is refused."""
    with pytest.raises(ModelError) as raised:
        engine(content, **changes)
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith("M/model.onnx")
    assert text.endswith(".")
    return text


def refusal_of(folder: Path) -> str:
    """Return the sentence with which an export is refused."""
    with pytest.raises(ModelError) as raised:
        dermhub.load(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_graph_by_hand() -> None:
    # Guards the tests below, which all change this one.
    by_hand = engine(graph(**metadata()))
    images = np.zeros((2, 3, 64, 64), np.float32)
    images[1, 0, 5, 6] = 64 * 64
    images[1, 1, 0, 0] = -64 * 64 * 3
    logits, features = by_hand.forward(images)
    assert logits.tolist() == [[0.0] * 7, [-2.0] * 7]
    evidence = by_hand.class_maps(features, np.eye(7, dtype=np.float32)[:1])
    # All weights are 1: each place counts with 1 / (64 * 64), and what speaks against the class is
    # 0.
    assert evidence.shape == (2, 1, 64, 64)
    assert (evidence[1, 0, 5, 6], evidence[1, 0, 0, 0], float(evidence.sum())) == (1.0, 0.0, 1.0)


def test_paths_that_are_no_folders(tmp_path: Path, command: Command) -> None:
    (tmp_path / "old.onnx").write_bytes(b"")
    for name in (tmp_path / "none.onnx", "a\0b.onnx", "runs/none.onnx"):
        with pytest.raises(ModelError, match=r"is not a model folder: it has no config\.json\.$"):
            dermhub.load(name)
    code, out, error = command("predict", "x.jpg", "--model", tmp_path / "old.onnx")
    assert (code, out) == (2, "")
    assert error.startswith(f"dermhub: {tmp_path / 'old.onnx'} is a single ONNX file, but an exp")
    assert error.count("\n") == 1


def test_folder_with_the_name_of_a_file(tiny_lesion_model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to(tiny_lesion_model)
    assert dermhub.load(tmp_path / "model.onnx").model is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"PK\x03\x04" * 9,
        b"\x89PNG\r\n\x1a\n",
        b"\xff" * 99,
        b"\x08\x08",
        b"<html></html>",
    ],
)
def test_what_is_no_onnx_file(content: bytes) -> None:
    assert "is no ONNX model that ONNX Runtime can read (" in refusal(content)


def test_weights_of_a_model_folder(tiny_lesion_model: Path) -> None:
    assert "is no ONNX model" in refusal((tiny_lesion_model / "model.safetensors").read_bytes())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_cut_short(damaged: Path, share: float) -> None:
    content = (damaged / GRAPH).read_bytes()
    (damaged / GRAPH).write_bytes(content[: int(len(content) * share)])
    assert "model.onnx has the sha256 " in refusal_of(damaged)
    assert "is no ONNX model" in refusal(content[: int(len(content) * share)])


def test_one_flipped_bit(damaged: Path) -> None:
    content = bytearray((damaged / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / GRAPH).write_bytes(content)
    assert "the file was changed or damaged; fetch or copy the model again" in refusal_of(damaged)


def test_bytes_after_the_end(damaged: Path) -> None:
    with (damaged / GRAPH).open("ab") as stream:
        stream.write(b"\0")
    assert "model.onnx has the sha256 " in refusal_of(damaged)


def test_saved_again_by_another_program(damaged: Path) -> None:
    model = onnx.load(damaged / GRAPH)
    model.graph.doc_string = "optimised"
    onnx.save(model, damaged / GRAPH)
    assert "model.onnx has the sha256 " in refusal_of(damaged)


def test_without_its_graph(damaged: Path) -> None:
    (damaged / GRAPH).unlink()
    assert "model.onnx can't be read (No such file or directory): " in refusal_of(damaged)


def test_without_its_configuration(damaged: Path) -> None:
    (damaged / CONFIG).unlink()
    assert refusal_of(damaged) == f"{damaged} is not a model folder: it has no config.json."


def test_a_file_beside_the_graph_that_is_changed_or_missing(damaged: Path) -> None:
    add_file(damaged, OOD_GATE, b"gate")
    (damaged / OOD_GATE).write_bytes(b"other")
    assert "gate.safetensors has the sha256 " in refusal_of(damaged)
    (damaged / OOD_GATE).unlink()
    assert "gate.safetensors can't be read (No such file or directory): " in refusal_of(damaged)


def test_graph_of_other_weights(damaged: Path) -> None:
    expected = (
        "was not made from the weights that config.json names: measure, export or fetch the model "
        "again."
    )
    model = ModelFolder(damaged)
    model.write(dataclasses.replace(model.config, weights_sha256="1" * 64), {})
    assert refusal_of(damaged) == f"{damaged / GRAPH} {expected}"
    assert refusal(graph(**metadata()), weights_sha256="1" * 64) == f"M/{GRAPH} {expected}"
    # That of somebody else names none.
    assert refusal(graph()) == f"M/{GRAPH} {expected}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda block: block["dermhub"].update(format_version=FORMAT_VERSION + 1),
            "newer than the",
        ),
        (lambda block: block["dermhub"].pop("temperature"), "config.json lacks temperature."),
        (lambda block: block["dermhub"].update(temperature=0), "expected a finite number above 0"),
        (lambda block: block.update(num_classes=6), "num_classes is 6"),
        (lambda block: block.pop("pretrained_cfg"), "config.json lacks pretrained_cfg."),
        (lambda block: block.pop("dermhub"), "config.json has no 'dermhub' block"),
    ],
)
def test_wrong_configuration(
    damaged: Path, change: Callable[[dict[str, Any]], Any], expected: str
) -> None:
    block = files.read_json(damaged / CONFIG)
    change(block)
    files.write_json(damaged / CONFIG, block)
    assert expected in refusal_of(damaged)


@pytest.mark.parametrize(
    ("changes", "shapes"),
    [
        ({"input": InputSpec(48)}, SHAPES),
        ({"task": BINARY}, SHAPES),
        ({}, {**SHAPES, "logits": ["batch", 5]}),
        (
            {},
            {
                "pixels": ["batch", 3, 64, 64],
                "logits": ["batch", 7],
                "features": ["batch", 3, 64, 64],
            },
        ),
        ({}, {"images": ["batch", 3, 64, 64], "logits": ["batch", 7]}),
    ],
)
def test_graph_that_does_not_fit_its_meaning(changes: dict[str, Any], shapes: Shapes) -> None:
    assert "does not fit its configuration (" in refusal(graph(shapes, **metadata()), **changes)


def test_a_last_layer_that_is_no_number() -> None:
    model = onnx.load_model_from_string(graph(**metadata()))
    model.graph.initializer[0].float_data[0] = float("nan")
    with pytest.raises(ModelError, match="M answered NaN or infinity, expected finite numbers"):
        engine(model.SerializeToString()).forward(np.zeros((1, 3, 64, 64), np.float32))


def test_there_is_no_torch_module(exported: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"tiny\.onnx has no model\.safetensors, which PyTorch needs: it is an export, or was",
    ):
        _ = Classifier(exported).model


def test_without_onnx_runtime(
    exported: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, error = command("predict", "x.jpg", "--model", exported)
    assert (code, out) == (2, "")
    assert error.startswith(f"dermhub: {exported} needs ONNX Runtime, which can't be imported (")
    assert error.endswith("): pip install onnxruntime.\n")


def test_an_export_answers_on_any_machine(
    exported: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On s390x PyTorch is preferred, where there are weights.
    expected = Classifier(exported).predict(photo)
    monkeypatch.setattr(select, "prefers_graph", lambda: False)
    assert Classifier(exported).predict(photo) == expected
    assert Classifier(exported, runtime="onnx").predict(photo) == expected


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("3", 3), ("", 0), ("all", 0)])
def test_threads_are_those_of_the_environment(
    exported: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    loaded = Classifier(exported).engine
    assert isinstance(loaded, OnnxEngine)
    assert loaded._session.get_session_options().intra_op_num_threads == expected


def test_version() -> None:
    assert onnx_runtime.version().count(".") == 2
