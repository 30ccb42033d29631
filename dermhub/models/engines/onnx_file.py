"""What an ONNX file of dermhub says of itself: keys of its metadata, and a seal over all of its
bytes.

There are two kinds. The graph (`layout.GRAPH`) stands in a model folder, whose config.json states
its hash, and it names the weights that it was made from. An export is the whole model in one file:
its metadata carries what a model folder holds beside the weights, which is config.json as it
stands, the last layer's weights (class maps need them outside of the graph), and the files beside
the weights. All of it is text; binary parts are base64 of safetensors, which are little-endian by
definition.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.errors import ModelError
from dermhub.models.config import ModelConfig

SUFFIX = ".onnx"


INPUT, LOGITS, FEATURES = "images", "logits", "features"
"""Names of the graph's input (N, 3, H, W) and outputs (N, C) and (N, K, h, w); N is free."""


CONFIG, HEAD, FILE, SEAL = "dermhub.config", "dermhub.head", "dermhub.file.", "dermhub.sha256"
"""Keys of the metadata: config.json; the last layer's weights; one for each file beside the
weights; the seal.
"""


WEIGHTS = "dermhub.weights"
"""Key of the metadata of a folder's graph: the sha256 of the model.safetensors that it was made
from.
"""


ADVICE = "export the model with python -m dermhub export"


def graph_metadata(weights_sha256: str, weights: Floats32) -> dict[str, str]:
    """The metadata of a folder's graph: which weight file it was made from, and its last layer's
    weights (C, K).
    """
    return {WEIGHTS: weights_sha256, HEAD: _text(tensors.write({"weight": weights}))}


def metadata(config: ModelConfig, weights: Floats32, beside: Mapping[str, bytes]) -> dict[str, str]:
    """The metadata of a model: its configuration, the weights (C, K) of its last layer, and the
    files beside it.
    """
    texts = {
        CONFIG: json.dumps(config.to_json(), allow_nan=False),
        HEAD: _text(tensors.write({"weight": weights})),
    }
    return texts | {FILE + name: _text(content) for name, content in sorted(beside.items())}


def read_config(texts: Mapping[str, str], where: str) -> ModelConfig:
    """The configuration in the metadata; raises ModelError when it is none that this dermhub
    understands.
    """
    try:
        content: Any = json.loads(texts[CONFIG])
    except ValueError as error:
        raise ModelError(
            f"{where}: {CONFIG} in its metadata is not valid JSON ({error}): {ADVICE}."
        ) from None
    return ModelConfig.from_json(content, where)


def read_weights(texts: Mapping[str, str], classes: int, where: str) -> Floats32:
    """The weights (C, K) of the last layer in the metadata; raises ModelError when they don't fit
    the classes.
    """
    found = tensors.read(_content(texts, HEAD, where), f"{where}: {HEAD} in its metadata")
    weights = found.get("weight")
    if (
        found.keys() != {"weight"}
        or weights is None
        or weights.ndim != 2
        or len(weights) != classes
    ):
        raise ModelError(
            f"{where}: {HEAD} in its metadata does not hold the weights of {classes} classes: "
            f"{ADVICE}."
        )
    return weights.astype("f4", copy=False)


def read_beside(texts: Mapping[str, str], name: str, where: str) -> bytes:
    """The content of a file beside the weights; raises ModelError when the model has none of that
    name.
    """
    return _content(texts, FILE + name, where)


def seal(content: bytes) -> bytes:
    """A serialised model with one more entry of metadata, the sha256 of all the bytes before it."""
    return content + _entry(SEAL, hashlib.sha256(content).hexdigest())


def is_sealed(content: bytes) -> bool:
    """Whether not one bit has changed since `seal`."""
    length = len(_entry(SEAL, 64 * "0"))
    body = content[:-length]
    return content[-length:] == _entry(SEAL, hashlib.sha256(body).hexdigest())


def _entry(key: str, value: str) -> bytes:
    # Protocol buffers: messages that follow each other are merged, so an entry of the repeated
    # field metadata_props (number 14 of ModelProto in onnx.proto, with key = 1 and value = 2) can
    # be appended. All lengths are below 128.
    pair = b"".join(
        bytes([tag, len(text)]) + text.encode() for tag, text in ((0x0A, key), (0x12, value))
    )
    return bytes([0x72, len(pair)]) + pair


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _content(texts: Mapping[str, str], key: str, where: str) -> bytes:
    try:
        return base64.b64decode(texts[key], validate=True)
    except KeyError:
        raise ModelError(f"{where} has no {key} in its metadata: {ADVICE}.") from None
    except (binascii.Error, ValueError) as error:
        raise ModelError(
            f"{where}: {key} in its metadata is not base64 ({error}): {ADVICE}."
        ) from None
