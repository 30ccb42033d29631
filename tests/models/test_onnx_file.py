"""The metadata of an exported model and its seal, without ONNX's own libraries: prove.sh runs this
on s390x as well.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest

from dermhub.errors import ModelError
from dermhub.models.engines import onnx_file
from dermhub.tasks import LESION
from tests.support.tiny import make_config

WEIGHTS = np.arange(14, dtype=np.float32).reshape(7, 2) - 3.5
CONFIG = dataclasses.replace(make_config(LESION), files={"gate.safetensors": "1" * 64})


def texts(**changes: str) -> dict[str, str]:
    """Whole metadata, with some entries replaced; `head` stands for dermhub.head."""
    whole = onnx_file.metadata(CONFIG, WEIGHTS, {"gate.safetensors": b"\x00\xffgate"})
    return whole | {f"dermhub.{name}": value for name, value in changes.items()}


def test_metadata_is_read_back() -> None:
    found = texts()
    assert onnx_file.read_config(found, "m.onnx") == CONFIG
    assert np.array_equal(onnx_file.read_weights(found, 7, "m.onnx"), WEIGHTS)
    assert onnx_file.read_weights(found, 7, "m.onnx").dtype == np.float32
    assert onnx_file.read_beside(found, "gate.safetensors", "m.onnx") == b"\x00\xffgate"
    assert json.loads(found["dermhub.config"]) == CONFIG.to_json()


def test_weights_are_little_endian_in_the_text() -> None:
    content = base64.b64decode(texts()["dermhub.head"])
    assert content.endswith(struct.pack("<14f", *WEIGHTS.flatten().tolist()))
    by_hand = json.dumps(
        {"weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}
    ).encode()
    content = struct.pack("<Q", len(by_hand)) + by_hand + struct.pack("<2f", 1.5, -2.0)
    found = onnx_file.read_weights(
        {"dermhub.head": base64.b64encode(content).decode()}, 2, "m.onnx"
    )
    assert found.tolist() == [[1.5], [-2.0]]


def test_weights_have_one_hash_everywhere() -> None:
    assert (
        hashlib.sha256(texts()["dermhub.head"].encode()).hexdigest()
        == "4dde610581823f8a7a5c67328de34e6c9b81ea513f74e10fd48711032d847e4f"
    )


def test_seal_by_hand() -> None:
    # ModelProto.metadata_props is field 14: 14 * 8 + 2 = 0x72. The pair takes 2 + 14 + 2 + 64 = 82
    # = 0x52 bytes.
    stated = hashlib.sha256(b"model").hexdigest().encode()
    assert onnx_file.seal(b"model") == b"model\x72\x52\x0a\x0edermhub.sha256\x12\x40" + stated


def test_any_change_breaks_the_seal() -> None:
    sealed = onnx_file.seal(b"some model")
    assert onnx_file.is_sealed(sealed)
    for place in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[place] ^= 1
        assert not onnx_file.is_sealed(bytes(flipped)), place
        assert not onnx_file.is_sealed(sealed[:place]), place
    assert not onnx_file.is_sealed(sealed + b"\0")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"config": "{"},
            r"^m\.onnx: dermhub\.config in its metadata is not valid JSON \(.*\): export the model ",
        ),
        ({"config": "[]"}, r"^m\.onnx has no 'dermhub' block"),
        ({"config": "{}"}, r"^m\.onnx has no 'dermhub' block"),
        (
            {"config": json.dumps({**CONFIG.to_json(), "num_classes": 6})},
            r"^m\.onnx: num_classes is 6 but",
        ),
        ({"head": "%%%"}, r"^m\.onnx: dermhub\.head in its metadata is not base64 \("),
        ({"head": "Übergröße"}, r"^m\.onnx: dermhub\.head in its metadata is not base64 \("),
        (
            {"head": base64.b64encode(b"no tensors").decode()},
            r"^m\.onnx: dermhub\.head in its metadata is no complete",
        ),
        ({"head": ""}, r"^m\.onnx: dermhub\.head in its metadata is no complete"),
    ],
)
def test_wrong_metadata_is_one_sentence(changes: dict[str, str], expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as raised:
        _ = (
            onnx_file.read_config(texts(**changes), "m.onnx")
            if "config" in changes
            else onnx_file.read_weights(texts(**changes), 7, "m.onnx")
        )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("weights", [WEIGHTS[:6], WEIGHTS[None], WEIGHTS[:, 0]])
def test_weights_of_another_shape(weights: Any) -> None:
    found = onnx_file.metadata(CONFIG, weights, {})
    with pytest.raises(
        ModelError,
        match=r"^m\.onnx: dermhub\.head .* does not hold the weights of 7 classes: export",
    ):
        onnx_file.read_weights(found, 7, "m.onnx")


def test_missing_entries_are_named() -> None:
    for name in ("gate.safetensors", "seen.safetensors"):
        with pytest.raises(
            ModelError, match=rf"^m\.onnx has no dermhub\.file\.{name} in its metadata: export"
        ):
            onnx_file.read_beside({}, name, "m.onnx")
    with pytest.raises(ModelError, match=r"^m\.onnx has no dermhub\.head in its metadata"):
        onnx_file.read_weights({}, 7, "m.onnx")
