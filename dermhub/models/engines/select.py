"""The choice of what computes a model's answers: PyTorch, or ONNX Runtime."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, get_args

from dermhub.errors import ConfigError, ModelError, some
from dermhub.layout import GRAPH, WEIGHTS
from dermhub.models.engines import onnx_runtime
from dermhub.models.engines.base import Engine
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.folder import ModelFolder

if TYPE_CHECKING:
    from torch import nn

    from dermhub.models.engines.pytorch import TorchEngine

Runtime = Literal["auto", "torch", "onnx"]
"""What computes; "auto" is ONNX Runtime where it is installed and the model has a graph, because
it is faster then (benchmarks/engines.py), but not on s390x, where that was not measured, unless
the model has nothing but the graph.
"""


def load(folder: ModelFolder, runtime: Runtime = "auto") -> Engine:
    """Load a model folder into the runtime that is asked for.

    Raises ConfigError for a runtime that can't run the model, and ModelError when the folder is not
    a whole and matching model.
    """
    if runtime not in get_args(Runtime):
        raise ConfigError(f"The runtime is {runtime!r}, expected {some(get_args(Runtime))}.")
    if folder.is_export:
        if runtime == "torch":
            raise ConfigError(
                f"{folder.path} is an exported model without {WEIGHTS}, which PyTorch can't run: "
                "give the model's own folder."
            )
        onnx_runtime.module(str(folder.path))  # without it, the sentence names the folder
        return OnnxEngine(folder, folder.read(GRAPH))
    if runtime == "onnx" or (runtime == "auto" and prefers_graph()):
        engine = _load_graph(folder, demanded=runtime == "onnx")
        if engine is not None:
            return engine
    if runtime == "onnx":
        raise ConfigError(
            f"{folder.path} can't be run by ONNX Runtime: it needs the package onnxruntime and a "
            f"{GRAPH} in the folder. Leave the runtime out, or export the model and load the "
            "export."
        )
    torch_engine = load_torch(folder)
    if GRAPH in folder.config.files:
        # PyTorch does not need it, but with another one the folder is not the one that was
        # measured.
        folder.check(GRAPH)
    return torch_engine


def prefers_graph() -> bool:
    """Whether "auto" takes a model's graph on this machine, where ONNX Runtime is installed."""
    return sys.byteorder == "little"


def load_torch(folder: ModelFolder) -> TorchEngine:
    """Load a model folder into PyTorch, which takes seconds to import; raises ModelError where it
    is not installed, and for an export.
    """
    kind = _torch_engine(folder)
    import torch

    # Weights that are made in inference mode could never be differentiated or trained.
    with torch.inference_mode(False):
        return kind(folder)


def torch_module(engine: Engine) -> nn.Module:
    """The torch module of a loaded model, in evaluation mode; where another runtime answers, it is
    loaded now.

    Raises ModelError where PyTorch is not installed, and for an export.
    """
    if isinstance(engine, _torch_engine(engine.folder)):
        return engine.model
    return load_torch(engine.folder).model


def _torch_engine(folder: ModelFolder) -> type[TorchEngine]:
    try:
        from dermhub.models.engines.pytorch import TorchEngine
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{folder.path} needs {error.name} for this, which is not installed: pip install -r "
            f"requirements.txt. Without it, models answer that are exported, or have a {GRAPH} "
            "where ONNX Runtime is installed."
        ) from None
    return TorchEngine


def _load_graph(folder: ModelFolder, demanded: bool) -> OnnxEngine | None:
    """The engine of a folder's graph; None where there is none or ONNX Runtime is not installed.

    What is wrong with the weights is left to PyTorch's engine to tell, which knows every tensor;
    with `demanded` it is told here.
    """
    if GRAPH not in folder.config.files or not onnx_runtime.installed():
        return None
    try:
        folder.check(WEIGHTS)
    except ModelError:
        if demanded:
            raise
        return None
    return OnnxEngine(folder, folder.read(GRAPH))
