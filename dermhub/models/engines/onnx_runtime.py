"""ONNX Runtime runs a model as a graph: answers and class maps without PyTorch. The only importer
of onnxruntime.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dermhub import files
from dermhub.arrays import Floats32
from dermhub.errors import ModelError, some
from dermhub.layout import CONFIG, GRAPH, WEIGHTS
from dermhub.models.config import ModelConfig
from dermhub.models.engines import onnx_file
from dermhub.models.engines.onnx_file import ADVICE, FEATURES, INPUT, LOGITS
from dermhub.models.folder import read_config

if TYPE_CHECKING:
    from dermhub.models.engines.pytorch import TorchEngine


MOST = 256
"""Threads that a session takes at most, whatever the environment says."""


class Graph:
    """A graph with its last layer's weights in its metadata; `where` is its name in messages.

    Raises ModelError when ONNX Runtime is not installed, and for what it can't read.
    """

    runtime = "ONNX Runtime"
    config: ModelConfig

    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        # Copies and pickles are made from it: a session can be neither copied nor saved.
        self._content = content
        self._session = _session(content, where)
        self._texts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

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
        weights = directions @ self._weights / np.float32(h * w)
        return np.maximum(weights @ features.reshape(n, k, h * w), 0).reshape(
            n, len(directions), h, w
        )

    def _mean(self, config: ModelConfig) -> None:
        """Take the configuration over; raises ModelError where the graph does not fit it."""
        self.config = config
        self._weights = onnx_file.read_weights(self._texts, len(config.task.classes), self.where)
        self._check_graph()

    def _check_graph(self) -> None:
        size, classes, channels = self.config.input.size, *self._weights.shape
        found = {
            one.name: one.shape[1:]
            for one in (*self._session.get_inputs(), *self._session.get_outputs())
        }
        maps = found.get(FEATURES, [])[:1]
        if found | {FEATURES: maps} != {
            INPUT: [3, size, size],
            LOGITS: [classes],
            FEATURES: [channels],
        }:
            raise ModelError(
                f"{self.where} has a graph with "
                f"{some(f'{name} {shape}' for name, shape in found.items())}, which does "
                f"not fit its configuration ({size} pixels, {classes} classes, {channels} "
                f"channels): {ADVICE}."
            )


class FolderEngine(Graph):
    """The model of a folder that has `layout.GRAPH`, whose bytes are `content`.

    PyTorch is imported by `model` alone. Raises ModelError when the graph was made from other
    weights than those of the folder.
    """

    def __init__(self, folder: Path, config: ModelConfig, content: bytes) -> None:
        super().__init__(content, str(folder / GRAPH))
        self.folder = folder.absolute()
        if self._texts.get(onnx_file.WEIGHTS) != config.weights_sha256:
            raise ModelError(
                f"{self.where} was not made from the weights beside it: measure or fetch the model "
                "again."
            )
        self._mean(config)

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderEngine, (self.folder, self.config, self._content)

    @functools.cached_property
    def model(self) -> Any:
        """The torch module, in evaluation mode; answers come from the graph."""
        return by_torch(self.folder).model

    def sidecar(self, name: str) -> bytes:
        """The content of another file of the folder; raises ModelError when it can't be read."""
        return files.read_part(self.folder / name)


class OnnxEngine(Graph):
    """A model that `python -m dermhub export` wrote; see `base.Engine`.

    `content` is the whole file and `where` its name in messages. Raises ModelError when ONNX
    Runtime is not installed, and for anything but a whole and unchanged export.
    """

    def __init__(self, content: bytes, where: str) -> None:
        super().__init__(content, where)
        if onnx_file.WEIGHTS in self._texts:
            raise ModelError(
                f"{where} is the graph of a model's folder: give the folder, or an exported file."
            )
        if onnx_file.CONFIG not in self._texts:
            raise ModelError(
                f"{where} is an ONNX model, but not one that dermhub exported: {ADVICE}."
            )
        if not onnx_file.is_sealed(content):
            raise ModelError(
                f"{where} was changed or damaged after its export: copy it again, or {ADVICE}."
            )
        self._mean(onnx_file.read_config(self._texts, where))

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxEngine, (self._content, self.where)

    @classmethod
    def load(cls, path: Path) -> OnnxEngine:
        """The model of a file; raises ModelError when it can't be read or is no export."""
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelError(
                f"{str(path)!r} can't be read ({reason}): expected an ONNX file."
            ) from None
        return cls(content, str(path))

    @property
    def model(self) -> Any:
        """Raises ModelError: there is no torch module."""
        raise ModelError(
            f"{self.where} is an ONNX model, without a PyTorch module: use the model folder for "
            "this."
        )

    def sidecar(self, name: str) -> bytes:
        """The content of a file that stood beside the weights; raises ModelError when there was
        none of that name.
        """
        return onnx_file.read_beside(self._texts, name, self.where)


def open_folder(folder: Path, demanded: bool = False) -> FolderEngine | None:
    """The engine of a whole model folder with a graph, where ONNX Runtime can be imported; None for
    any other.

    What is wrong with a folder's weights is left to PyTorch's engine to tell, which knows every
    tensor; with `demanded` it is told here. Raises ModelError for a graph that is not the stated
    one.
    """
    if not demanded and not ((folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()):
        return None
    config = read_config(folder)
    if GRAPH not in config.files or not installed():
        return None
    try:
        files.check_sha256(folder / WEIGHTS, config.weights_sha256, CONFIG, files.CHANGED)
    except ModelError:
        if demanded:
            raise
        return None
    files.check_sha256(folder / GRAPH, config.files[GRAPH], CONFIG, files.CHANGED)
    return FolderEngine(folder, config, files.read_part(folder / GRAPH))


def by_torch(folder: Path) -> TorchEngine:
    """The engine of PyTorch instead, which takes seconds to import; raises ModelError where it is
    not installed.
    """
    try:
        import torch

        from dermhub.models.engines.pytorch import TorchEngine
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{folder} needs {error.name} for this, which is not installed: pip install -r "
            "requirements.txt. Without "
            f"it, models answer that are exported, or have a {GRAPH} where ONNX Runtime is "
            "installed."
        ) from None
    # Weights that are made in inference mode could never be differentiated or trained.
    with torch.inference_mode(False):
        return TorchEngine(folder)


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
    found: ModuleType = onnxruntime
    return found


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
            f"({' '.join(str(error).split())[:200]}): "
            "copy it again, or export the model again."
        ) from None
