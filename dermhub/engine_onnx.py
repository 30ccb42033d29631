"""ONNX Runtime runs an exported model: predictions and class maps without PyTorch. The only importer of onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dermhub import onnx_format
from dermhub.engine import Floats
from dermhub.errors import ModelError, some
from dermhub.onnx_format import ADVICE, FEATURES, INPUT, LOGITS


class OnnxEngine:
    """A model that `python -m dermhub export` wrote; see `engine.Engine`.

    `content` is the whole file and `where` its name in messages. Raises ModelError when ONNX Runtime is not installed,
    and for anything but a whole and unchanged export.
    """

    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        self._session = _session(content, where)
        self._texts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        if onnx_format.CONFIG not in self._texts:
            raise ModelError(f"{where} is an ONNX model, but not one that dermhub exported: {ADVICE}.")
        if not onnx_format.is_sealed(content):
            raise ModelError(f"{where} was changed or damaged after its export: copy it again, or {ADVICE}.")
        self.config = onnx_format.read_config(self._texts, where)
        self._weights = onnx_format.read_weights(self._texts, len(self.config.task.classes), where)
        self._check_graph()

    @classmethod
    def load(cls, path: Path) -> OnnxEngine:
        """The model of a file; raises ModelError when it can't be read or is no export."""
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"{str(path)!r} can't be read ({reason}): expected an ONNX file.") from None
        return cls(content, str(path))

    @property
    def model(self) -> Any:
        """Raises ModelError: there is no torch module."""
        raise ModelError(f"{self.where} is an ONNX model, without a PyTorch module: use the model folder for this.")

    def forward(self, batch: Floats) -> tuple[Floats, Floats]:
        """Images (N, 3, H, W) -> logits (N, C) and feature maps (N, K, h, w)."""
        logits, features = self._session.run([LOGITS, FEATURES], {INPUT: batch})
        return logits, features

    def class_maps(self, features: Floats, directions: Floats) -> Floats:
        """Feature maps (N, K, h, w) and directions (D, C) -> evidence (N, D, h, w), at least 0.

        After global average pooling and one linear layer, the gradient of a score is the layer's weights divided by
        h * w at every place, so Grad-CAM is CAM (Zhou et al. 2016) in closed form.
        """
        n, k, h, w = features.shape
        weights = directions @ self._weights / np.float32(h * w)
        return np.maximum(weights @ features.reshape(n, k, h * w), 0).reshape(n, len(directions), h, w)

    def sidecar(self, name: str) -> bytes:
        """The content of a file that stood beside the weights; raises ModelError when there was none of that name."""
        return onnx_format.read_beside(self._texts, name, self.where)

    def _check_graph(self) -> None:
        size, classes, channels = self.config.input.size, *self._weights.shape
        found = {one.name: one.shape[1:] for one in (*self._session.get_inputs(), *self._session.get_outputs())}
        maps = found.get(FEATURES, [])[:1]
        if found | {FEATURES: maps} != {INPUT: [3, size, size], LOGITS: [classes], FEATURES: [channels]}:
            raise ModelError(
                f"{self.where} has a graph with {some(f'{name} {shape}' for name, shape in found.items())}, which does "
                f"not fit its configuration ({size} pixels, {classes} classes, {channels} channels): {ADVICE}."
            )


def version() -> str:
    """ONNX Runtime's version; raises ModelError when it is not installed."""
    return str(_runtime("An ONNX model").__version__)


def _runtime(what: str) -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"{what} needs ONNX Runtime, which can't be imported ({error}): pip install -r requirements-onnx.txt."
        ) from None
    module: ModuleType = onnxruntime
    return module


def _session(content: bytes, where: str) -> Any:
    runtime = _runtime(where)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what matters comes as an exception
    # As PyTorch does; without it ONNX Runtime takes every core.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        options.intra_op_num_threads = int(threads)
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors have no common base of their own.
    except Exception as error:
        raise ModelError(
            f"{where} is no ONNX model that ONNX Runtime can read ({' '.join(str(error).split())[:200]}): "
            "copy it again, or export the model again."
        ) from None
