"""A graph's weights from model.safetensors: joined byte by byte, on machines of either byte order.

It needs neither onnx nor PyTorch, so that it also runs on s390x.
"""

from __future__ import annotations

import numpy as np
import pytest

from dermhub import tensors
from dermhub.models.engines import graph_file, graph_weights
from dermhub.models.engines.graph_file import GraphError

WEIGHTS = tensors.write(
    {
        "a": np.array([1.5, -2.0], np.float32),
        "b": np.array([[0.25], [4.0]], np.float16),
        "c": np.array([7], np.int64),
    }
)
BEGIN = 8 + int.from_bytes(WEIGHTS[:8], "little")
"""The values begin here: those of c, then of a, then of b, as large numbers come first."""

KINDS = {"F32": 1, "F16": 10, "I64": 7}


def field(number: int, content: bytes) -> bytes:
    """A field of a message; all here are shorter than 16,384 bytes."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content


def constant(name: str, kind: str, shape: list[int], **place: object) -> bytes:
    """A constant whose values lie outside."""
    entries = [
        field(13, field(1, key.encode()) + field(2, str(value).encode()))
        for key, value in place.items()
    ]
    start = b"".join(bytes([8, number]) for number in shape) + bytes([16, KINDS[kind]])
    return start + field(8, name.encode()) + b"".join(entries) + b"\x70\x01"


def graph(*constants: bytes) -> bytes:
    """A model without nodes, with constants."""
    return b"\x08\x08" + field(7, b"".join(field(5, each) for each in constants)) + field(2, b"me")


def place(offset: int, length: int, location: str = "model.safetensors") -> dict[str, object]:
    """Where the values of a tensor lie."""
    return {"location": location, "offset": offset, "length": length}


A = constant("a", "F32", [2], **place(BEGIN + 8, 8))
B = constant("b", "F16", [2, 1], **place(BEGIN + 16, 4))


def test_bytes_are_copied_as_they_are() -> None:
    whole, given = graph_weights.join(graph(A, B), WEIGHTS)
    # 1.5 is 0x3fc00000 in float32, -2 is 0xc0000000; in half precision 0.25 is 0x3400, 4 is 0x4400.
    a = b"\x08\x02\x10\x01" + field(8, b"a") + field(9, bytes.fromhex("0000c03f000000c0"))
    b = b"\x08\x02\x08\x01\x10\x0a" + field(8, b"b") + field(9, bytes.fromhex("00340044"))
    assert whole == graph(a, b)
    assert given == {"a", "b"}
    constants = graph_file.read(whole).constants
    assert constants["a"].tolist() == [1.5, -2.0]
    assert constants["b"].tolist() == [[0.25], [4.0]]


def test_a_graph_with_its_own_weights_stays_as_it_is() -> None:
    own = graph(b"\x08\x01\x10\x01" + field(8, b"w") + field(9, bytes(4)))
    assert graph_weights.join(own, WEIGHTS) == (own, frozenset())
    assert not graph_weights.takes_any(own)
    assert graph_weights.takes_any(graph(A))
    assert not graph_weights.takes_any(b"text")


@pytest.mark.parametrize(
    "other",
    [
        constant("d", "F32", [2], **place(BEGIN + 8, 8)),
        constant("a", "F16", [2], **place(BEGIN + 8, 8)),
        constant("a", "F32", [1, 2], **place(BEGIN + 8, 8)),
        constant("a", "F32", [2], **place(BEGIN + 9, 8)),
        constant("a", "F32", [2], **place(BEGIN + 8, 7)),
        constant("a", "F32", [2], **place(BEGIN + 8, 8, "/etc/passwd")),
        constant("a", "F32", [2], **place(BEGIN + 8, 8), checksum="0"),
        constant("a", "F32", [2], location="model.safetensors"),
        constant("c", "I64", [1], **place(BEGIN, 8)),
        constant("a", "F32", [2]),
    ],
    ids=["name", "kind", "shape", "place", "length", "file", "more", "less", "whole", "none"],
)
def test_whatever_is_no_weight_is_not_taken(other: bytes) -> None:
    whole, given = graph_weights.join(graph(B, other), WEIGHTS)
    assert given == {"b"}
    with pytest.raises(GraphError, match=r"^its weights lie in another file, or elsewhere in mode"):
        graph_file.read(whole)


def test_a_constant_with_two_values_is_refused() -> None:
    with pytest.raises(GraphError, match=r"^it has a tensor with two values$"):
        graph_weights.join(graph(A + field(9, bytes(8))), WEIGHTS)


@pytest.mark.parametrize("length", [1, 5, 40, -1])
def test_a_graph_cut_short_is_refused(length: int) -> None:
    with pytest.raises(GraphError, match=r"^it is "):
        graph_file.read(graph_weights.join(graph(A, B)[:length], WEIGHTS).content)


def test_weights_of_another_format_are_refused() -> None:
    with pytest.raises(tensors.FormatError, match=r"it is an ONNX graph$"):
        graph_weights.join(graph(A), graph(A))
