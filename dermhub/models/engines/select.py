"""The choice of the engine that computes a model's answers: PyTorch or ONNX Runtime."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, get_args

from dermhub import installation, tensors
from dermhub.errors import ConfigError, ModelError, some
from dermhub.layout import GRAPH, WEIGHTS
from dermhub.models.engines import graph_weights, onnx_runtime
from dermhub.models.engines.base import Device, Engine
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.model_folder import ModelFolder

if TYPE_CHECKING:
    from torch import nn

    from dermhub.models.engines.pytorch import TorchEngine

WITHOUT_TORCH = (
    f"Without it, the model answers by its {GRAPH} where ONNX Runtime is installed: pip install "
    "onnxruntime."
)

Runtime = Literal["auto", "torch", "onnx"]
"""Name of the runtime that computes.

"auto" is ONNX Runtime where it is installed and the model has a graph, because it is faster then
(`benchmarks/engines.py`). On s390x, where that was not measured, it is PyTorch. An export, which
has nothing but the graph, always runs on ONNX Runtime.
"""


def load(folder: ModelFolder, runtime: Runtime = "auto", device: Device = "cpu") -> Engine:
    """Load a model folder into the given runtime.

    "auto" is also PyTorch where a GPU is asked for that ONNX Runtime can't use. Raises ConfigError
    for a runtime that can't run the model and for a device that can't be used, and ModelError when
    the folder is not a whole and matching model.
    """
    if device not in get_args(Device):
        raise ConfigError(f"The device is {device!r}, expected {some(get_args(Device))}.")
    if runtime not in get_args(Runtime):
        raise ConfigError(f"The runtime is {runtime!r}, expected {some(get_args(Runtime))}.")
    if folder.is_export:
        if runtime == "torch":
            raise ConfigError(
                f"{folder.path} is an exported model without {WEIGHTS}, which PyTorch can't run: "
                "give the model's own folder."
            )
        # Before the graph is read, so that the sentence about a missing runtime names the folder.
        onnx_runtime.module(str(folder.path))
        return OnnxEngine(folder, _read_export(folder), device)
    needs_torch = device == "cuda" and not onnx_runtime.has_cuda()
    if runtime == "onnx" or (runtime == "auto" and prefers_graph() and not needs_torch):
        engine = _load_graph(folder, runtime == "onnx", device)
        if engine is not None:
            return engine
    if runtime == "onnx":
        raise ConfigError(
            f"{folder.path} can't be run by ONNX Runtime: it needs the package onnxruntime and a "
            f"{GRAPH} in the folder. Leave the runtime out, or export the model and load the "
            "export."
        )
    torch_engine = load_torch(folder, device)
    if GRAPH in folder.config.files:
        # PyTorch does not need the graph, but a folder with another graph is not the one that was
        # measured.
        folder.check(GRAPH)
    return torch_engine


def check(folder: ModelFolder) -> None:
    """Check the weights and the graph of a folder as loading does, without PyTorch.

    Raises ModelError for what is not whole, and for a graph of other weights.
    """
    weights = b""
    if not folder.is_export:
        weights = folder.read(WEIGHTS)
        tensors.check(weights, str(folder.path / WEIGHTS))
    if GRAPH not in folder.config.files:
        return
    if weights:
        where = str(folder.path / GRAPH)
        content = onnx_runtime.with_weights(folder.read(GRAPH), weights, where)
    else:
        content = _read_export(folder)
    if onnx_runtime.installed():
        OnnxEngine(folder, content)


def prefers_graph() -> bool:
    """Return True where "auto" prefers a model's graph to PyTorch: on little-endian machines."""
    return sys.byteorder == "little"


def load_torch(folder: ModelFolder, device: Device = "cpu") -> TorchEngine:
    """Load a model folder into PyTorch, which takes seconds to import.

    Raises ModelError where PyTorch is not installed, and for an export; ConfigError for a device
    that can't be used.
    """
    kind = _torch_engine(folder, device)
    import torch

    # Weights made in inference mode could never be differentiated or trained.
    with torch.inference_mode(False):
        return kind(folder, device)


def torch_module(engine: Engine) -> nn.Module:
    """Return the torch module of a loaded model, in evaluation mode.

    It is loaded now where another runtime answers. Raises ModelError where PyTorch is not
    installed, and for an export.
    """
    if isinstance(engine, _torch_engine(engine.folder)):
        return engine.model
    return load_torch(engine.folder).model


def _torch_engine(folder: ModelFolder, device: Device = "cpu") -> type[TorchEngine]:
    """Import `TorchEngine`.

    Without PyTorch or timm it raises ModelError, naming the folder, or ConfigError where a GPU was
    asked for.
    """
    try:
        from dermhub.models.engines.pytorch import TorchEngine
    except ModuleNotFoundError as error:
        install = installation.advice(error.name or "")
        if device == "cuda":
            raise ConfigError(
                f"The device is 'cuda', which needs {error.name} ({install}) or, for a model with "
                f"a {GRAPH}, onnxruntime-gpu in place of onnxruntime. Without device='cuda' the "
                "model computes on the processor."
            ) from None
        if GRAPH in folder.config.files:
            answers = "" if onnx_runtime.installed() else f" {WITHOUT_TORCH}"
            raise ModelError(
                f"{folder.path} needs {error.name} for this, which is not installed: {install}."
                f"{answers}"
            ) from None
        raise ModelError(
            f"{folder.path} has no {GRAPH}, so that PyTorch alone can run it, and {error.name} is "
            f"not installed: {install}. Without it, models with a {GRAPH} answer, such as lesion "
            "and binary."
        ) from None
    return TorchEngine


def _read_export(folder: ModelFolder) -> bytes:
    """Read the graph of an export; raises ModelError for one that does not hold its weights."""
    content = folder.read(GRAPH)
    if graph_weights.takes_any(content):
        raise ModelError(
            f"{folder.path} has no {WEIGHTS}, from which its {GRAPH} takes the weights: it was not "
            "copied whole. Copy or fetch the whole model folder."
        )
    return content


def _load_graph(folder: ModelFolder, demanded: bool, device: Device) -> OnnxEngine | None:
    """Load the graph of a folder; None without a graph or without ONNX Runtime.

    Damaged weights give None, too, so that PyTorch's engine, which knows every tensor, reports the
    damage. With `demanded`, and where PyTorch is not installed, they raise ModelError here.
    """
    if GRAPH not in folder.config.files or not onnx_runtime.installed():
        return None
    try:
        weights = folder.read(WEIGHTS)
    except ModelError as damage:
        if demanded:
            raise
        try:
            _torch_engine(folder)
        except ModelError:
            raise damage from None
        return None
    where = str(folder.path / GRAPH)
    content = onnx_runtime.with_weights(folder.read(GRAPH), weights, where)
    return OnnxEngine(folder, content, device)
