"""The training loop: one epoch, all predictions, and a fit that can be interrupted at any time.

Everything random is a function of (seed, epoch, position) and the learning rate is a function of
the step, so a resumed run reaches the same weights as one that was never interrupted.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dermhub import files
from dermhub.data import batches, datasets, draws, handover, tables
from dermhub.data.datasets import one_sentence
from dermhub.data.decoded import decoded_images
from dermhub.errors import ConfigError, DataError, program
from dermhub.evaluation import metrics
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec
from dermhub.models import backbone, prediction
from dermhub.tasks import TASKS
from dermhub.training import cpu, distributed, losses, state
from dermhub.training.config import HISTORY, STATE, TrainConfig

WARMUP = 1.0
"""Epochs of linear warm-up before the cosine decay."""


def pick_bf16(device: torch.device) -> bool:
    """Tell if a step is run in bfloat16: on CUDA, and on CPUs with bf16 arithmetic."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and "avx512_bf16" in _cpu_flags()


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine.

    Loshchilov & Hutter 2017.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; the backbone learns slower than the fresh classifier, norms and biases don't decay."""
    head = {id(parameter) for parameter in backbone.classifier(model).parameters()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = []
    for in_head in (False, True):
        for matrix in (False, True):
            chosen = [
                parameter
                for parameter in learning
                if (id(parameter) in head) == in_head and (parameter.ndim > 1) == matrix
            ]
            scale = 1.0 if in_head else config.backbone_lr
            decay = config.weight_decay if matrix else 0.0
            groups.append({"params": chosen, "scale": scale, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the model's.

    Early steps move them faster, so that they start warm.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    current = model.state_dict()
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(current[name], share)
        else:
            tensor.copy_(current[name])


@torch.inference_mode()
def predict_all(
    model: nn.Module, paths: list[str], spec: InputSpec, workers: int = 0
) -> NDArray[np.float32]:
    """Return (N, C) float32 logits of images, prepared exactly as `Classifier.predict` does.

    The rows are in the order of `paths`. `workers` threads decode; with 0, the caller's does.
    """
    device = next(model.parameters()).device
    model.eval()

    def answer(views: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        images = torch.from_numpy(np.stack(views)).to(device)
        logits: NDArray[np.float32] = model(images).float().cpu().numpy()
        return logits

    return np.concatenate(batches.map_batches(answer, paths, batches.as_predicted(spec), workers))


class Fit:
    """A training run in a folder: `run` goes from the last complete epoch to the end."""

    def __init__(
        self,
        model: nn.Module,
        table: pd.DataFrame,
        config: TrainConfig,
        spec: InputSpec,
        out: Path,
        teacher: nn.Module | None = None,
    ) -> None:
        self.config = config
        self.spec = spec
        self.out = out
        self.task = TASKS[config.task]
        self.table = table
        self.train = table[table["split"] == "train"]
        self.held_out = table[table["split"] == "validation"]
        self.device = distributed.device()
        self.bf16 = pick_bf16(self.device)
        self.model = model.to(self.device).to(memory_format=backbone.memory_format(config.model))
        self.parallel = self.model
        self.average = copy.deepcopy(self.model).eval()
        self.teacher = None if teacher is None else teacher.to(self.device).eval()
        self.optimizer = make_optimizer(self.model, config)
        self.targets = tables.training_targets(self.train, self.task)
        self.possible = losses.memberships(self.task).to(self.device)
        self.groups = draws.diagnosis_groups(self.train)
        self.sources = draws.source_numbers(self.train)
        self.decoded = decoded_images(list(self.train["path"]), distributed.world())
        self.rows = min(config.batch_size, len(self.train))
        self.steps = len(self.train) // self.rows
        distributed.check_rows(self.rows)
        # A float32 is four bytes.
        batch_bytes = self.rows // distributed.world() * 3 * config.train_size**2 * 4
        self.handover = handover.choose(batch_bytes, config.workers)
        self.history: list[dict[str, Any]] = []
        self.done = 0

    def resume(self) -> None:
        """Go back to the last complete epoch, if there is one.

        Raises ModelError and DataError for a state or history that is damaged.
        """
        path = self.out / STATE
        if path.exists():
            progress = state.load_state(path, self.model, self.average, self.optimizer)
            self.done = progress["epochs"]
            self.history = self._read_history()[: self.done]

    def _read_history(self) -> list[dict[str, Any]]:
        path = self.out / HISTORY
        if path.exists() and not path.is_file():
            raise DataError(f"{path} can't be read (it is no file): start a new run.")
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} can't be read ({error}): start a new run.") from error
        rows: list[dict[str, Any]] = table.to_dict("records")
        needed = ["epoch", "seconds", "images_per_second", "train_loss"]
        numbers = table.reindex(columns=needed).apply(pd.to_numeric, errors="coerce")
        in_order = numbers["epoch"].tolist() == list(range(1, len(rows) + 1))
        if not in_order or not np.isfinite(numbers).all(axis=None):
            raise DataError(f"{path} is damaged or cut short: start a new run.")
        if len(rows) < self.done:
            raise DataError(
                f"{path} has {len(rows)} rows, expected the {self.done} epochs of {STATE}: start a "
                "new run."
            )
        return rows

    def run(self) -> None:
        """Train the epochs that are left, saving after each.

        Of several processes the first validates and saves.
        """
        self.parallel = distributed.parallel(self.model)
        if self.handover.note and distributed.is_main():
            tqdm.write(f"{program('train.py')}: {self.handover.note}", sys.stderr)
        for epoch in range(self.done, self.config.epochs):
            row = {"epoch": epoch + 1, **self.train_epoch(epoch)}
            if distributed.is_main():
                self.save(row | self.validate())
            self.done = epoch + 1

    def save(self, row: dict[str, Any]) -> None:
        """Write all that an interrupted run needs, after an epoch with this row of the history."""
        self.history.append(row)
        # The history is written first: a crash in between repeats the epoch and its row.
        files.write_text(self.out / HISTORY, pd.DataFrame(self.history).to_csv(index=False))
        state.save_state(
            self.out / STATE, self.model, self.average, self.optimizer, {"epochs": row["epoch"]}
        )

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch; returns its mean loss, last learning rate, images/s and seconds."""
        # The rank stands above all seeds and epochs: each process drops other features.
        torch.manual_seed(self.config.seed * 100_003 + epoch + (distributed.rank() << 52))
        self.model.train()
        total = torch.zeros((), device=self.device)
        start = time.perf_counter()
        bar = tqdm(
            one_sentence(self._loader(epoch)),
            f"epoch {epoch + 1}/{self.config.epochs}",
            self.steps,
            unit="batch",
            mininterval=0.5,
            disable=not distributed.is_main(),
        )
        for index, (views, labels) in enumerate(bar):
            loss = self.train_step(views, labels, epoch * self.steps + index)
            total += loss
            if index % 10 == 0:
                rate = (index + 1) * self.rows / (time.perf_counter() - start)
                bar.set_postfix_str(f"loss {float(total) / (index + 1):.3f}, {rate:.0f} images/s")
        seconds = time.perf_counter() - start
        return {
            "train_loss": float(distributed.mean(total)) / self.steps,
            "lr": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": self.steps * self.rows / seconds,
            "seconds": seconds,
        }

    def _loader(self, epoch: int) -> DataLoader[Any]:
        """Batches of this process's rows of an epoch."""
        config = self.config
        key = (config.seed, epoch)
        images = datasets.TrainingImages(
            list(self.train["path"]),
            self.targets,
            draws.epoch_order(self.groups, config.sampling, key, self.sources),
            self.spec,
            config.train_size,
            config.min_scale,
            key,
            bool(self.sources.any()),
            to_rgb if self.decoded is None else self.decoded.open,
        )
        return DataLoader(
            images,
            self.rows // distributed.world(),
            sampler=distributed.rows(self.rows, self.steps),
            num_workers=self.handover.workers,
            collate_fn=self.handover.collate,
            # On a GPU a step leaves the cores alone.
            worker_init_fn=handover.step_aside if self.device.type == "cpu" else None,
        )

    def train_step(self, views: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        """One optimizer step on a batch; returns its loss."""
        config = self.config
        all_steps = self.steps * config.epochs
        warmup = round(self.steps * WARMUP)
        rate = config.lr * learning_rate(step, all_steps, warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        views = views.to(self.device, memory_format=backbone.memory_format(config.model))
        rng = np.random.default_rng([config.seed, step, 0x313])
        views, partners, share = losses.mix(views, config.mixup, rng)
        with cpu.training_context(self.device), self._autocast():
            logits = self.parallel(views).float()
        possible = self.possible[labels.to(self.device)]
        loss = losses.label_loss(logits, possible, partners, share, config.label_smoothing)
        if self.teacher is not None:
            # The teacher sees the very same view: a patient teacher (Beyer et al. 2022, section 3).
            with torch.inference_mode(), self._autocast():
                answers = self.teacher(views).float()
            distillation = losses.distillation_loss(logits, answers.clone())
            loss = torch.lerp(loss, distillation, losses.DISTILLATION)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        update_average(self.average, self.model, step, config.ema)
        if not torch.isfinite(loss):
            raise ConfigError(f"The loss became {loss.item()} at step {step}: lower --lr.")
        return loss.detach()

    def _autocast(self) -> torch.autocast:
        """Autocast to bfloat16, where that pays."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def validate(self) -> dict[str, float | None]:
        """Figures of the averaged weights on the validation split.

        They are shown; nothing is chosen by them.
        """
        paths = list(self.held_out["path"])
        logits = predict_all(self.average, paths, self.spec, self.config.workers)
        targets = tables.targets(self.held_out, self.task)
        summary = metrics.summarize(prediction.softmax(logits), targets, self.task)
        names = ("nll", "accuracy", "balanced_accuracy", "malignancy_auroc")
        row = {f"validation_{name}": summary[name] for name in names}
        shown = [f"{name} {value:.4f}" for name, value in row.items() if value is not None]
        tqdm.write("  " + ", ".join(shown))
        return row


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
