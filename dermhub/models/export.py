"""Exports: model folders that answer and explain without PyTorch.

This is the only module that imports onnx.
"""

from __future__ import annotations

import io
import math
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.errors import ConfigError, ModelError
from dermhub.layout import CONFIG, GRAPH, WEIGHTS
from dermhub.models.config import ModelConfig
from dermhub.models.engines import graph_metadata, graph_weights, onnx_runtime, select
from dermhub.models.engines.base import Engine
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.own_folder import OwnFolder
from dermhub.tensors import Header

if TYPE_CHECKING:
    from torch import nn

    from dermhub.models.classifier import Classifier
    from dermhub.models.engines.pytorch import TorchEngine

OPSET = 17
"""ONNX operator set: read by Debian 13's ONNX Runtime, and supported by IBM's zDLC.

zDLC's compiler supports the operators of up to opset 18 since 2023 and of 22 now (onnx-mlir,
docs/SupportedONNXOps-cpu.md and -NNPA.md).
"""

LIMIT = 1e-4
"""Largest accepted difference from PyTorch, as a share of the largest value if that is above 1."""

INNER = "traced."
"""Start of the name of a weight in a traced graph, before its name in model.safetensors."""

SCRATCH = ".dermhub-export-"
"""Start of the name of a folder in which an export becomes whole; it lies beside the export."""


class Unsuited(ModelError):
    """A model that ends in more than global average pooling and one linear layer."""


class Made(NamedTuple):
    """A folder's graph, which takes its weights from model.safetensors, and the engine by it."""

    content: bytes
    engine: OnnxEngine


def export(classifier: Classifier, to: Path) -> float:
    """Write a model as a folder that answers without PyTorch, and return its largest difference.

    The folder gets the graph, with its weights and a free batch size, the configuration, and the
    files beside the weights, but no model.safetensors. The graph is the folder's own where it has
    one. It is compared with PyTorch on random images before anything is written. An earlier export
    at `to` is replaced.
    Raises ModelError for an export, for a model whose class maps need more than its last layer, and
    for a graph that differs too much; ConfigError where `to` is anything but an earlier export or
    an empty folder, when onnx is needed and not installed, and when the folder can't be written.
    """
    folder = classifier.engine.folder
    if folder.is_export:
        raise ModelError(f"{folder.path} is an export already: export the model's own folder.")
    to = to.resolve()
    _check_free(to, to)
    engine = select.load_torch(folder)
    if GRAPH in folder.config.files:
        where = str(folder.path / GRAPH)
        content = onnx_runtime.with_weights(folder.read(GRAPH), folder.read(WEIGHTS), where)
    else:
        content = _trace(engine)
    exported = OnnxEngine(folder, content)
    difference = _checked_difference(engine, exported)
    contents = {name: folder.read(name) for name in folder.config.files if name != GRAPH}
    _replace(to, folder.config, {GRAPH: exported.content, **contents})
    return difference


def graph(engine: TorchEngine) -> Made | None:
    """Make the graph (`layout.GRAPH`) of a model in memory, compared with PyTorch as in `export`.

    None for a model whose class maps need more than its last layer, and for one whose graph can't
    take its weights from model.safetensors (`graph_check`). Raises ConfigError when onnx or ONNX
    Runtime is not installed, and ModelError when the graph differs too much from PyTorch.
    """
    weights = engine.folder.read(WEIGHTS)
    try:
        content = _without_weights(_trace(engine), tensors.read_header(weights, len(weights)))
    except Unsuited:
        return None
    try:
        whole = onnx_runtime.with_weights(content, weights, GRAPH)
    except ModelError:
        # In some networks layers compute their weights, and loading would refuse the graph.
        return None
    made = Made(content, OnnxEngine(engine.folder, whole))
    _checked_difference(engine, made.engine)
    return made


def difference(engine: TorchEngine, other: Engine) -> float:
    """Return the largest difference between two engines on random images.

    It counts logits, feature maps and class maps, in batches of two sizes, and is a share of the
    largest value where that is above 1. NaN stands for answers that are no finite numbers.
    """
    size = engine.config.input.size
    directions = np.eye(len(engine.config.task.classes), dtype=np.float32)
    rng = np.random.default_rng(0)
    differences = []
    for number in (1, 3):
        images = rng.standard_normal((number, 3, size, size), np.float32)
        try:
            expected, actual = (_arrays(each, images, directions) for each in (engine, other))
        except ModelError:
            # An engine raises it for an answer that is no finite number.
            return math.nan
        for mine, its in zip(expected, actual, strict=True):
            scale = max(1.0, float(np.abs(mine).max()))
            differences.append(np.abs(mine - its).max() / scale)
    # Unlike Python's own, this maximum is NaN where any difference is.
    return float(np.max(differences))


def installed() -> bool:
    """Return True where onnx and ONNX Runtime can be imported."""
    try:
        _onnx()
    except ConfigError:
        return False
    return onnx_runtime.installed()


def check_packages() -> None:
    """Raise ConfigError where onnx or ONNX Runtime, which an export needs, is not installed."""
    _onnx()
    onnx_runtime.module("The export")


