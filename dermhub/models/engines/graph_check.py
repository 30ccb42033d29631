"""Comparison of a graph with the weights that it is said to be made from, in numpy alone.

Each array in a graph must be one of the weights; every layer's weights must be used, on the way
from the image to the logits, and the logits must be those of the last layer after global average
pooling. A graph that took its weights from model.safetensors (`graph_weights`) names them. One that
holds them itself, as earlier versions wrote it, states no more than a hash, as a text that any
network could carry: there arrays are compared by their values, and a convolution's may be those
into which the exporter has merged the batch norm after it.

The order of the layers between is not compared: for that the network is needed, and with it PyTorch
(`verify` compares the answers where it is installed).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats32
from dermhub.models.engines.graph_file import Graph, GraphError, Node
from dermhub.models.engines.graph_metadata import FEATURES, INPUT, LOGITS

Arrays = Mapping[str, NDArray[Any]]

OPERATORS = """
    Abs Add And AveragePool BatchNormalization Cast Ceil Clip Concat ConstantOfShape Conv
    ConvTranspose CumSum Cos DepthToSpace Div Dropout Elu Equal Erf Exp Expand Flatten Floor
    Gather Gemm GlobalAveragePool GlobalMaxPool Greater GroupNormalization HardSigmoid HardSwish
    Identity InstanceNormalization LayerNormalization LeakyRelu Less Log LogSoftmax
    LpNormalization MatMul Max MaxPool Min Mish Mod Mul Neg Not Or PRelu Pad Pow Range
    Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize
    Selu Shape Sigmoid Sign Sin Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze
    Sub Tanh Tile Transpose Unsqueeze Upsample Where
"""
"""Operators of ONNX that an image network needs; none of them runs a graph or draws at random."""

LAYERS = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")
"""Operators whose inputs after the first are weights, which are never computed."""

RESHAPING = ("Flatten", "Reshape", "Squeeze", "Identity", "Dropout")
"""Operators between pooling and the last layer, which keep the numbers as they are."""

STATISTICS = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a batch norm, in their order in the operator BatchNormalization."""

FLOAT32 = 1
"""ONNX's number of the data type float32."""

TOLERANCE = 2e-4
"""Largest difference of a merged weight, as a share of the largest; float32 leaves 1e-6."""

LARGEST_EPSILON = 0.1
"""Largest constant that a batch norm may add to its variance; timm's are 1e-3 and less."""


def check_operators(graph: Graph) -> None:
    """Raise GraphError for an operator that an image network does not need, or one of nothing."""
    known = frozenset(OPERATORS.split())
    for node in graph.nodes:
        if node.kind not in known:
            raise GraphError(f"it has the operator {node.kind[:80]!r}, which is not run here")
        if not node.inputs or not node.outputs:
            raise GraphError(f"it has the operator {node.kind} without input or output")


def last_layer(graph: Graph) -> Floats32:
    """Return the weights (C, K) of the layer that makes the logits.

    Raises GraphError unless it is a linear layer on the means of the feature maps.
    """
    constants = _constants(graph)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    last = makers.get(LOGITS)
    if last is not None and last.kind == "Add":
        computed = [name for name in last.inputs if name not in constants]
        last = makers.get(computed[0]) if len(computed) == 1 else None
    weight = _last_weight(last, constants)
    if last is None or weight is None:
        raise GraphError("its logits are not those of a linear layer")
    node = makers.get(last.inputs[0])
    while node is not None and node.kind in RESHAPING:
        node = makers.get(node.inputs[0])
    if node is None or node.kind not in ("GlobalAveragePool", "ReduceMean"):
        raise GraphError("its last layer does not follow global average pooling")
    if node.inputs[0] != FEATURES:
        raise GraphError("its last layer does not look at its feature maps")
    return np.asarray(weight, np.float32)


def check_weights(graph: Graph, weights: Arrays, given: Set[str] = frozenset()) -> None:
    """Raise GraphError unless the graph's arrays are those of the weights, and all are used.

    `given` names the weights that the graph was given (`graph_weights.join`); it has no others.
    """
    # With infinity in them, every difference would be within its share.
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise GraphError("the weights hold NaN or infinite values")
    constants = _constants(graph)
    nodes = _used_nodes(graph)
    for node in nodes:
        _check_numbers(node, constants)
        if node.kind in LAYERS and not set(node.inputs[1:]) <= {*constants, ""}:
            raise GraphError("it computes the weights of a layer")
    if given:
        used = _used_by_name(graph, nodes, weights, given)
    else:
        used = _used_by_value(nodes, constants, weights)
    layers = [name for name, array in weights.items() if array.ndim > 1]
    missing = [name for name in layers if name not in used]
    if missing:
        raise GraphError(f"it does without {missing[0]} of the weights")


