"""Names in a model's graph (`layout.GRAPH`): of its input, of its outputs, and in its metadata."""

from __future__ import annotations

INPUT = "images"
"""Name of the graph's input (N, 3, H, W); N is free."""

LOGITS = "logits"
"""Name of the graph's output (N, C)."""

FEATURES = "features"
"""Name of the graph's output (N, K, h, w)."""

WEIGHTS = "dermhub.weights"
"""Key of the metadata: the sha256 of the model.safetensors that the graph was made from."""

ADVICE = "export the model with python -m dermhub export"
"""Advice about a graph that can't be used."""
