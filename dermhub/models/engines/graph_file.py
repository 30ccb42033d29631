"""Reader of ONNX files: the nodes and constants of a graph, without the package onnx.

An ONNX file is a ModelProto in the wire format of Protocol Buffers
(https://protobuf.dev/programming-guides/encoding); the numbers of the fields are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Only what an image network needs is read:
whatever could run for ever, reach outside the file, or call foreign code is refused.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dermhub import tensors

Field = tuple[int, int | memoryview]
"""Number of a field, and its value: a whole number, or the bytes of anything else."""

KINDS = {
    **{1: "<f4", 2: "|u1", 3: "|i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "|b1"},
    **{10: "<f2", 11: "<f8", 12: "<u4", 13: "<u8"},
}
"""Layout of the values of a tensor, by its number of data type."""

MOST_NODES = 5000
"""Nodes that a graph may have; the shipped ones have 170."""

FLOAT, INT, TEXT, TENSOR, FLOATS, INTS, TEXTS = 2, 3, 4, 5, 7, 8, 9
"""Fields of an attribute that are read."""

LISTS = {FLOATS, INTS, TEXTS}
"""Fields of an attribute that may come several times."""

VALUES = {FLOAT, INT, TEXT, TENSOR, *LISTS}

GRAPHS = (6, 11)
"""Fields of an attribute that hold graphs: those of If, Loop and Scan."""


class GraphError(ValueError):
    """The reason, in a few words, why a file is no graph that is run here."""


class Node(NamedTuple):
    """A step of a graph: its operator, the names of what it takes and gives, its attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Reference(NamedTuple):
    """A constant whose values lie in another file: name, number of data type, shape and place.

    ONNX calls it external data. `place` has the entries "location", "offset" and "length".
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    place: dict[str, str]


@dataclass(frozen=True)
class Graph:
    """The nodes of a graph in their order, and the constants that it holds, by name.

    Constants are in the machine's own byte order.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, NDArray[Any]]


def read(content: bytes) -> Graph:
    """Read the graph of an ONNX file; raises GraphError for one that is not run here."""
    with garbled():
        return _model(memoryview(content))


@contextlib.contextmanager
def garbled() -> Iterator[None]:
    """Turn the errors of reading bytes that are no ONNX file into a GraphError."""
    try:
        yield
    except GraphError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise GraphError(f"it is cut short or garbled: {error}"[:200]) from None


def _model(content: memoryview) -> Graph:
    graphs = []
    for number, value in _fields(content):
        if number == 7:
            graphs.append(value)
        elif number == 8:
            _check_operators(_bytes(value))
        elif number == 20:
            raise GraphError("it holds training information")
        elif number == 25:
            raise GraphError("it defines functions of its own")
    if len(graphs) != 1:
        raise GraphError(f"it holds {len(graphs)} graphs, expected 1")
    return _graph(_bytes(graphs[0]))


def _graph(content: memoryview) -> Graph:
    nodes: list[Node] = []
    constants: dict[str, NDArray[Any]] = {}
    for number, value in _fields(content):
        if number == 1:
            node = _node(_bytes(value))
            if len(nodes) + len(constants) >= MOST_NODES:
                raise GraphError(f"it has more than {MOST_NODES} nodes")
            if node.kind == "Constant":
                _add(constants, node.outputs[0], _constant(node))
            else:
                nodes.append(node)
        elif number == 5:
            name, array = _tensor(_bytes(value))
            _add(constants, name, array)
        elif number == 15:
            raise GraphError("it holds sparse tensors")
    return Graph(tuple(nodes), constants)


def _check_operators(content: memoryview) -> None:
    """Raise GraphError for a set of operators other than ONNX's own."""
    for number, value in _fields(content):
        if number == 1 and _text(value) not in ("", "ai.onnx"):
            raise GraphError(f"it needs the operators of {_text(value)[:80]!r}")


def _node(content: memoryview) -> Node:
    inputs = []
    outputs = []
    kind = ""
    attributes: dict[str, Any] = {}
    for number, value in _fields(content):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            kind = _text(value)
        elif number == 5:
            name, attribute = _attribute(_bytes(value))
            if name in attributes:
                raise GraphError(f"it has a node with two attributes {name[:80]!r}")
            attributes[name] = attribute
        elif number == 7 and _text(value) not in ("", "ai.onnx"):
            raise GraphError(f"it has a node of {_text(value)[:80]!r}")
    return Node(kind, tuple(inputs), tuple(outputs), attributes)


def _attribute(content: memoryview) -> tuple[str, Any]:
    """Read an attribute's name and value; a list where it has several."""
    name = ""
    single: Any = None
    several: list[Any] = []
    seen: set[int] = set()
    for number, value in _fields(content):
        # Readers differ in which of two values counts.
        if number in VALUES and seen - ({number} & LISTS):
            raise GraphError("it has an attribute with two values")
        seen |= {number} & VALUES
        if number == 1:
            name = _text(value)
        elif number == FLOAT:
            single = float(tensors.numbers(_bytes(value), "<f4")[0])
        elif number == INT:
            single = _signed(value)
        elif number == TEXT:
            single = _text(value)
        elif number == TENSOR:
            single = _tensor(_bytes(value))[1]
        elif number == FLOATS:
            several += tensors.numbers(_bytes(value), "<f4").tolist()
        elif number == INTS:
            several += _whole_numbers(value)
        elif number == TEXTS:
            several.append(_text(value))
        elif number in GRAPHS:
            raise GraphError("it has a node with a graph inside, such as a loop")
    return name, several if single is None else single