def _used_by_name(graph: Graph, nodes: list[Node], weights: Arrays, given: Set[str]) -> Set[str]:
    """Return the weights that nodes use; raises GraphError for another array of floats."""
    constants = _constants(graph)
    sources = {name: name for name in given}
    for node in graph.nodes:
        if _renames(node) and node.inputs[0] in sources:
            sources[node.outputs[0]] = sources[node.inputs[0]]
    used = set()
    for node in nodes:
        for name in node.inputs:
            if name in sources:
                used.add(sources[name])
            elif name in constants and _is_weight(constants[name]):
                raise GraphError(f"its {name[:80]!r} is none of the weights")
        if node.kind == "BatchNormalization":
            layer = sources.get(node.inputs[-1], "").removesuffix(".running_var")
            # By value, as the exporter gives equal arrays one name.
            for name, key in zip(node.inputs[1:], STATISTICS, strict=False):
                if not np.array_equal(constants[name], weights.get(f"{layer}.{key}", np.nan)):
                    raise GraphError(f"it takes {name[:80]!r} for {layer}.{key}")
    return used


def _used_by_value(nodes: list[Node], constants: Arrays, weights: Arrays) -> Set[str]:
    """Return the weights whose values nodes use; raises GraphError for other values."""
    matcher = _Matcher(weights)
    merged = set()
    for node in nodes:
        if node.kind == "Conv":
            matcher.match_convolution([constants.get(name) for name in node.inputs[1:]])
            merged |= set(node.inputs[1:])
    for node in nodes:
        for name in node.inputs:
            if name in constants and name not in merged:
                matcher.match(name, constants[name])
    return matcher.used


class _Matcher:
    """The weights of a model, found by their values, and marked as they are found."""

    def __init__(self, weights: Arrays) -> None:
        self.weights = {
            name: np.ascontiguousarray(array, np.float32)
            for name, array in weights.items()
            if array.dtype.kind == "f"
        }
        self.used: set[str] = set()
        self._names: dict[tuple[float, ...], list[str]] = {}
        for name, array in self.weights.items():
            self._names.setdefault(_key(array), []).append(name)
        self._norms = [
            name.removesuffix(".running_var")
            for name in self.weights
            if name.endswith(".running_var")
        ]

    def match(self, name: str, array: NDArray[Any]) -> None:
        """Raise GraphError for an array of floats that is none of the weights, as it is or turned.

        Single numbers, and whole ones, belong to the operators.
        """
        if not _is_weight(array):
            return
        turned = array.T if array.ndim == 2 else array
        names = self._named(array) or self._named(turned)
        if not names:
            raise GraphError(f"its {name[:80]!r} is none of the weights")
        self.used |= set(names)

    def match_convolution(self, arrays: list[NDArray[Any] | None]) -> None:
        """Raise GraphError unless weights and bias are a layer's, alone or with its batch norm."""
        weight, bias = (np.asarray(each, np.float32) for each in (*arrays, None)[:2])
        names = self._named(weight)
        if names and (not bias.ndim or self._named(bias)):
            self.used |= {*names, *(self._named(bias) if bias.ndim else ())}
            return
        rows = weight.reshape(len(weight), -1)
        # Those that are still unused come first.
        for name in sorted(self.weights, key=self.used.__contains__):
            source = self.weights[name]
            if source.shape != weight.shape or not bias.ndim:
                continue
            scale = _scale(rows, source.reshape(rows.shape))
            norm = None if scale is None else self._norm_of(name, scale, bias)
            if norm is not None:
                self.used |= {name, *(f"{norm}.{key}" for key in STATISTICS)}
                return
        raise GraphError(f"it has a convolution {weight.shape} that is none of the weights")

    def _named(self, array: NDArray[Any]) -> list[str]:
        """Return the names of the weights with these values, whatever their shape."""
        flat = np.ascontiguousarray(array, np.float32).ravel()
        names = self._names.get(_key(flat), [])
        return [name for name in names if np.array_equal(self.weights[name].ravel(), flat)]

    def _norm_of(self, name: str, scale: Floats32, bias: Floats32) -> str | None:
        """Return the batch norm that gives a convolution this scale and bias, or None."""
        before = self.weights.get(f"{name.removesuffix('weight')}bias", np.float32(0))
        used = self.used
        for norm in sorted(self._norms, key=lambda norm: f"{norm}.running_var" in used):
            variance = self.weights[f"{norm}.running_var"]
            if variance.shape != scale.shape:
                continue
            gain = self.weights.get(f"{norm}.weight", np.ones_like(variance))
            shift = self.weights.get(f"{norm}.bias", np.zeros_like(variance))
            mean = self.weights[f"{norm}.running_mean"]
            expected = _norm_scale(gain, variance, scale)
            if not _close(np.where(np.isnan(scale), expected, scale), expected):
                continue
            moved = (before - mean) * expected
            if _close(bias, shift + moved, np.abs(shift) + np.abs(moved)):
                return norm
        return None


