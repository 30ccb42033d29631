"""Metadata of a model's graph, without ONNX's own libraries.

prove.sh runs this on s390x as well.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest

from dermhub.errors import ModelError
from dermhub.models.engines import graph_metadata

HEAD = np.arange(14, dtype=np.float32).reshape(7, 2) - 3.5


def texts(**changes: str) -> dict[str, str]:
    """Return whole metadata with some entries replaced; `head` stands for dermhub.head."""
    whole = graph_metadata.write("1" * 64, HEAD)
    return whole | {f"dermhub.{name}": value for name, value in changes.items()}


def test_metadata_is_read_back() -> None:
    assert texts().keys() == {"dermhub.weights", "dermhub.head"}
    assert texts()["dermhub.weights"] == "1" * 64
    weights = graph_metadata.read_head(texts(), 7, "m.onnx")
    assert np.array_equal(weights, HEAD)
    assert weights.dtype == np.float32


def test_weights_are_little_endian_in_the_text() -> None:
    content = base64.b64decode(texts()["dermhub.head"])
    assert content.endswith(struct.pack("<14f", *HEAD.flatten().tolist()))
    by_hand = json.dumps(
        {"weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}
    ).encode()
    content = struct.pack("<Q", len(by_hand)) + by_hand + struct.pack("<2f", 1.5, -2.0)
    weights = graph_metadata.read_head(
        {"dermhub.head": base64.b64encode(content).decode()}, 2, "m.onnx"
    )
    assert weights.tolist() == [[1.5], [-2.0]]


def test_weights_have_one_hash_everywhere() -> None:
    assert (
        hashlib.sha256(texts()["dermhub.head"].encode()).hexdigest()
        == "4dde610581823f8a7a5c67328de34e6c9b81ea513f74e10fd48711032d847e4f"
    )


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("%%%", r"^m\.onnx: dermhub\.head in its metadata is not base64 \("),
        ("Übergröße", r"^m\.onnx: dermhub\.head in its metadata is not base64 \("),
        (
            base64.b64encode(b"no tensors").decode(),
            r"^m\.onnx: dermhub\.head in its metadata is no complete",
        ),
        ("", r"^m\.onnx: dermhub\.head in its metadata is no complete"),
    ],
)
def test_wrong_metadata_is_one_sentence(head: str, expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as raised:
        graph_metadata.read_head(texts(head=head), 7, "m.onnx")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("weights", [HEAD[:6], HEAD[None], HEAD[:, 0]])
def test_weights_of_another_shape(weights: Any) -> None:
    with pytest.raises(
        ModelError,
        match=r"^m\.onnx: dermhub\.head .* does not hold the weights of 7 classes: export",
    ):
        graph_metadata.read_head(graph_metadata.write("1" * 64, weights), 7, "m.onnx")


def test_a_missing_entry_is_named() -> None:
    with pytest.raises(ModelError, match=r"^m\.onnx has no dermhub\.head in its metadata"):
        graph_metadata.read_head({}, 7, "m.onnx")
