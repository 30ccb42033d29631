"""ONNX Runtime runs a model as a graph: answers and class maps without PyTorch. The only importer
of onnxruntime.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import numpy as np

from dermhub.arrays import Floats32
from dermhub.errors import ModelError, some
from dermhub.layout import CONFIG, GRAPH
from dermhub.models.engines import graph_metadata
from dermhub.models.engines.graph_metadata import ADVICE, FEATURES, INPUT, LOGITS
from dermhub.models.folder import ModelFolder

MOST = 256
"""Threads that a session takes at most, whatever the environment says."""


class OnnxEngine:
    """The model of a folder by its graph, whose bytes are `content`; see `base.Engine`.

    Raises ModelError when ONNX Runtime is not installed, for what it can't read, and for a graph
    that was made from other weights or does not fit the configuration.
    """

    runtime = "ONNX Runtime"

    def __init__(self, folder: ModelFolder, content: bytes) -> None:
        # Copies and pickles are made from these: a session can be neither copied nor saved.
        self.folder, self.content = folder.absolute(), content
        self.config = folder.config
        where = str(folder.path / GRAPH)
        self._session = _session(content, where)
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        if metadata.get(graph_metadata.WEIGHTS) != self.config.weights_sha256:
            raise ModelError(
                f"{where} was not made from the weights that {CONFIG} names: measure, export or "
                "fetch the model again."
            )
        self._head = graph_metadata.read_head(metadata, len(self.config.task.classes), where)
        self._check_shapes(where)

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxEngine, (self.folder, self.content)

    def forward(self, batch: Floats32) -> tuple[Floats32, Floats32]:
        """Images (N, 3, H, W) -> logits (N, C) and feature maps (N, K, h, w)."""
        logits, features = self._session.run([LOGITS, FEATURES], {INPUT: batch})
        return logits, features

    def class_maps(self, features: Floats32, directions: Floats32) -> Floats32:
        """Feature maps (N, K, h, w) and directions (D, C) -> evidence (N, D, h, w), at least 0.

        After global average pooling and one linear layer, the gradient of a score is the layer's
        weights divided by h * w at every place, so Grad-CAM is CAM (Zhou et al. 2016) in closed
        form.
        """
        n, k, h, w = features.shape
        weights = directions @ self._head / np.float32(h * w)
        return np.maximum(weights @ features.reshape(n, k, h * w), 0).reshape(
            n, len(directions), h, w
        )

    def _check_shapes(self, where: str) -> None:
        size, classes, channels = self.config.input.size, *self._head.shape
        ends = (*self._session.get_inputs(), *self._session.get_outputs())
        shapes = {end.name: end.shape[1:] for end in ends}
        maps = shapes.get(FEATURES, [])[:1]
        if shapes | {FEATURES: maps} != {
            INPUT: [3, size, size],
            LOGITS: [classes],
            FEATURES: [channels],
        }:
            raise ModelError(
                f"{where} has a graph with "
                f"{some(f'{name} {shape}' for name, shape in shapes.items())}, which does not fit "
                f"its configuration ({size} pixels, {classes} classes, {channels} channels): "
                f"{ADVICE}."
            )


def installed() -> bool:
    """Whether ONNX Runtime can be imported here."""
    try:
        module("")
    except ModelError:
        return False
    return True


def version() -> str:
    """ONNX Runtime's version; raises ModelError when it is not installed."""
    return str(module("An ONNX model").__version__)


def module(what: str) -> ModuleType:
    """The package onnxruntime, for `what` in messages, with its telemetry off; raises ModelError
    without it.
    """
    # From 1.29 on its builds for Linux tell Microsoft of every session, model hashes included, and
    # leave files behind.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime

        # For those who have imported it before.
        getattr(onnxruntime, "disable_telemetry_events", lambda: None)()
        onnxruntime.InferenceSession  # noqa: B018  (a folder of that name is imported as well)
    # A build for another processor or Python raises what it likes.
    except Exception as error:
        raise ModelError(
            f"{what} needs ONNX Runtime, which can't be imported ({error}): pip install -r "
            "requirements-onnx.txt."
        ) from None
    package: ModuleType = onnxruntime
    return package


def _session(content: bytes, where: str) -> Any:
    runtime = module(where)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what matters comes as an exception
    # As PyTorch does; without it ONNX Runtime takes every core.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        options.intra_op_num_threads = min(int(threads), MOST)
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors have no common base of their own.
    except Exception as error:
        raise ModelError(
            f"{where} is no ONNX model that ONNX Runtime can read "
            f"({' '.join(str(error).split())[:200]}): copy it again, or export the model again."
        ) from None