def _constant(node: Node) -> NDArray[Any]:
    """Return the value of a node Constant."""
    values = list(node.attributes.values())
    if len(values) != 1 or isinstance(values[0], str):
        raise GraphError("it has a Constant that is no array of numbers")
    (value,) = values
    if isinstance(value, np.ndarray):
        return value
    whole = next(iter(node.attributes)) in ("value_int", "value_ints")
    return np.asarray(value, np.int64 if whole else np.float32)


def _tensor(content: memoryview) -> tuple[str, NDArray[Any]]:
    """Read a tensor's name and its values."""
    shape: list[int] = []
    kind = 0
    name = ""
    raw: bytes | memoryview = b""
    typed: list[NDArray[Any]] = []
    for number, value in _fields(content):
        if number == 1:
            shape += _whole_numbers(value)
        elif number == 2:
            kind = int(_number(value))
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = _bytes(value)
        elif number == 4:
            typed.append(tensors.numbers(_bytes(value), "<f4"))
        elif number == 10:
            typed.append(tensors.numbers(_bytes(value), "<f8"))
        elif number in (5, 7):
            typed.append(np.array(_whole_numbers(value), np.int64))
        elif number in (13, 14) and value:
            raise GraphError("its weights lie in another file, or elsewhere in model.safetensors")
        elif number in (3, 6, 11):
            raise GraphError("it holds texts, or numbers of a kind that is not read here")
    if typed and raw:
        raise GraphError("it has a tensor with two values")
    if kind not in KINDS or min(shape, default=0) < 0:
        raise GraphError(f"it has a tensor of the type {kind} and the shape {shape[:8]}")
    layout = KINDS[kind]
    array = tensors.numbers(raw, layout)
    if typed:
        array = np.concatenate(typed).astype(array.dtype)
    if array.size != math.prod(shape):
        raise GraphError(f"a tensor of the shape {shape[:8]} has {array.size} values")
    return name, array.reshape(shape)


def reference(content: memoryview) -> Reference | None:
    """Read a tensor whose values lie in another file; None for one that holds them itself.

    Raises GraphError for one that does both.
    """
    shape: list[int] = []
    kind = 0
    name = ""
    place: dict[str, str] = {}
    own = False
    for number, value in _fields(content):
        if number == 1:
            shape += _whole_numbers(value)
        elif number == 2:
            kind = int(_number(value))
        elif number == 8:
            name = _text(value)
        elif number == 13:
            entry = {key: _text(text) for key, text in _fields(_bytes(value))}
            place[entry[1]] = entry[2]
        elif number not in (12, 14):
            own = True
    if not place:
        return None
    if own:
        raise GraphError("it has a tensor with two values")
    return Reference(name, kind, tuple(shape), place)


def _add(constants: dict[str, NDArray[Any]], name: str, array: NDArray[Any]) -> None:
    """Add a constant under its name; raises GraphError where the name comes twice."""
    if name in constants:
        raise GraphError(f"it has two constants of the name {name[:80]!r}")
    constants[name] = array


def _fields(content: memoryview) -> Iterator[Field]:
    """Yield the fields of a message; raises GraphError where it is cut short."""
    return ((number, value) for number, value, _ in fields_and_bytes(content))


def fields_and_bytes(
    content: memoryview,
) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """Yield the fields of a message, each with all its bytes, number and length among them.

    Raises GraphError where the message is cut short.
    """
    place = 0
    end = len(content)
    while place < end:
        start = place
        key, place = _varint(content, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield number, value, content[start:place]
            continue
        if wire == 2:
            length, place = _varint(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise GraphError("it is no ONNX file")
        if length > end - place:
            raise GraphError("it is cut short")
        yield number, content[place : place + length], content[start : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Return the whole number at a place, and the place after it; raises IndexError at the end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise GraphError("it is no ONNX file")


def _whole_numbers(value: int | memoryview) -> list[int]:
    """Return the numbers of a repeated field, packed or one by one."""
    if not isinstance(value, memoryview):
        return [_signed(value)]
    numbers = []
    place = 0
    while place < len(value):
        number, place = _varint(value, place)
        numbers.append(_signed(number))
    return numbers


def _signed(value: int | memoryview) -> int:
    """Return a 64-bit number with its sign."""
    number = _number(value)
    return number - (1 << 64) if number >= 1 << 63 else number


def _number(value: int | memoryview) -> int:
    """Return the value of a field that holds a number; raises GraphError for another."""
    if isinstance(value, memoryview):
        raise GraphError("it is no ONNX file")
    return value


def _bytes(value: int | memoryview) -> memoryview:
    """Return the bytes of a field that holds some; raises GraphError for another."""
    if not isinstance(value, memoryview):
        raise GraphError("it is no ONNX file")
    return value


def _text(value: int | memoryview) -> str:
    """Return the text of a field; raises ValueError for bytes that are no UTF-8."""
    return str(_bytes(value), "utf-8")
