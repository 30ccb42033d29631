"""Engine on ONNX Runtime: answers and class maps from a model's graph, without PyTorch.

This is the only module that imports onnxruntime.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal

import numpy as np

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.errors import ModelError, some
from dermhub.layout import CONFIG, GRAPH, WEIGHTS
from dermhub.models.engines import graph_check, graph_file, graph_metadata, graph_weights
from dermhub.models.engines.base import Device, check_finite, no_gpu
from dermhub.models.engines.graph_file import Graph, GraphError
from dermhub.models.engines.graph_metadata import ADVICE, FEATURES, INPUT, LOGITS
from dermhub.models.model_folder import ModelFolder

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
"""Names of ONNX Runtime's providers."""

MOST = 256
"""Largest number of threads of a session, whatever the environment says."""

SINGLE = 2**18
"""Multiplications of a matrix product up to which OpenBLAS, and so numpy, uses one thread.

After a larger one its threads wait busily and take a core from the next forward passes
(`benchmarks/load.py`). The limit is that of OpenBLAS's interface/gemm.c (SMP_THRESHOLD_MIN *
GEMM_MULTITHREAD_THRESHOLD).
"""


class OnnxEngine:
    """The model of a folder by its whole graph, whose bytes are `content`; see `base.Engine`.

    Raises ModelError when ONNX Runtime is not installed or can't read the graph, and for a graph
    that was made from other weights, has operators of another kind (`graph_check`), or does not fit
    the configuration; ConfigError where `device` is "cuda" and no GPU can be used.
    """

    runtime = "ONNX Runtime"

    def __init__(self, folder: ModelFolder, content: bytes, device: Device = "cpu") -> None:
        # Copies and pickles are made from these: a session can be neither copied nor saved.
        self.folder = folder.absolute()
        self.content = content
        self.config = folder.config
        where = str(folder.path / GRAPH)
        module(where)
        graph = _read_graph(content, where)
        self._session = _session(content, where, device)
        uses_gpu = self._session.get_providers()[0] == CUDA
        self.device: Literal["cpu", "cuda"] = "cuda" if uses_gpu else "cpu"
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        if metadata.get(graph_metadata.WEIGHTS) != self.config.weights_sha256:
            raise ModelError(
                f"{where} was not made from the weights that {CONFIG} names: measure, export or "
                "fetch the model again."
            )
        with _refusals(where):
            # Class maps need the weights of the last layer outside the graph.
            self._head = graph_check.last_layer(graph)
        self._check_shapes(where)

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxEngine, (self.folder, self.content, self.device)

    def forward(self, batch: Floats32) -> tuple[Floats32, Floats32]:
        """Compute logits (N, C) and feature maps (N, K, h, w) of images (N, 3, H, W)."""
        logits, features = self._session.run([LOGITS, FEATURES], {INPUT: batch})
        check_finite(self.folder, logits, features)
        return logits, features

    def class_maps(self, features: Floats32, directions: Floats32) -> Floats32:
        """Compute the evidence (N, D, h, w), at least 0, for directions (D, C).

        After global average pooling and one linear layer, the gradient of a score is the layer's
        weights divided by h * w at every place, so Grad-CAM is CAM (Zhou et al. 2016) in closed
        form.
        """
        n, k, h, w = features.shape
        places = features.reshape(n, k, h * w)
        step = max(SINGLE // (k * h * w), 1)
        parts = []
        for start in range(0, len(directions), step):
            weights = directions[start : start + step] @ self._head / np.float32(h * w)
            parts.append(weights @ places)
        return np.maximum(np.concatenate(parts, axis=1), 0).reshape(n, len(directions), h, w)

    def _check_shapes(self, where: str) -> None:
        """Raise ModelError where the graph does not fit the configuration or the last layer."""
        size = self.config.input.size
        classes = len(self.config.task.classes)
        channels = self._head.shape[1]
        ends = (*self._session.get_inputs(), *self._session.get_outputs())
        # The first axis, the batch, is free; so are height and width of the feature maps.
        shapes = {end.name: end.shape[1:] for end in ends}
        fixed = shapes | {FEATURES: shapes.get(FEATURES, [])[:1]}
        if fixed != {INPUT: [3, size, size], LOGITS: [classes], FEATURES: [channels]}:
            actual = some(f"{name} {shape}" for name, shape in shapes.items())
            raise ModelError(
                f"{where} has a graph with {actual}, which does not fit its configuration ({size} "
                f"pixels, {classes} classes, {channels} channels): {ADVICE}."
            )


def with_weights(content: bytes, weights: bytes, where: str) -> bytes:
    """Return a graph with its weights, compared with them, given the contents of both files.

    See `graph_weights` and `graph_check`; ONNX Runtime is not needed. Raises ModelError, which
    names the graph as `where`, for a graph that is not of these weights, or is not run here.
    """
    arrays = tensors.read(weights, WEIGHTS)
    with _unreadable(where):
        whole, given = graph_weights.join(content, weights)
    graph = _read_graph(whole, where)
    with _refusals(where):
        graph_check.check_weights(graph, arrays, given)
    return whole


@contextlib.contextmanager
def _refusals(where: str) -> Iterator[None]:
    """Turn a GraphError into a ModelError, which names the graph as `where`."""
    try:
        yield
    except GraphError as error:
        raise ModelError(
            f"{where} is not the graph of {WEIGHTS} ({error}): fetch the model again, or remove "
            f"the graph from {CONFIG} and measure the model."
        ) from None


def _read_graph(content: bytes, where: str) -> Graph:
    """Read the nodes and constants of a graph; raises ModelError for one that is not run here.

    It comes before ONNX Runtime sees the graph, which would unfold or run whatever is in it.
    """
    with _unreadable(where):
        graph = graph_file.read(content)
        graph_check.check_operators(graph)
    return graph


@contextlib.contextmanager
def _unreadable(where: str) -> Iterator[None]:
    """Turn a GraphError of a file that is not run here into a ModelError, as `_refusals`."""
    try:
        yield
    except GraphError as error:
        raise ModelError(
            f"{where} is no ONNX model that ONNX Runtime can read ({error}): copy it again, or "
            "export the model again."
        ) from None


def installed() -> bool:
    """Return True where ONNX Runtime can be imported."""
    try:
        module("")
    except ModelError:
        return False
    return True


def version() -> str:
    """Return ONNX Runtime's version; raises ModelError when it is not installed."""
    return str(module("An ONNX model").__version__)


def has_cuda() -> bool:
    """Return True where ONNX Runtime is a build for CUDA; a GPU need not be there."""
    return installed() and CUDA in module("").get_available_providers()


def module(user: str) -> ModuleType:
    """Import onnxruntime with its telemetry off.

    Raises ModelError where it can't be imported; the sentence says that `user` needs it.
    """
    # From 1.29 on its builds for Linux report every session to Microsoft, model hashes included,
    # and leave files behind.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime

        # The variable comes too late where the package was imported before.
        getattr(onnxruntime, "disable_telemetry_events", lambda: None)()
        # A folder of that name is imported as well, but has no sessions.
        onnxruntime.InferenceSession  # noqa: B018
    # A build for another processor or Python may raise any error.
    except Exception as error:
        raise ModelError(
            f"{user} needs ONNX Runtime, which can't be imported ({error}): pip install "
            "onnxruntime."
        ) from None
    package: ModuleType = onnxruntime
    return package


def _session(content: bytes, where: str, device: Device) -> Any:
    """Load a graph into ONNX Runtime.

    Raises ModelError for bytes that it can't read, and ConfigError for a GPU that it can't use.
    """
    runtime = module(where)
    options = runtime.SessionOptions()
    # Only fatal errors are logged: all that matters also comes as an exception.
    options.log_severity_level = 4
    # Threads that wait for work keep their cores busy. That saves time between two layers, but from
    # the end of an answer on it only slows down what comes next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # PyTorch heeds this variable, too; without it ONNX Runtime takes every core.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        options.intra_op_num_threads = min(int(threads), MOST)
    if device != "cpu" and has_cuda():
        # Without a driver or a library some versions raise, and others compute on the processor.
        with contextlib.suppress(Exception):
            session = runtime.InferenceSession(content, options, providers=[CUDA, CPU])
            if session.get_providers()[0] == CUDA:
                return session
    if device == "cuda":
        raise no_gpu("ONNX Runtime", "the package onnxruntime-gpu in place of onnxruntime")
    try:
        return runtime.InferenceSession(content, options, providers=[CPU])
    # ONNX Runtime's errors have no common base of their own.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{where} is no ONNX model that ONNX Runtime can read ({reason}): copy it again, or "
            "export the model again."
        ) from None
