"""The weights of a graph that holds none of its own: they are taken from model.safetensors.

The graph of a model folder names file, place and length of each weight, as ONNX provides for large
models (https://github.com/onnx/onnx/blob/main/docs/ExternalData.md), so that other programs can
read the two files, too. Here they are joined in memory, because only bytes whose hash was compared
are run. In both formats the values lie row by row and little-endian, on every machine, so that
they are copied as they are; where they are stored in half precision, the graph turns them into
float32.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from dermhub import tensors
from dermhub.layout import WEIGHTS
from dermhub.models.engines import graph_file
from dermhub.models.engines.graph_file import GraphError
from dermhub.tensors import Header, Stored

GRAPH, CONSTANT = 7, 5
"""Fields of a model and of its graph that are followed: the graph, and each constant."""

VALUES, PLACE, IS_OUTSIDE = 9, 13, 14
"""Fields of a tensor: its values, or where they lie, and that they lie outside."""

KINDS = {"F16": 10, "F32": 1, "F64": 11}
"""Number of a data type in ONNX, by its name in safetensors."""


class Joined(NamedTuple):
    """The bytes of a graph with its weights, and the names of those that it was given."""

    content: bytes
    given: frozenset[str]


def place(stored: Stored, header: Header) -> dict[str, str]:
    """Return where the values of a tensor of model.safetensors lie, as a graph states it."""
    start = header.begin + stored.start
    return {"location": WEIGHTS, "offset": f"{start}", "length": f"{stored.end - stored.start}"}


def join(content: bytes, weights: bytes) -> Joined:
    """Give a graph its weights, from the content of model.safetensors.

    Each must be taken whole, under its own name: a graph that takes anything else is left without
    it, and `graph_file.read` refuses it. A graph that holds its weights itself stays as it is.
    Raises GraphError for one that is garbled, and FormatError where the weights are.
    """
    header = tensors.read_header(weights, len(weights))
    values = memoryview(weights)[header.begin :]
    given: set[str] = set()
    parts: list[bytes | memoryview] = []
    with graph_file.garbled():
        for number, value, whole in graph_file.fields_and_bytes(memoryview(content)):
            if number == GRAPH and isinstance(value, memoryview):
                parts += _field(GRAPH, _with_values(value, header, values, given))
            else:
                parts.append(whole)
    return Joined(b"".join(parts) if given else content, frozenset(given))


def takes_any(content: bytes) -> bool:
    """Return True for a graph that takes weights from another file."""
    with contextlib.suppress(GraphError), graph_file.garbled():
        for number, value, _ in graph_file.fields_and_bytes(memoryview(content)):
            if number != GRAPH or not isinstance(value, memoryview):
                continue
            for kind, constant, _ in graph_file.fields_and_bytes(value):
                if kind != CONSTANT or not isinstance(constant, memoryview):
                    continue
                if graph_file.reference(constant):
                    return True
    return False


def _with_values(
    graph: memoryview, header: Header, values: memoryview, given: set[str]
) -> list[bytes | memoryview]:
    """Return the fields of a graph with its weights, and add their names to `given`."""
    parts: list[bytes | memoryview] = []
    for number, value, whole in graph_file.fields_and_bytes(graph):
        constant = value if number == CONSTANT and isinstance(value, memoryview) else None
        name = _taken(constant, header) if constant else ""
        if constant is None or not name:
            parts.append(whole)
            continue
        stored = header.tensors[name]
        fields = graph_file.fields_and_bytes(constant)
        kept = [field for kind, _, field in fields if kind not in (PLACE, IS_OUTSIDE)]
        own = _field(VALUES, [values[stored.start : stored.end]])
        parts += _field(CONSTANT, [*kept, *own])
        given.add(name)
    return parts


def _taken(constant: memoryview, header: Header) -> str:
    """Return the name of the weight that a constant takes from the file, "" where it takes none."""
    reference = graph_file.reference(constant)
    stored = header.tensors.get(reference.name) if reference else None
    if reference is None or stored is None:
        return ""
    due = (KINDS.get(stored.kind), stored.shape, place(stored, header))
    return reference.name if reference[1:] == due else ""


def _field(number: int, parts: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return a field of a message, from the parts of its content."""
    return [_varint(number << 3 | 2), _varint(sum(map(len, parts))), *parts]


def _varint(number: int) -> bytes:
    """Write a whole number as Protocol Buffers do: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
