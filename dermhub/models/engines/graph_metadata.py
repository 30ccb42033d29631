"""Metadata of a model's graph (`layout.GRAPH`), and the names of its input and outputs.

The metadata names the weights that the graph was made from, and carries the weights of the last
layer, which class maps need outside the graph. These are safetensors, little-endian by definition,
in base64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import numpy as np

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.errors import ModelError

INPUT = "images"
"""Name of the graph's input (N, 3, H, W); N is free."""

LOGITS = "logits"
"""Name of the graph's output (N, C)."""

FEATURES = "features"
"""Name of the graph's output (N, K, h, w)."""

WEIGHTS = "dermhub.weights"
"""Key of the metadata: the sha256 of the model.safetensors that the graph was made from."""

HEAD = "dermhub.head"
"""Key of the metadata: the weights (C, K) of the last layer."""

ADVICE = "export the model with python -m dermhub export"


def write(weights_sha256: str, head: Floats32) -> dict[str, str]:
    """Return the metadata for a weight file's sha256 and the last layer's weights (C, K)."""
    text = base64.b64encode(tensors.write({"weight": head})).decode()
    return {WEIGHTS: weights_sha256, HEAD: text}


def read_head(metadata: Mapping[str, str], classes: int, where: str) -> Floats32:
    """Read the last layer's weights (C, K) from the metadata.

    Raises ModelError, which names the graph as `where`, when they are missing, garbled, or don't
    fit the number of classes.
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
    weights = arrays.pop("weight", None)
    whole = weights is not None and weights.ndim == 2 and len(weights) == classes
    if arrays or weights is None or not whole or not np.isfinite(weights).all():
        raise ModelError(
            f"{where}: {HEAD} in its metadata does not hold the weights of {classes} classes: "
            f"{ADVICE}."
        )
    return weights.astype("f4", copy=False)
