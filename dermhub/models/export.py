"""Exports: folders that answer and explain without PyTorch. The only importer of onnx."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dermhub.arrays import Floats32
from dermhub.errors import ConfigError, ModelError
from dermhub.layout import CONFIG, GRAPH
from dermhub.models.config import ModelConfig
from dermhub.models.engines import graph_metadata, onnx_runtime, select
from dermhub.models.engines.base import Engine
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.folder import ModelFolder

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
    """Write a model as a folder that answers without PyTorch: its graph, with a free batch size,
    its configuration, and the files beside the weights, but no weights.

    The graph is the folder's own where it has one. It is compared with PyTorch on random images
    before anything is written; returns the largest difference. An earlier export at `to` is
    replaced. Raises ModelError for an export, for a model whose class maps need more than its last
    layer, and for a graph that answers otherwise; ConfigError where `to` is anything but an earlier
    export or an empty folder, when onnx is not installed and needed, and when the folder can't be
    written.
    """
    folder = classifier.engine.folder
    if folder.is_export:
        raise ModelError(f"{folder.path} is an export already: export the model's own folder.")
    to = to.resolve()
    _check_free(to)
    engine = select.load_torch(folder)
    exported = (
        OnnxEngine(folder, folder.read(GRAPH)) if GRAPH in folder.config.files else _trace(engine)
    )
    worst = _checked(engine, exported)
    contents = {name: folder.read(name) for name in folder.config.files if name != GRAPH}
    _replace(to, folder.config, {GRAPH: exported.content, **contents})
    return worst


def graph(engine: TorchEngine) -> OnnxEngine | None:
    """The weights of a model as a graph (`layout.GRAPH`), compared as `export` does, in memory.

    None for a model whose class maps need more than its last layer, and for one whose graph would
    be larger than `LARGEST`. Raises ConfigError when onnx or ONNX Runtime is not installed, and
    ModelError when the graph answers otherwise than PyTorch.
    """
    if sum(tensor.numel() for tensor in engine.model.parameters()) * 4 > LARGEST:
        return None
    try:
        exported = _trace(engine)
    except Unsuited:
        return None
    _checked(engine, exported)
    return exported


def _check_free(to: Path) -> None:
    """Refuse a place that holds anything but an earlier export, of which nothing is lost; raises
    ConfigError.
    """
    advice = "give another name for the export, or remove it first"
    if to.exists() and not to.is_dir():
        raise ConfigError(f"{to} is a file, but an export is a folder: {advice}.")
    if not to.exists() or not (names := {path.name for path in to.iterdir()}):
        return
    try:
        earlier = ModelFolder(to)
        stated = {CONFIG, *earlier.config.files}
        is_export = earlier.is_export
    except ModelError:
        stated, is_export = set(), False
    if not is_export or not names <= stated:
        raise ConfigError(f"{to} holds something else than an earlier export: {advice}.")


def _replace(to: Path, config: ModelConfig, contents: dict[str, bytes]) -> None:
    """Write a model folder under another name, and put it in its place only when it is whole."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as scratch:
            made, earlier = Path(scratch, "made"), Path(scratch, "earlier")
            ModelFolder(made).write(config, contents)
            if to.exists():
                to.rename(earlier)
            try:
                made.rename(to)
            except BaseException:  # the scratch folder, and all in it, is removed
                if earlier.exists():
                    earlier.rename(to)
                raise
    except OSError as error:
        raise ConfigError(
            f"{to} can't be written ({error.strerror or error}): choose another folder."
        ) from error


def _trace(engine: TorchEngine) -> OnnxEngine:
    """The graph of a model, with its metadata, loaded; raises Unsuited."""
    shape = (3, engine.config.input.size, engine.config.input.size)
    head = _head_weights(engine.model, shape, engine.config.architecture)
    metadata = graph_metadata.write(engine.config.weights_sha256, head)
    content = _with_metadata(_trace_module(engine.model, shape), metadata)
    return OnnxEngine(engine.folder, content)


def _checked(engine: TorchEngine, other: Engine) -> float:
    """The largest difference of an engine from PyTorch; raises ModelError when it is too large."""
    worst = _difference(engine, other)
    if not worst <= LIMIT:
        raise ModelError(
            f"The ONNX model of {engine.config.architecture} differs from PyTorch by {worst:.1e}, "
            f"expected at most {LIMIT:g}: nothing was written."
        )
    return worst


def _head_weights(model: nn.Module, shape: tuple[int, ...], architecture: str) -> Floats32:
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
            "which an ONNX model makes its class maps: it can't be exported."
        )
    return np.asarray(last.weight.detach().numpy())


def _trace_module(model: nn.Module, shape: tuple[int, ...]) -> bytes:
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
    names = (graph_metadata.INPUT, graph_metadata.LOGITS, graph_metadata.FEATURES)
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
