"""The speed of training against the bare step loop and against timm's own parts.

    PYTHONPATH=.:benchmarks python benchmarks/training.py --data HAM [--rounds 5] [--steps 24]
        [--model mobilenetv2_100]

All have the same model, batch, size of crop, memory layout, bfloat16 setting and AdamW. They take
turns in every round:

- epoch: `Fit.train_epoch` as train.py runs it, with reading, augmentation, clipped gradients and
  averaged weights; the start of the workers is in it, which a whole epoch of 100 steps has once as
  well;
- step: `Fit.train_step` on tensors that are in memory: no reading, no augmentation;
- bare: forward, loss, backward and AdamW's step on such tensors, and nothing else, with the fast
  gradients of `dermhub.training.cpu`;
- plain: the same with PyTorch's own gradients;
- timm: timm's loader with its default training augmentation, its AdamW, gradient clipping and
  averaged weights, put together as its train.py does, which is a script outside of the package;
- images: reading and augmentation alone, by as many workers.

Prints Markdown: images/s (median over rounds), the ratios to bare within each round, and the bound:
what an epoch could reach on these cores if images and bare steps shared them without any loss, 1 /
(1 / bare + 1 / images).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from running import machine
from torch.utils.data import DataLoader, Dataset

from dermhub.data import datasets, draws, tables
from dermhub.images.view import InputSpec
from dermhub.models import backbone
from dermhub.tasks import TASKS
from dermhub.training import cpu
from dermhub.training.config import TrainConfig
from dermhub.training.fit import Fit, make_optimizer

SHORT = 3
"""Parts without workers take one of so many steps: they need fewer for a steady figure."""

Batch = tuple[torch.Tensor, torch.Tensor]


class Photos(Dataset[tuple[Any, int]]):
    """Images as timm's loader wants them: it puts its augmentation into `transform`."""

    transform: Callable[[Image.Image], Any]

    def __init__(self, fit: Fit) -> None:
        self.paths = list(fit.train["path"])
        self.targets = fit.targets

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), int(self.targets[index])


def make_fit(options: argparse.Namespace, folder: Path) -> Fit:
    """A run over as many training images as the steps take."""
    config = TrainConfig(model=options.model, init="scratch", epochs=1000)
    task = TASKS[config.task]
    table = tables.read_table(options.data, task)
    count = options.steps * config.batch_size
    train = table[table["split"] == "train"].sample(count, random_state=0)
    torch.manual_seed(0)
    model = backbone.build(config.model, len(task.classes), config.dropout)
    return Fit(model, train, config, InputSpec(config.size), folder)


def in_memory(fit: Fit, count: int) -> Iterator[Batch]:
    """Batches of noise that cost nothing."""
    config = fit.config
    side = config.train_size
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(config.batch_size, 3, side, side, generator=generator)
    labels = torch.randint(len(fit.task.classes), (config.batch_size,), generator=generator)
    views = views.to(memory_format=backbone.memory_format(config.model))
    for _ in range(count):
        yield views, labels


