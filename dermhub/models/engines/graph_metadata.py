"""Names in a model's graph (`layout.GRAPH`): its input, its outputs, and its metadata.

The metadata names the weights that the graph was made from, and carries the weights of the last
layer, which class maps need outside of the graph: base64 of safetensors, which are little-endian
by definition.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.errors import ModelError

INPUT, LOGITS, FEATURES = "images", "logits", "features"
"""Names of the graph's input (N, 3, H, W) and outputs (N, C) and (N, K, h, w); N is free."""

WEIGHTS, HEAD = "dermhub.weights", "dermhub.head"
"""Keys of the metadata: the sha256 of the model.safetensors that the graph was made from; the
weights (C, K) of the last layer.
"""

ADVICE = "export the model with python -m dermhub export"


def write(weights_sha256: str, head: Floats32) -> dict[str, str]:
    """The metadata of a graph: the sha256 of its weight file, and its last layer's weights
    (C, K).
    """
    text = base64.b64encode(tensors.write({"weight": head})).decode()
    return {WEIGHTS: weights_sha256, HEAD: text}


def read_head(metadata: Mapping[str, str], classes: int, where: str) -> Floats32:
    """The last layer's weights (C, K) in the metadata; raises ModelError when they are missing,
    garbled, or don't fit the classes.
    """
    try:
        content = base64.b64decode(metadata[HEAD], validate=True)
    except KeyError:
        raise ModelError(f"{where} has no {HEAD} in its metadata: {ADVICE}.") from None
    except (binascii.Error, ValueError) as error:
        raise ModelError(
            f"{where}: {HEAD} in its metadata is not base64 ({error}): {ADVICE}."
        ) from None
    arrays = tensors.read(content, f"{where}: {HEAD} in its metadata")
    weights = arrays.get("weight")
    if (
        arrays.keys() != {"weight"}
        or weights is None
        or weights.ndim != 2
        or len(weights) != classes
    ):
        raise ModelError(
            f"{where}: {HEAD} in its metadata does not hold the weights of {classes} classes: "
            f"{ADVICE}."
        )
    return weights.astype("f4", copy=False)
