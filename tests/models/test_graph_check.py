"""Graphs beside weights: only the graph of these weights is run, and nothing that loops."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from dermhub import tensors
from dermhub.errors import ModelError
from dermhub.layout import CONFIG, GRAPH, WEIGHTS
from dermhub.models.engines import graph_check, graph_file, graph_weights, select
from dermhub.models.engines.graph_file import GraphError
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY
from tests.support.tiny import add_file, add_old_graph, make_model

SHIPPED = Path(__file__).resolve().parents[2] / "model_cards"

WEIGHTS_BY_HAND = {
    "conv.weight": np.array([[[[2.0]]], [[[4.0]]]], np.float32),
    "bn.weight": np.array([1.0, 3.0], np.float32),
    "bn.bias": np.array([0.5, 0.0], np.float32),
    "bn.running_mean": np.array([1.0, -1.0], np.float32),
    "bn.running_var": np.array([3.99999, 0.24999], np.float32),
    "fc.weight": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "fc.bias": np.array([0.0, 1.0], np.float32),
}
"""A convolution and its batch norm with an epsilon of 1e-5, and a last layer.

The scale of the norm is 1 / sqrt(4) = 0.5 and 3 / sqrt(0.25) = 6, so that the merged weights are
1 and 24, and the biases 0.5 - 0.5 * 1 = 0 and 0 + 6 * 1 = 6.
"""


def by_hand(
    weight: tuple[float, float] = (1.0, 24.0), bias: tuple[float, float] = (0.0, 6.0)
) -> ModelProto:
    """The graph of `WEIGHTS_BY_HAND`, with the merged weights and biases of its convolution."""
    arrays = {
        "merged": np.array(weight, np.float32).reshape(2, 1, 1, 1),
        "moved": np.array(bias, np.float32),
        "last": WEIGHTS_BY_HAND["fc.weight"],
        "shift": WEIGHTS_BY_HAND["fc.bias"],
        "least": np.array(0.0, np.float32),
        "most": np.array(6.0, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "merged", "moved"], ["maps"]),
        helper.make_node("Clip", ["maps", "least", "most"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last", "shift"], ["logits"], transB=1),
    ]
    shapes: dict[str, list[str | int | None]] = {
        "images": ["batch", 1, 4, 4],
        "logits": ["batch", 2],
        "features": ["batch", 2, 4, 4],
    }
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    initialisers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    made = helper.make_graph(nodes, "by hand", ends[:1], ends[1:], initialisers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check(model: ModelProto) -> None:
    """Compare a graph with `WEIGHTS_BY_HAND`, as loading does."""
    graph = graph_file.read(model.SerializeToString())
    graph_check.check_operators(graph)
    assert np.array_equal(graph_check.last_layer(graph), WEIGHTS_BY_HAND["fc.weight"])
    graph_check.check_weights(graph, WEIGHTS_BY_HAND)


def node(model: ModelProto, kind: str) -> onnx.NodeProto:
    """The first node of a kind."""
    nodes: list[onnx.NodeProto] = list(model.graph.node)
    return next(each for each in nodes if each.op_type == kind)


def test_a_merged_batch_norm_is_recognised() -> None:
    check(by_hand())


@pytest.mark.parametrize(
    ("weight", "bias"),
    [((1.0, 24.1), (0.0, 6.0)), ((1.0, 24.0), (0.1, 6.0)), ((1.0, 24.0), (0.0, 6.1))],
)
def test_other_numbers_are_refused(weight: tuple[float, float], bias: tuple[float, float]) -> None:
    with pytest.raises(GraphError, match=r"^it has a convolution \(2, 1, 1, 1\) that is none"):
        check(by_hand(weight, bias))


@pytest.mark.parametrize("name", ["bn.weight", "bn.bias", "bn.running_mean"])
def test_weights_that_are_no_numbers_are_refused(name: str) -> None:
    graph = graph_file.read(by_hand().SerializeToString())
    for value in (np.inf, np.nan):
        broken = {**WEIGHTS_BY_HAND, name: np.array([value, 1.0], np.float32)}
        with pytest.raises(GraphError, match=r"^the weights hold NaN or infinite values$"):
            graph_check.check_weights(graph, broken)


def constant_answer(model: ModelProto) -> None:
    """Let the logits be a constant."""
    (last,) = (each for each in model.graph.node if each.op_type == "Gemm")
    model.graph.node.remove(last)
    array = numpy_helper.from_array(np.array([[9.0, 0.0]], np.float32), "answer")
    model.graph.node.append(helper.make_node("Constant", [], ["logits"], value=array))


def added_bias(model: ModelProto) -> None:
    """Add to the logits after the last layer."""
    node(model, "Gemm").output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array([5.0, 0], "f4"), "more"))
    model.graph.node.append(helper.make_node("Add", ["before", "more"], ["logits"]))


def computed_bias(model: ModelProto) -> None:
    """Compute the bias of the last layer from the image."""
    model.graph.node.insert(4, helper.make_node("ReduceMax", ["images"], ["more"], keepdims=1))
    node(model, "Gemm").input[2] = "more"


def second_answer(model: ModelProto) -> None:
    """Add something from the image to the logits."""
    node(model, "Gemm").output[0] = "before"
    model.graph.node.append(helper.make_node("ReduceMax", ["images"], ["more"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["before", "more"], ["logits"]))


def computed_shift(model: ModelProto) -> None:
    """Compute the bias of the convolution from the image."""
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["images"], ["more"], keepdims=0))
    node(model, "Conv").input[2] = "more"


def other_features(model: ModelProto) -> None:
    """Show other feature maps than those that the logits are made from."""
    node(model, "GlobalAveragePool").input[0] = "maps"


def scaled(model: ModelProto) -> None:
    """Scale the last layer by an attribute."""
    node(model, "Gemm").attribute.append(helper.make_attribute("alpha", 0.0))


def narrow(model: ModelProto) -> None:
    """Clip all features to zero."""
    least = next(each for each in model.graph.initializer if each.name == "most")
    least.CopyFrom(numpy_helper.from_array(np.array(0.0, "f4"), "most"))


def nothing(model: ModelProto) -> None:
    """Multiply the feature maps by zero."""
    node(model, "Clip").output[0] = "clipped"
    model.graph.node.insert(2, helper.make_node("Mul", ["clipped", "least"], ["features"]))


def without_layer(model: ModelProto) -> None:
    """Leave the convolution out: it is there, but nothing comes of it."""
    node(model, "Clip").input[0] = "images"


def computed_weights(model: ModelProto) -> None:
    """Compute the weights of the convolution."""
    model.graph.node.insert(0, helper.make_node("Abs", ["merged"], ["computed"]))
    node(model, "Conv").input[1] = "computed"


def loop(model: ModelProto) -> None:
    """Run a loop."""
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], ["x"], body=body))


def foreign(model: ModelProto) -> None:
    """Call an operator of another set."""
    model.graph.node.insert(0, helper.make_node("Run", ["images"], ["x"], domain="com.evil"))


def foreign_set(model: ModelProto) -> None:
    """Import another set of operators."""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def functions(model: ModelProto) -> None:
    """Define a function."""
    sets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("", "F", ["a"], ["b"], [], sets))


def outside(model: ModelProto) -> None:
    """Take weights from another file."""
    array = model.graph.initializer[0]
    array.ClearField("raw_data")
    array.data_location = TensorProto.EXTERNAL
    array.external_data.add(key="location", value="/etc/passwd")


def at_random(model: ModelProto) -> None:
    """Answer at random."""
    model.graph.node.append(helper.make_node("RandomNormal", [], ["x"], shape=[2]))


def of_nothing(model: ModelProto) -> None:
    """Rename nothing."""
    model.graph.node.append(helper.make_node("Identity", [], ["x"]))


def twice(model: ModelProto) -> None:
    """Give a constant two values; readers differ in which they take."""
    model.graph.initializer[0].float_data.extend([9.0, 9.0])


def two_names(model: ModelProto) -> None:
    """Give two constants one name."""
    model.graph.initializer.append(model.graph.initializer[0])


def many(model: ModelProto) -> None:
    """Hold far more nodes than any network."""
    extra = helper.make_node("Relu", ["images"], ["x"])
    model.graph.node.extend([extra] * 5001)


ATTACKS: list[tuple[Callable[[ModelProto], None], str]] = [
    (constant_answer, "its logits are not those of a linear layer"),
    (added_bias, "its 'more' is none of the weights"),
    (computed_bias, "its logits are not those of a linear layer"),
    (second_answer, "its logits are not those of a linear layer"),
    (computed_shift, "it computes the weights of a layer"),
    (other_features, "its last layer does not look at its feature maps"),
    (scaled, "its logits are not those of a linear layer"),
    (narrow, r"it has the operator Clip with the numbers \[0\.0, 0\.0\]"),
    (nothing, r"it has the operator Mul with the numbers \[0\.0\]"),
    (without_layer, "it does without conv.weight of the weights"),
    (computed_weights, "it computes the weights of a layer"),
    (loop, "it has a node with a graph inside, such as a loop"),
    (foreign, "it has a node of 'com.evil'"),
    (foreign_set, "it needs the operators of 'com.microsoft'"),
    (functions, "it defines functions of its own"),
    (outside, "its weights lie in another file"),
    (at_random, "it has the operator 'RandomNormal', which is not run here"),
    (of_nothing, "it has the operator Identity without input or output"),
    (twice, "it has a tensor with two values"),
    (two_names, "it has two constants of the name 'merged'"),
    (many, "it has more than 5000 nodes"),
]


@pytest.mark.parametrize(("attack", "reason"), ATTACKS, ids=[each.__name__ for each, _ in ATTACKS])
def test_another_graph_is_refused(attack: Callable[[ModelProto], None], reason: str) -> None:
    model = by_hand()
    attack(model)
    with pytest.raises(GraphError, match=f"^{reason}"):
        check(model)


def by_name() -> ModelProto:
    """The graph of `WEIGHTS_BY_HAND` as a model folder holds it, with its weights by their names.

    The convolution's weights are in half precision, which holds 2 and 4 as they are.
    """
    model = by_hand()
    del model.graph.initializer[:4]
    halves = WEIGHTS_BY_HAND["conv.weight"].astype(np.float16)
    arrays: dict[str, Any] = {**WEIGHTS_BY_HAND, "conv.weight": halves}
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    norm = [f"bn.{key}" for key in graph_check.STATISTICS]
    nodes = [
        helper.make_node("Cast", ["conv.weight"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["images", "wide"], ["convolved"]),
        helper.make_node("BatchNormalization", ["convolved", *norm], ["maps"], epsilon=1e-5),
        *model.graph.node[1:],
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    node(model, "Gemm").input[1:] = ["fc.weight", "fc.bias"]
    return model


def check_by_name(model: ModelProto) -> None:
    """Compare a graph with the weights that it was given, as loading does."""
    graph = graph_file.read(model.SerializeToString())
    graph_check.check_operators(graph)
    assert np.array_equal(graph_check.last_layer(graph), WEIGHTS_BY_HAND["fc.weight"])
    graph_check.check_weights(graph, WEIGHTS_BY_HAND, frozenset(WEIGHTS_BY_HAND))


def wide_epsilon(model: ModelProto) -> None:
    """Let a batch norm answer its shift alone."""
    node(model, "BatchNormalization").attribute[0].f = 1e30


def training(model: ModelProto) -> None:
    """Let a batch norm take mean and variance of the image."""
    attribute = helper.make_attribute("training_mode", 1)
    node(model, "BatchNormalization").attribute.append(attribute)


def whole_numbers(model: ModelProto) -> None:
    """Round the weights of the convolution."""
    node(model, "Cast").attribute[0].i = TensorProto.INT32
    again = helper.make_node("Cast", ["wide"], ["again"], to=TensorProto.FLOAT)
    model.graph.node.insert(1, again)
    node(model, "Conv").input[1] = "again"


def smuggled(model: ModelProto) -> None:
    """Add to the logits, from whole numbers."""
    node(model, "Gemm").output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 0]), "more"))
    model.graph.node.append(helper.make_node("Cast", ["more"], ["floats"], to=TensorProto.FLOAT))
    model.graph.node.append(helper.make_node("Add", ["before", "floats"], ["logits"]))


def computed_from_weights(model: ModelProto) -> None:
    """Compute the weights of the convolution."""
    model.graph.node.insert(1, helper.make_node("Abs", ["wide"], ["computed"]))
    node(model, "Conv").input[1] = "computed"


def mixed_up(model: ModelProto) -> None:
    """Shift by the scale of the batch norm."""
    node(model, "BatchNormalization").input[2] = "bn.weight"


def without_convolution(model: ModelProto) -> None:
    """Leave the convolution out."""
    node(model, "BatchNormalization").input[0] = "images"


ATTACKS_BY_NAME: list[tuple[Callable[[ModelProto], None], str]] = [
    (constant_answer, "its logits are not those of a linear layer"),
    (added_bias, "its 'more' is none of the weights"),
    (smuggled, "its 'floats' is none of the weights"),
    (other_features, "its last layer does not look at its feature maps"),
    (scaled, "its logits are not those of a linear layer"),
    (narrow, r"it has the operator Clip with the numbers \[0\.0, 0\.0\]"),
    (without_convolution, "it does without conv.weight of the weights"),
    (computed_from_weights, "it computes the weights of a layer"),
    (whole_numbers, "it computes the weights of a layer"),
    (mixed_up, "it takes 'bn.weight' for bn.bias"),
    (wide_epsilon, "it has a batch norm with the attributes {'epsilon': 1.00"),
    (training, "it has a batch norm with the attributes {'epsilon': "),
    (outside, "its weights lie in another file"),
]


def test_weights_by_their_names_are_recognised() -> None:
    check_by_name(by_name())


@pytest.mark.parametrize(
    ("attack", "reason"), ATTACKS_BY_NAME, ids=[each.__name__ for each, _ in ATTACKS_BY_NAME]
)
def test_another_graph_of_the_same_weights_is_refused(
    attack: Callable[[ModelProto], None], reason: str
) -> None:
    model = by_name()
    attack(model)
    with pytest.raises(GraphError, match=f"^{reason}"):
        check_by_name(model)


@pytest.mark.parametrize("length", [0, 1, 50, -1])
def test_a_graph_cut_short_is_refused(length: int) -> None:
    content = by_hand().SerializeToString()[:length]
    with pytest.raises(GraphError):
        graph_file.read(content)


def test_two_graphs_are_refused() -> None:
    # Protocol Buffers would merge them.
    content = by_hand().SerializeToString()
    with pytest.raises(GraphError, match=r"^it holds 2 graphs, expected 1$"):
        graph_file.read(content + content)


def test_constants_are_read_as_onnx_reads_them() -> None:
    folder = SHIPPED / "lesion"
    joined = graph_weights.join((folder / GRAPH).read_bytes(), (folder / WEIGHTS).read_bytes())
    graph = graph_file.read(joined.content)
    # onnx takes the weights from the file beside the graph.
    model = onnx.load(folder / GRAPH)
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert arrays.keys() == joined.given
    # 52 convolutions, each with a batch norm of four arrays, and the last layer with its bias.
    assert len(arrays) == 52 * 5 + 2
    assert all(np.array_equal(graph.constants[name], array) for name, array in arrays.items())
    kinds = [each.op_type for each in model.graph.node if each.op_type != "Constant"]
    assert [each.kind for each in graph.nodes] == kinds
    assert graph.nodes[0].attributes["pads"] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["lesion", "binary"])
def test_shipped_graphs_take_every_weight_from_its_file(name: str) -> None:
    folder = SHIPPED / name
    content = (folder / GRAPH).read_bytes()
    weights = (folder / WEIGHTS).read_bytes()
    assert len(content) < 400_000
    whole, given = graph_weights.join(content, weights)
    arrays = tensors.read(weights, name)
    assert given == {key for key in arrays if not key.endswith("num_batches_tracked")}
    graph_check.check_weights(graph_file.read(whole), arrays, given)
    # Compared by their values, as in a graph of an earlier version, they are the weights, too.
    if name == "lesion":
        graph_check.check_weights(graph_file.read(whole), arrays)


def test_other_weights_beside_an_old_graph_are_refused_at_loading(tmp_path: Path) -> None:
    add_old_graph(make_model(tmp_path, BINARY))
    assert select.load(ModelFolder(tmp_path), "onnx").runtime == "ONNX Runtime"
    before = ModelFolder(tmp_path).config.weights_sha256
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-4:] = struct.pack("<f", 0.123)
    (tmp_path / WEIGHTS).write_bytes(content)
    # All hashes are stated by the folder itself.
    after = hashlib.sha256(content).hexdigest()
    text = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(text.replace(before, after))
    graph = (tmp_path / GRAPH).read_bytes().replace(before.encode(), after.encode())
    add_file(tmp_path, GRAPH, graph)
    with pytest.raises(ModelError) as raised:
        select.load(ModelFolder(tmp_path), "onnx")
    assert str(raised.value).startswith(
        f"{tmp_path / GRAPH} is not the graph of model.safetensors (it"
    )
    assert str(raised.value).endswith(
        "): fetch the model again, or remove the graph from config.json and measure the model."
    )