def _check_free(place: Path, name: Path) -> None:
    """Raise ConfigError for a place that holds anything but an earlier export; `name` names it.

    Replacing an export loses nothing: it can be made again.
    """
    advice = "give another name for the export, or remove it first"
    if not place.exists():
        return
    if not place.is_dir():
        raise ConfigError(f"{name} is a file, but an export is a folder: {advice}.")
    names = {path.name for path in place.iterdir()}
    if not names:
        return
    try:
        earlier = ModelFolder(place)
        stated = {CONFIG, *earlier.config.files}
        is_export = earlier.is_export
    except ModelError:
        stated = set()
        is_export = False
    if not is_export or not names <= stated:
        raise ConfigError(f"{name} holds something else than an earlier export: {advice}.")


def _replace(to: Path, config: ModelConfig, contents: dict[str, bytes]) -> None:
    """Write a model folder under another name, and put it in its place only when it is whole."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = OwnFolder(to.parent, SCRATCH)
        made = scratch.path / "made"
        # Beside the scratch folder, so that it is never removed before its content is checked.
        earlier = scratch.path.with_name(f"{scratch.path.name}-earlier")
        try:
            ModelFolder(made).write(config, contents)
            if to.exists():
                to.rename(earlier)
            try:
                # Again: the export took a while, and somebody may have put other files there.
                _check_free(earlier, to)
                made.rename(to)
            except BaseException:
                if earlier.exists():
                    earlier.rename(to)
                raise
            shutil.rmtree(earlier, ignore_errors=True)
        finally:
            scratch.remove()
    except OSError as error:
        raise ConfigError(
            f"{to} can't be written ({error.strerror or error}): choose another folder."
        ) from error


def _trace(engine: TorchEngine) -> bytes:
    """Trace a model as a graph with its weights and its metadata; raises Unsuited."""
    shape = (3, engine.config.input.size, engine.config.input.size)
    _check_head(engine.model, shape, engine.config.architecture)
    texts = {graph_metadata.WEIGHTS: engine.config.weights_sha256}
    return _with_metadata(_trace_module(engine.model, shape), texts)


def _checked_difference(engine: TorchEngine, other: Engine) -> float:
    """Return the largest difference from PyTorch; raises ModelError when it is too large."""
    largest = difference(engine, other)
    # Negated, so that NaN is refused as well.
    if not largest <= LIMIT:
        raise ModelError(
            f"The ONNX model of {engine.config.architecture} differs from PyTorch by "
            f"{largest:.1e}, expected at most {LIMIT:g}: nothing was written."
        )
    return largest


def _check_head(model: nn.Module, shape: tuple[int, ...], architecture: str) -> None:
    """Raise Unsuited where the head is more than global average pooling and the last layer.

    The two are compared on random feature maps.
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
        fits = pooled.shape[1] == last.in_features
        alike = fits and torch.allclose(logits, last(pooled), rtol=1e-4, atol=1e-5)
    if not alike:
        raise Unsuited(
            f"{architecture} ends in more than global average pooling and one linear layer, from "
            "which an ONNX model makes its class maps: it can't be exported."
        )


def _trace_module(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    """Trace a model as a graph with logits and feature maps, by PyTorch's exporter."""
    import torch

    from dermhub.models import backbone

    class Both(torch.nn.Module):
        """A model with two outputs: logits and feature maps."""

        def __init__(self) -> None:
            super().__init__()
            self.traced = model

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = backbone.features(self.traced, images)
            return backbone.head(self.traced, maps), maps

    stream = io.BytesIO()
    names = (graph_metadata.INPUT, graph_metadata.LOGITS, graph_metadata.FEATURES)
    _onnx()
    with warnings.catch_warnings():
        # The exporter that needs nothing but onnx is an old one and warns about its age; the graph
        # is compared with PyTorch afterwards.
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
            # Every weight stays as it is, under its own name: ONNX Runtime itself merges batch
            # norms into convolutions when it loads the graph.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return stream.getvalue()


def _without_weights(content: bytes, header: Header) -> bytes:
    """Let a traced graph take its weights from the model.safetensors with this header.

    Those that are stored in another precision are turned into float32 by a node.
    """
    onnx = _onnx()
    model = onnx.load_model_from_string(content)
    casts = []
    renamed = {}
    for constant in model.graph.initializer:
        traced = constant.name
        name = traced.removeprefix(INNER)
        stored = header.tensors.get(name)
        if stored is None or stored.kind not in graph_weights.KINDS:
            continue
        constant.Clear()
        constant.name = name
        constant.data_type = graph_weights.KINDS[stored.kind]
        constant.dims.extend(stored.shape)
        constant.data_location = onnx.TensorProto.EXTERNAL
        for key, text in graph_weights.place(stored, header).items():
            constant.external_data.add(key=key, value=text)
        if stored.kind == "F32":
            renamed[traced] = name
        else:
            casts.append(onnx.helper.make_node("Cast", [name], [traced], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _with_metadata(content: bytes, texts: dict[str, str]) -> bytes:
    """Add metadata to an ONNX model, and check the model."""
    onnx = _onnx()
    model = onnx.load_model_from_string(content)
    for key, value in texts.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _arrays(engine: Engine, images: Floats32, directions: Floats32) -> tuple[Floats32, ...]:
    """Return logits, feature maps and class maps of images (N, 3, H, W)."""
    logits, features = engine.forward(images)
    return logits, features, engine.class_maps(features, directions)


def _onnx() -> Any:
    """Import onnx; raises ConfigError where it can't be imported."""
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(
            f"The export needs the package onnx, which can't be imported ({error}): pip install "
            "onnx onnxruntime."
        ) from None
    return onnx
