"""A model folder -> one ONNX file that answers and explains without PyTorch. The only importer of
onnx.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dermhub import files, layout
from dermhub.arrays import Floats32
from dermhub.errors import ConfigError, ModelError
from dermhub.models.engines import onnx_file, onnx_runtime
from dermhub.models.engines.base import Engine

if TYPE_CHECKING:
    from torch import nn

    from dermhub.models.classifier import Classifier
    from dermhub.models.engines.pytorch import TorchEngine


OPSET = 17
"""ONNX operator set: read by Debian 13's ONNX Runtime, and within what IBM's zDLC takes, whose
compiler supports the operators of up to opset 18 since 2023 and of 22 now (onnx-mlir,
docs/SupportedONNXOps-cpu.md and -NNPA.md).
"""


LIMIT = 1e-4
"""Largest accepted difference from PyTorch, as a share of the largest value where that is above
1.
"""


LARGEST = 40_000_000
"""Bytes above which a folder gets no graph, the most that this project ships of a model: that of
EfficientNet-B4 would take 71 MB.
"""


class Unsuited(ModelError):
    """A model that ends in more than global average pooling and one linear layer."""


def export(classifier: Classifier, to: Path) -> float:
    """Write a model as an ONNX file with a free batch size; returns the largest difference from
    PyTorch.

    The file is compared with PyTorch on random images before it is written. Raises ModelError for a
    model whose class maps need more than its last layer, or whose file answers otherwise;
    ConfigError for a name without .onnx, when onnx is not installed, and when the file can't be
    written.
    """
    if to.suffix != onnx_file.SUFFIX:
        raise ConfigError(
            f"{to} is no name for an ONNX file: expected one that ends in {onnx_file.SUFFIX}."
        )
    if not classifier.folder.is_dir():
        raise ModelError(
            f"{classifier.folder} is an ONNX model already: export the model's folder."
        )
    if to.resolve() == (classifier.folder / layout.GRAPH).resolve():
        raise ConfigError(
            f"{to} is the graph that belongs to the model's folder: give another name for the "
            "export."
        )
    engine = onnx_runtime.by_torch(classifier.folder)
    beside = {name: engine.sidecar(name) for name in engine.config.files if name != layout.GRAPH}
    config = dataclasses.replace(
        engine.config, files={name: engine.config.files[name] for name in beside}
    )
    trace, weights = _graph(engine)
    content = onnx_file.seal(_with_metadata(trace, onnx_file.metadata(config, weights, beside)))
    worst = _checked(engine, onnx_runtime.OnnxEngine(content, str(to)))
    files.write_bytes(to, content)
    return worst


def graph(folder: Path) -> bytes | None:
    """The content of `layout.GRAPH` of a model folder: its weights as a graph, compared as `export`
    does.

    None for a model whose class maps need more than its last layer, and for one whose graph would
    be larger than `LARGEST`. Raises ConfigError when onnx or ONNX Runtime is not installed, and
    ModelError when the graph answers otherwise than PyTorch.
    """
    engine = onnx_runtime.by_torch(folder)
    if sum(tensor.numel() for tensor in engine.model.parameters()) * 4 > LARGEST:
        return None
    try:
        trace, weights = _graph(engine)
    except Unsuited:
        return None
    content = _with_metadata(trace, onnx_file.graph_metadata(engine.config.weights_sha256, weights))
    _checked(engine, onnx_runtime.FolderEngine(folder, engine.config, content))
    return content


def _graph(engine: TorchEngine) -> tuple[bytes, Floats32]:
    """The traced graph of a model and its last layer's weights (C, K)."""
    shape = (3, engine.config.input.size, engine.config.input.size)
    weights = _weights(engine.model, shape, engine.config.architecture)
    return _trace(engine.model, shape), weights


def _checked(engine: TorchEngine, other: Engine) -> float:
    """The largest difference of an engine from PyTorch; raises ModelError when it is too large."""
    worst = _difference(engine, other)
    if not worst <= LIMIT:
        raise ModelError(
            f"The ONNX model of {engine.config.architecture} differs from PyTorch by {worst:.1e}, "
            "expected at most "
            f"{LIMIT:g}: nothing was written."
        )
    return worst


def _weights(model: nn.Module, shape: tuple[int, ...], architecture: str) -> Floats32:
    """The last layer's weights (C, K), if that layer after global average pooling is all that the
    head does.
    """
    import torch

    from dermhub.models import backbone

    last = backbone.classifier(model)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        maps = backbone.features(model, torch.zeros(1, *shape))
        maps = torch.randn(maps.shape, generator=generator)
        logits = backbone.head(model, maps)
        pooled = maps.mean(dim=(2, 3))
        alike = pooled.shape[1] == last.in_features and torch.allclose(
            logits, last(pooled), rtol=1e-4, atol=1e-5
        )
    if not alike:
        raise Unsuited(
            f"{architecture} ends in more than global average pooling and one linear layer, from "
            "which an ONNX model "
            "makes its class maps: it can't be exported."
        )
    return np.asarray(last.weight.detach().numpy())


def _trace(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The graph with both outputs, by PyTorch's exporter."""
    import torch

    from dermhub.models import backbone

    class Both(torch.nn.Module):
        """Logits and feature maps."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = backbone.features(self.inner, images)
            return backbone.head(self.inner, maps), maps

    stream = io.BytesIO()
    names = (onnx_file.INPUT, onnx_file.LOGITS, onnx_file.FEATURES)
    _onnx()
    with warnings.catch_warnings():
        # The exporter that needs nothing but onnx is an old one, and says so; what it traced is
        # compared below.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Both().eval(),
            (torch.zeros(2, *shape),),
            stream,  # type: ignore[arg-type]
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
    return stream.getvalue()


def _with_metadata(content: bytes, texts: dict[str, str]) -> bytes:
    """The checked model with its metadata."""
    onnx = _onnx()
    model = onnx.load_model_from_string(content)
    for key, value in texts.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _difference(engine: TorchEngine, other: Engine) -> float:
    """The largest difference between two engines: logits, feature maps and class maps of random
    images.
    """
    config, worst = engine.config, 0.0
    rng = np.random.default_rng(0)
    directions = np.eye(len(config.task.classes), dtype=np.float32)
    for number in (1, 3):
        images = rng.standard_normal((number, 3, config.input.size, config.input.size), np.float32)
        answers = []
        for one in (engine, other):
            logits, features = one.forward(images)
            answers.append((logits, features, one.class_maps(features, directions)))
        for mine, its in zip(*answers, strict=True):
            worst = max(
                worst, float(np.abs(mine - its).max() / max(1.0, float(np.abs(mine).max())))
            )
    return worst


def installed() -> bool:
    """Whether onnx and ONNX Runtime can be imported here."""
    try:
        _onnx()
    except ConfigError:
        return False
    return onnx_runtime.installed()


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(
            f"The export needs the package onnx, which can't be imported ({error}): pip install "
            "onnx onnxruntime."
        ) from None
    return onnx
