"""Multiply-accumulates of a model, the machine's peak of them, and profiles of engines."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dermhub.models.engines import fused, graph_metadata, onnx_runtime

SIZE = 1024
"""Side of the matrices that are multiplied for the peak."""

ROUNDS = 4
"""Products in a trial."""

TRIALS = 20
"""Trials of the peak; the best counts."""

KINDS = (
    "convolutions 1 x 1",
    "convolutions depthwise",
    "convolutions, others",
    "batch norms",
    "activations",
    "others",
)
"""Kinds of operators."""

NAMES = (
    ("norm", 3),
    ("relu", 4),
    ("hardtanh", 4),
    ("clamp", 4),
    ("silu", 4),
    ("swish", 4),
    ("sigmoid", 4),
    ("gelu", 4),
)
"""Part of an operator's name -> its place in `KINDS`."""


def macs(model: nn.Module, size: int) -> int:
    """Multiply-accumulates of one image (3, size, size) in convolutions and linear layers."""
    products: list[int] = []

    def count(module: nn.Module, _: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        """Note the products of a layer."""
        assert isinstance(module, nn.Conv2d | nn.Linear)
        # A weight's first side is the output's channels; each place of each needs the others once.
        products.append(out.numel() * module.weight[0].numel())

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [module.register_forward_hook(count) for module in layers]
    with torch.inference_mode():
        model(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return sum(products)


def multiply_peak(dtype: torch.dtype) -> float:
    """Most multiply-accumulates a second, in 10**9, that a product of two square matrices reached.

    The better of PyTorch's own product (whose BLAS may leave half of another maker's processor
    unused) and, in fp32, of the same product as a convolution of 1 x 1 by oneDNN.
    """
    a, b = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    products: list[Callable[[], object]] = [lambda: torch.mm(a, b)]
    if dtype == torch.float32 and fused.can_pack():
        maps = a.t().reshape(1, SIZE, -1, 32).to(memory_format=torch.channels_last)
        packed = fused.Packed(nn.Conv2d(SIZE, SIZE, 1, bias=False), maps.shape, nn.Identity())
        products.append(lambda: packed(maps))
    with torch.inference_mode():
        return max(_rate(product) for product in products for _ in range(TRIALS))


def _rate(product: Callable[[], object]) -> float:
    """Multiply-accumulates a second, in 10**9, of a product of two matrices."""
    start = time.perf_counter()
    for _ in range(ROUNDS):
        product()
    return ROUNDS * SIZE**3 / (time.perf_counter() - start) / 1e9


def profile(forward: Callable[[], object], repeats: int = 20) -> dict[str, float]:
    """Milliseconds of one call by kind of operator, from PyTorch's profiler."""
    forward()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, record_shapes=True) as watched:
        for _ in range(repeats):
            forward()
    times = dict.fromkeys(KINDS, 0.0)
    for event in watched.key_averages(group_by_input_shape=True):
        kind = _kind(event.key.lower(), event.input_shapes)
        times[kind] += event.self_cpu_time_total / repeats / 1000
    return times


def profile_graph(
    exported: Path, images: NDArray[np.float32], repeats: int = 20
) -> dict[str, float]:
    """Milliseconds of one call of an exported file by kind, from ONNX Runtime's profiler.

    The runtime folds batch norms and most activations into the convolutions.
    """
    onnxruntime = onnx_runtime.module("The profile")
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(
            str(exported), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(repeats):
            session.run(None, {graph_metadata.INPUT: images})
        events = json.loads(Path(session.end_profiling()).read_text())
    times = dict.fromkeys(KINDS, 0.0)
    for event in events:
        if event["name"].endswith("_kernel_time"):
            call = event["args"]
            # Each input is a dict of its only type and shape.
            shapes = [shape for typed in call["input_type_shape"] for shape in typed.values()]
            times[_kind(call["op_name"].lower(), shapes)] += event["dur"] / repeats / 1000
    return times


def _kind(name: str, shapes: list[list[int]]) -> str:
    """The kind of an operator, by its name and the shapes of its inputs."""
    if "conv" in name and len(shapes) > 1 and len(shapes[1]) >= 4:
        weight = shapes[1]
        if weight[-2:] == [1, 1]:
            return KINDS[0]
        return KINDS[1] if weight[-3] == 1 and weight[0] > 1 else KINDS[2]
    return KINDS[next((place for part, place in NAMES if part in name), 5)]


def shares(times: dict[str, float]) -> str:
    """The cells of a row of Markdown: the share of each kind in percent."""
    total = float(np.sum(list(times.values())))
    return " | ".join(f"{100 * value / total:.0f}" for value in times.values())
