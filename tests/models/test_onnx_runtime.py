"""ONNX files that are none, are damaged, or mean something else: one sentence each."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import dermhub
from dermhub.errors import ModelError
from dermhub.images.view import InputSpec
from dermhub.models import export
from dermhub.models.classifier import Classifier
from dermhub.models.config import FORMAT_VERSION
from dermhub.models.engines import onnx_file, onnx_runtime
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.tasks import BINARY, LESION
from tests.support.tiny import Command, make_config

Shapes = dict[str, list[Any]]
SHAPES: Shapes = {
    "images": ["batch", 3, 64, 64],
    "logits": ["batch", 7],
    "features": ["batch", 3, 64, 64],
}


@pytest.fixture(scope="module")
def exported(tiny_lesion_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole export. Read only."""
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export.export(Classifier(tiny_lesion_model), path)
    return path


def graph(shapes: Shapes = SHAPES, /, **texts: str) -> bytes:
    """A model written by hand: the images are the maps, and their means, by a matrix of ones, the
    logits.
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


def meaning(**changes: Any) -> dict[str, str]:
    """Metadata that fits `graph`, with some of the configuration's fields replaced."""
    config = dataclasses.replace(make_config(LESION), **changes)
    whole = onnx_file.metadata(config, np.ones((len(config.task.classes), 3), np.float32), {})
    return {key.removeprefix("dermhub."): value for key, value in whole.items()}


def refusal(content: bytes) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(ModelError) as raised:
        OnnxEngine(content, "m.onnx")
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith("m.onnx")
    assert text.endswith(".")
    return text


def test_graph_by_hand() -> None:
    # Guards the tests below, which all change this one.
    engine = OnnxEngine(onnx_file.seal(graph(**meaning())), "m.onnx")
    images = np.zeros((2, 3, 64, 64), np.float32)
    images[1, 0, 5, 6] = 64 * 64
    images[1, 1, 0, 0] = -64 * 64 * 3
    logits, features = engine.forward(images)
    assert logits.tolist() == [[0.0] * 7, [-2.0] * 7]
    evidence = engine.class_maps(features, np.eye(7, dtype=np.float32)[:1])
    # All weights are 1: each place counts with 1 / (64 * 64), and what speaks against the class is
    # 0.
    assert evidence.shape == (2, 1, 64, 64)
    assert (evidence[1, 0, 5, 6], evidence[1, 0, 0, 0], float(evidence.sum())) == (1.0, 0.0, 1.0)


def test_paths_that_can_not_be_read(tmp_path: Path, command: Command) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(
        ModelError,
        match=r"none\.onnx' can't be read \(No such file or directory\): expected an ONNX f",
    ):
        dermhub.load(tmp_path / "none.onnx")
    with pytest.raises(
        ModelError, match=r"can't be read \(embedded null byte\): expected an ONNX file\.$"
    ):
        dermhub.load("a\0b.onnx")
    code, out, error = command("predict", "x.jpg", "--model", tmp_path / "empty.onnx")
    assert (code, out) == (2, "")
    assert "empty.onnx is no ONNX model that ONNX Runtime can read (" in error
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


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_cut_short(exported: Path, share: float) -> None:
    content = exported.read_bytes()
    assert "is no ONNX model" in refusal(content[: int(len(content) * share)])


def test_cut_at_the_seal(exported: Path) -> None:
    assert refusal(exported.read_bytes()[:-84]) == (
        "m.onnx was changed or damaged after its export: copy it again, or export the model with "
        "python -m dermhub export."
    )


def test_one_flipped_bit(exported: Path) -> None:
    content = bytearray(exported.read_bytes())
    content[len(content) // 2] ^= 1
    assert "was changed or damaged after its export" in refusal(
        bytes(content)
    ) or "is no ONNX model" in refusal(bytes(content))


def test_bytes_after_the_end(exported: Path) -> None:
    assert "was changed or damaged" in refusal(exported.read_bytes() + onnx_file.seal(b"")[-84:])


def test_model_of_somebody_else() -> None:
    expected = (
        "m.onnx is an ONNX model, but not one that dermhub exported: export the model with "
        "python -m dermhub export."
    )
    assert refusal(graph()) == refusal(onnx_file.seal(graph())) == expected


def test_saved_again_by_another_program(exported: Path) -> None:
    model = onnx.load(exported)
    model.graph.doc_string = "optimised"
    assert "was changed or damaged after its export" in refusal(model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda block: block["dermhub"].update(format_version=FORMAT_VERSION + 1),
            "newer than the",
        ),
        (lambda block: block["dermhub"].pop("temperature"), "m.onnx lacks temperature."),
        (lambda block: block["dermhub"].update(temperature=0), "expected a finite number above 0"),
        (lambda block: block.update(num_classes=6), "num_classes is 6"),
        (lambda block: block.pop("pretrained_cfg"), "m.onnx lacks pretrained_cfg."),
        (lambda block: block.pop("dermhub"), "m.onnx has no 'dermhub' block"),
    ],
)
def test_wrong_configuration(change: Callable[[dict[str, Any]], Any], expected: str) -> None:
    texts = meaning()
    block = json.loads(texts["config"])
    change(block)
    assert expected in refusal(onnx_file.seal(graph(**{**texts, "config": json.dumps(block)})))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"config": "not JSON"}, "is not valid JSON"),
        ({"head": "not base64!"}, "is not base64"),
        ({"head": ""}, "is no complete safetensors file"),
    ],
)
def test_garbled_metadata(texts: dict[str, str], expected: str) -> None:
    assert expected in refusal(onnx_file.seal(graph(**{**meaning(), **texts})))


def test_missing_weights_of_the_head() -> None:
    texts = {key: value for key, value in meaning().items() if key != "head"}
    assert "has no dermhub.head in its metadata" in refusal(onnx_file.seal(graph(**texts)))


@pytest.mark.parametrize(
    ("texts", "shapes"),
    [
        (meaning(input=InputSpec(48)), SHAPES),
        (meaning(task=BINARY), SHAPES),
        (meaning(), {**SHAPES, "logits": ["batch", 5]}),
        (
            meaning(),
            {
                "pixels": ["batch", 3, 64, 64],
                "logits": ["batch", 7],
                "features": ["batch", 3, 64, 64],
            },
        ),
        (meaning(), {"images": ["batch", 3, 64, 64], "logits": ["batch", 7]}),
    ],
)
def test_graph_that_does_not_fit_its_meaning(texts: dict[str, str], shapes: Shapes) -> None:
    assert "does not fit its configuration (" in refusal(onnx_file.seal(graph(shapes, **texts)))


def test_file_that_was_not_beside_the_weights(exported: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"tiny\.onnx has no dermhub\.file\.gate\.safetensors in its metadata: export ",
    ):
        Classifier(exported).engine.sidecar("gate.safetensors")


def test_there_is_no_torch_module(exported: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"tiny\.onnx is an ONNX model, without a PyTorch module: use the model folder",
    ):
        _ = Classifier(exported).model


def test_without_onnx_runtime(
    exported: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, error = command("predict", "x.jpg", "--model", exported)
    assert (code, out) == (2, "")
    assert error.startswith(f"dermhub: {exported} needs ONNX Runtime, which can't be imported (")
    assert error.endswith("): pip install -r requirements-onnx.txt.\n")


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("3", 3), ("", 0), ("all", 0)])
def test_threads_are_those_of_the_environment(
    exported: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    session = OnnxEngine.load(exported)._session
    assert session.get_session_options().intra_op_num_threads == expected


def test_version() -> None:
    assert onnx_runtime.version().count(".") == 2