def _key(array: Floats32) -> tuple[float, ...]:
    """Return a key that most arrays of other values do not have: size and a few values."""
    flat = array.ravel()
    return (array.size, *flat[:: max(1, array.size // 16)].tolist())


def _scale(rows: Floats32, source: Floats32) -> Floats32 | None:
    """Return the factors (K,) by which rows are those of a source (K, M), or None.

    The factor of a row of zeros is NaN.
    """
    # A few rows tell most other layers of the same shape apart.
    if len(rows) > 8 and _scale(rows[:4], source[:4]) is None:
        return None
    at = np.arange(len(rows))
    places = np.abs(source).argmax(axis=1)
    largest = rows[at, places]
    with np.errstate(all="ignore"):
        scale = np.asarray(largest / source[at, places])
    rest = source * np.nan_to_num(scale)[:, None]
    rest -= rows
    np.abs(rest, out=rest)
    fits = (rest.max(axis=1) <= TOLERANCE * np.abs(largest) + 1e-12).all()
    return scale if fits else None


def _norm_scale(gain: Floats32, variance: Floats32, scale: Floats32) -> Floats32:
    """Return the factors of a batch norm, whose epsilon is taken from the factors in the graph."""
    with np.errstate(all="ignore"):
        epsilons = (gain / scale).astype(np.float64) ** 2 - variance
    epsilons = epsilons[np.isfinite(epsilons)]
    epsilon = float(np.median(epsilons)) if len(epsilons) else 0.0
    epsilon = min(max(epsilon, 1e-12), LARGEST_EPSILON)
    return np.asarray(gain / np.sqrt(variance.astype(np.float64) + epsilon), np.float32)


def _close(actual: Floats32, expected: Floats32, size: Floats32 | None = None) -> bool:
    """Return True where two arrays (K,) agree, by a share of their size."""
    size = np.abs(expected) if size is None else size
    return bool((np.abs(actual - expected) <= TOLERANCE * size + 1e-9).all())


def _check_numbers(node: Node, constants: Arrays) -> None:
    """Raise GraphError for a node whose numbers make a constant of everything, or change it."""
    values = [float(constants[n].flat[0]) for n in node.inputs if _is_number(constants.get(n))]
    nothing = node.kind == "Mul" and 0 in values
    narrow = node.kind == "Clip" and len(values) == 2 and not values[0] <= 0 < 1 <= values[1]
    if nothing or narrow or not np.isfinite(values).all():
        raise GraphError(f"it has the operator {node.kind} with the numbers {values}")
    if node.kind == "BatchNormalization":
        epsilon = node.attributes.get("epsilon", 1e-5)
        if not 0 <= epsilon <= LARGEST_EPSILON or node.attributes.get("training_mode", 0):
            raise GraphError(f"it has a batch norm with the attributes {node.attributes}"[:200])


def _is_number(array: NDArray[Any] | None) -> bool:
    """Return True for a constant that is a single float."""
    return array is not None and array.dtype.kind == "f" and array.size == 1


def _is_weight(array: NDArray[Any]) -> bool:
    """Return True for a constant that could be the weights of a layer: several floats."""
    return array.dtype.kind == "f" and array.size > 1


def _renames(node: Node) -> bool:
    """Return True for a node that gives the same numbers under another name, as float32."""
    return node.kind == "Identity" or (node.kind == "Cast" and node.attributes == {"to": FLOAT32})


def _last_weight(node: Node | None, constants: Arrays) -> NDArray[Any] | None:
    """Return the weights (C, K) of a node that is a linear layer, None for any other."""
    if node is None or node.kind not in ("Gemm", "MatMul") or len(node.inputs) < 2:
        return None
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | node.attributes
    turned = plain.pop("transB")
    weight = constants.get(node.inputs[1])
    computed = set(node.inputs[1:]) - {*constants, ""}
    if weight is None or computed or plain != {"alpha": 1.0, "beta": 1.0, "transA": 0}:
        return None
    return weight if turned else weight.T


def _constants(graph: Graph) -> Arrays:
    """Return the constants of a graph, also under the names that Identity and Cast give them."""
    constants = dict(graph.constants)
    for node in graph.nodes:
        if _renames(node) and node.inputs[0] in constants:
            array = constants[node.inputs[0]]
            constants[node.outputs[0]] = array if node.kind == "Identity" else array.astype("f4")
    return constants


def _used_nodes(graph: Graph) -> list[Node]:
    """Return the nodes that lie between the image and the logits, in their order."""
    from_image = {INPUT}
    for node in graph.nodes:
        if from_image & set(node.inputs):
            from_image |= set(node.outputs)
    to_logits = {LOGITS}
    nodes = []
    for node in reversed(graph.nodes):
        if to_logits & set(node.outputs):
            to_logits |= set(node.inputs)
            if from_image & set(node.outputs):
                nodes.append(node)
    return nodes[::-1]