def bare(fit: Fit, steps: int, faster: bool) -> Callable[[], int]:
    """Make steps of nothing but forward, loss, backward and the optimizer's step."""
    config = fit.config
    model = copy.deepcopy(fit.model).train()
    optimizer = make_optimizer(model, config)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)

    def run() -> int:
        for views, labels in in_memory(fit, steps):
            mode = cpu.training_context(fit.device) if faster else contextlib.nullcontext()
            with mode, torch.autocast("cpu", torch.bfloat16, enabled=fit.bf16):
                logits = model(views)
            loss = loss_of(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return steps

    return run


def step(fit: Fit, steps: int) -> Callable[[], int]:
    """Make dermhub's own steps."""

    def run() -> int:
        fit.model.train()
        for number, (views, labels) in enumerate(in_memory(fit, steps)):
            fit.train_step(views, labels, 1000 + number)
        return steps

    return run


def epoch(fit: Fit) -> Callable[[], int]:
    """Make dermhub's own epoch."""

    def run() -> int:
        fit.train_epoch(1)
        return fit.steps

    return run


def images(fit: Fit) -> Callable[[], int]:
    """Make the views of an epoch, without a model."""
    config = fit.config
    order = draws.epoch_order(fit.groups, config.sampling, (0, 0), fit.sources)
    paths = list(fit.train["path"])

    def run() -> int:
        views = datasets.TrainingImages(
            paths, fit.targets, order, fit.spec, config.train_size, config.min_scale, (0, 0)
        )
        return sum(1 for _ in DataLoader(views, config.batch_size, num_workers=config.workers))

    return run


def with_timm(fit: Fit) -> Callable[[], int]:
    """Make an epoch of timm's parts."""
    # timm's types say less than what its functions take.
    timm: Any = importlib.import_module("timm")
    for name in ("data", "loss", "optim", "utils"):
        importlib.import_module(f"timm.{name}")
    config = fit.config
    side = config.train_size
    model = copy.deepcopy(fit.model).train()
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", config.lr, config.weight_decay)
    average = timm.utils.ModelEmaV3(model, config.ema)
    loss_of = timm.loss.LabelSmoothingCrossEntropy(config.label_smoothing)
    loader = timm.data.create_loader(
        Photos(fit),
        input_size=(3, side, side),
        batch_size=config.batch_size,
        is_training=True,
        scale=(config.min_scale, 1.0),
        color_jitter=0.4,
        interpolation="bicubic",
        use_prefetcher=False,
        num_workers=config.workers,
        pin_memory=False,
        persistent_workers=False,
        device=fit.device,
    )

    def run() -> int:
        for number, (views, labels) in enumerate(loader):
            views = views.contiguous(memory_format=backbone.memory_format(config.model))
            with torch.autocast("cpu", torch.bfloat16, enabled=fit.bf16):
                loss = loss_of(model(views), labels)
            optimizer.zero_grad()
            loss.backward()
            timm.utils.dispatch_clip_grad(model.parameters(), 5.0)
            optimizer.step()
            average.update(model, step=number)
        return len(loader)

    return run


def measure(parts: dict[str, Callable[[], int]], batch: int, rounds: int) -> dict[str, list[float]]:
    """Images/s of every part in every round; a round before the first one is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 1):
        names = list(parts)
        # The order turns, so that no part always follows the same other one.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            done = parts[name]() * batch
            if number:
                rates[name].append(done / (time.perf_counter() - began))
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return rates


def report(rates: dict[str, list[float]]) -> str:
    """The table, and the ratio to timm."""
    lines = ["| part | images/s | lowest to highest | to bare |", "|---|---|---|---|"]
    for name, every in rates.items():
        middle = statistics.median(every)
        ratio = median_ratio(every, rates["bare"])
        lines.append(
            f"| {name} | {middle:.1f} | {min(every):.1f} to {max(every):.1f} | {ratio:.3f} |"
        )
    bounds = [
        1 / (1 / step + 1 / reading)
        for step, reading in zip(rates["bare"], rates["images"], strict=True)
    ]
    share = median_ratio(bounds, rates["bare"])
    lines.append(f"| bound | {statistics.median(bounds):.1f} | | {share:.3f} |")
    against = median_ratio(rates["epoch"], rates["timm"])
    lines.append(f"\nepoch / timm: {against:.3f}, median of the ratios within rounds.")
    return "\n".join(lines)


def median_ratio(rates: list[float], others: list[float]) -> float:
    """The median of the ratios within rounds."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


def main() -> None:
    """Read the options, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24)
    options = parser.parse_args()
    # As train.py does.
    cpu.keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        fit = make_fit(options, Path(folder))
        few = max(options.steps // SHORT, 1)
        parts = {"epoch": epoch(fit), "bare": bare(fit, few, True), "timm": with_timm(fit)}
        parts |= {"step": step(fit, few), "plain": bare(fit, few, False), "images": images(fit)}
        rates = measure(parts, fit.config.batch_size, options.rounds)
    config = fit.config
    setting = (
        f"batch {config.batch_size}, crops of {config.train_size} pixels, {config.workers} workers"
    )
    bf16 = "bfloat16" if fit.bf16 else "float32"
    print(
        f"{machine()}: {config.model}, {setting}, {bf16}, {torch.get_num_threads()} "
        f"threads.\n\n{report(rates)}"
    )


if __name__ == "__main__":
    main()
