"""Gradients of depthwise convolutions in bfloat16, by PyTorch and by `dermhub.training.cpu`.

    PYTHONPATH=.:benchmarks python benchmarks/depthwise.py [--rounds 5]

Layers are those of EfficientNet-B4 and MobileNetV2, for batches of 64; steps are forward, loss,
backward and AdamW's step on random images. Both sides take turns in every round. Prints Markdown:
medians.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import time
from collections.abc import Callable

import torch
from running import machine
from torch import nn

from dermhub.models import backbone
from dermhub.training import cpu

LAYERS = (
    (192, 3, 1, 36),
    (336, 5, 1, 18),
    (336, 3, 2, 18),
    (960, 5, 1, 9),
    (960, 5, 2, 9),
    (384, 3, 1, 10),
    (576, 3, 2, 10),
)
"""Channels, kernel, stride, and height and width of the images."""

MODELS = (("tf_efficientnet_b4", 144, 3), ("mobilenetv2_100", 160, 0))
"""Architecture, size of the crop, and stages that keep their weights."""

BATCH = 64


def turns(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Median milliseconds of two functions that take turns; the first round is not counted."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for function, times in zip((first, second), taken, strict=True):
            began = time.perf_counter()
            function()
            if number:
                times.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[0]), statistics.median(taken[1])


def layer(channels: int, kernel: int, stride: int, size: int, rounds: int) -> str:
    """A row of the table of layers."""
    strides = (stride, stride)
    padding = (kernel // 2, kernel // 2)
    images = _random(BATCH, channels, size, size)
    weight = _random(channels, 1, kernel, kernel)
    gradient = torch.randn_like(torch.conv2d(images, weight, None, strides, padding, 1, channels))
    given = gradient, images, weight, strides, padding
    cells = []
    for which, ours in enumerate((cpu.input_gradient, cpu.weight_gradient)):
        pytorch = functools.partial(cpu.pytorch_gradient, *given, which)
        medians = turns(pytorch, functools.partial(ours, *given), rounds)
        cells += [f"{milliseconds:.1f}" for milliseconds in medians]
    return f"| {channels}, {kernel} x {kernel}, {stride}, {size} | {' | '.join(cells)} |"


def _random(*shape: int) -> torch.Tensor:
    """A random tensor in bfloat16 and channels_last."""
    return torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last)


def step(name: str, size: int, freeze: int, faster: bool) -> Callable[[], None]:
    """Make a training step of a model."""
    torch.manual_seed(0)
    model = backbone.build(name, 7).to(memory_format=torch.channels_last)
    names = {name for group in backbone.stage_names(model)[:freeze] for name in group}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(7, (BATCH,))

    def run() -> None:
        """Train on one batch."""
        mode = cpu.FasterDepthwise() if faster else contextlib.nullcontext()
        with mode, torch.autocast("cpu", torch.bfloat16):
            logits = model(images)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def main() -> None:
    """Measure, and print the two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{machine()}: {torch.get_num_threads()} threads, PyTorch {torch.__version__}.\n")
    print(
        "| channels, kernel, stride, size | input, PyTorch's (ms) | ours | weights, PyTorch's (ms) "
        "| ours |"
    )
    print("|---|---|---|---|---|")
    for shape in LAYERS:
        print(layer(*shape, rounds))
    print("\n| training step | PyTorch's (images/s) | ours | memory kept, PyTorch's | ours |")
    print("|---|---|---|---|---|")
    rows = [[f"{name}, {size} px"] for name, size, _ in MODELS]
    for kept in (False, True):
        if kept:
            cpu.keep_memory()
        for row, model in zip(rows, MODELS, strict=True):
            medians = turns(step(*model, False), step(*model, True), rounds)
            row += [f"{1000 * BATCH / milliseconds:.1f}" for milliseconds in medians]
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
