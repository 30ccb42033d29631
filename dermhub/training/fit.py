"""The training loop: one epoch, all predictions, and a fit that can be interrupted at any time.

Everything random is a function of (seed, epoch, position) and the learning rate is a function of
the step, so a resumed run reaches the same weights as one that was never interrupted.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
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
from dermhub.data import additions, batches, datasets, tables
from dermhub.data.datasets import one_sentence
from dermhub.errors import ConfigError, DataError
from dermhub.evaluation import calibration, metrics
from dermhub.images.view import InputSpec
from dermhub.models import backbone, prediction
from dermhub.tasks import TASKS
from dermhub.training import cpu, distributed, losses, state
from dermhub.training.config import TrainConfig
from dermhub.training.state import HISTORY, STATE


def pick_device(name: str) -> torch.device:
    """The device for a `--device` option; raises ConfigError for one that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(
            f"--device {name} can't be used here: expected auto, cpu, cuda or cuda:N."
        ) from error
    return device


def pick_bf16(option: str, device: torch.device) -> bool:
    """Whether bfloat16 pays: on CUDA, and on CPUs with native bf16 arithmetic."""
    if option != "auto":
        return option == "on"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and "avx512_bf16" in _cpu_flags()


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine (Loshchilov & Hutter
    2017).
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; the backbone learns slower than the fresh classifier, norms and biases don't decay."""
    last = {id(p) for p in backbone.classifier(model).parameters()}
    groups = []
    for in_head in (False, True):
        for matrix in (False, True):
            learning = (p for p in model.parameters() if p.requires_grad)
            chosen = [p for p in learning if (id(p) in last) == in_head and (p.ndim > 1) == matrix]
            scale = 1.0 if in_head else config.backbone_lr
            decay = config.weight_decay if matrix else 0.0
            groups.append({"params": chosen, "scale": scale, "weight_decay": decay})
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the model's; early steps move them faster, so that they
    start warm.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, share)
        else:
            kept.copy_(new)


@torch.inference_mode()
def predict_all(
    model: nn.Module, paths: list[str], spec: InputSpec, workers: int = 0
) -> NDArray[np.float32]:
    """(N, C) float32 logits of images in the order of `paths`, prepared exactly as
    `Classifier.predict` does.

    `workers` threads decode; with 0, the caller's does.
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
        soup: Sequence[nn.Module] = (),
    ) -> None:
        self.config, self.spec, self.out = config, spec, out
        self.task = TASKS[config.task]
        self.table, self.soup = table, soup
        self.train, self.held_out = (
            table[table["split"] == split] for split in ("train", "validation")
        )
        self.device = pick_device(distributed.device(config.device))
        self.model = model.to(self.device).to(memory_format=backbone.memory_format(config.model))
        self.parallel = self.model
        self.average = copy.deepcopy(self.model).eval()
        self.teacher = None if teacher is None else teacher.to(self.device).eval()
        self.frozen = backbone.freeze(self.model, config.freeze)
        self.optimizer = make_optimizer(self.model, config)
        self.targets = tables.targets(self.train, self.task)
        self.diagnoses = np.unique(self.train["dx"].to_numpy(str), return_inverse=True)[1].astype(
            np.int64
        )
        drawn = self.targets[
            datasets.epoch_order(self.diagnoses, config.sampling, (config.seed, 0))
        ]
        # What the loss adds to the logits: the prior as it is drawn (Menon et al. 2021, section
        # 4.2).
        self.prior = (
            torch.tensor(calibration.prior_offset(drawn, len(self.task.classes)))
            .float()
            .to(self.device)
        )
        self.copies = None
        if additions.SHARPER in self.train:
            self.copies = (
                list(self.train[additions.SHARPER]),
                additions.substitution_probability(self.train),
            )
        self.rows = min(config.batch_size, len(self.train))
        self.steps = len(self.train) // self.rows
        distributed.check_rows(self.rows)
        self.last = config.stop_after or config.epochs
        self.history: list[dict[str, Any]] = []
        self.done = 0

    def resume(self) -> None:
        """Go back to the last complete epoch, if there is one."""
        if (self.out / STATE).exists():
            self.done = state.load_state(
                self.out / STATE, self.model, self.average, self.optimizer
            )["epochs"]
            try:
                rows = pd.read_csv(self.out / HISTORY).to_dict("records")
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{self.out / HISTORY} can't be read ({error}): start a new run."
                ) from error
            known = {"epoch", "seconds", "images_per_second", "train_loss"}
            if any(
                not known <= row.keys() or any(pd.isna(row[name]) for name in known) for row in rows
            ):
                raise DataError(f"{self.out / HISTORY} is damaged or cut short: start a new run.")
            if len(rows) < self.done:
                raise DataError(
                    f"{self.out / HISTORY} has {len(rows)} rows, expected the {self.done} epochs "
                    f"of {STATE}: "
                    "start a new run."
                )
            self.history = rows[: self.done]

    def run(self) -> None:
        """Train the epochs that are left, saving after each; of several processes the first
        validates and saves.
        """
        self.parallel = distributed.parallel(self.model)
        for epoch in range(self.done, self.last):
            row = {"epoch": epoch + 1, **self.train_epoch(epoch)}
            if distributed.is_main():
                self.save(row | self.validate())
            self.done = epoch + 1

    def save(self, row: dict[str, Any]) -> None:
        """Write all that an interrupted run needs after an epoch, of which the history gets a
        row.
        """
        self.history.append(row)
        # The history is written first: a crash in between repeats the epoch and its row.
        files.write_text(self.out / HISTORY, pd.DataFrame(self.history).to_csv(index=False))
        state.save_state(
            self.out / STATE, self.model, self.average, self.optimizer, {"epochs": row["epoch"]}
        )

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training images; returns its mean loss, last rate, images/s and
        seconds.
        """
        config, key = self.config, (self.config.seed, epoch)
        # The rank stands above all seeds and epochs: each process drops other features.
        torch.manual_seed(config.seed * 100_003 + epoch + (distributed.rank() << 52))
        order = datasets.epoch_order(self.diagnoses, config.sampling, key)
        about = (
            self.spec,
            config.train_size,
            config.min_scale,
            key,
            self.copies,
            config.randaugment,
        )
        images = datasets.TrainingImages(list(self.train["path"]), self.targets, order, *about)
        own = distributed.rows(self.rows, self.steps)
        loader = DataLoader(
            images, self.rows // distributed.world(), sampler=own, num_workers=config.workers
        )
        self.model.train()
        for layer in self.frozen:
            layer.eval()
        total, start = torch.zeros((), device=self.device), time.perf_counter()
        name, silent = f"epoch {epoch + 1}/{self.last}", not distributed.is_main()
        bar = tqdm(
            one_sentence(loader), name, self.steps, unit="batch", mininterval=0.5, disable=silent
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

    def train_step(self, views: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        """One optimizer step on a batch; returns its loss."""
        config = self.config
        rate = config.lr * learning_rate(
            step, self.steps * config.epochs, round(self.steps * config.warmup)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        views = views.to(self.device, memory_format=backbone.memory_format(config.model))
        rng = np.random.default_rng([config.seed, step, 0x313])
        views, partners, share = losses.mix(views, config.mixup, config.cutmix, rng)
        lowered = pick_bf16(config.bf16, self.device)
        with (
            cpu.steps(self.device),
            torch.autocast(self.device.type, torch.bfloat16, enabled=lowered),
        ):
            logits = self.parallel(views)
        judged = logits.float() + config.adjust * self.prior
        loss = losses.label_loss(
            judged, labels.to(self.device), partners, share, config.label_smoothing
        )
        if self.teacher is not None:
            # The teacher sees the very same view: a patient teacher (Beyer et al. 2022, section 3).
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=lowered),
            ):
                known = self.teacher(views).float()
            loss = torch.lerp(
                loss, losses.distillation_loss(logits.float(), known.clone()), config.distillation
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        update_average(self.average, self.model, step, config.ema)
        if not torch.isfinite(loss):
            raise ConfigError(
                f"The loss became {loss.item()} at step {step}: lower --lr, or use --bf16 off."
            )
        return loss.detach()

    def validate(self) -> dict[str, float | None]:
        """Figures of the averaged weights on the validation split; they are shown, nothing is
        chosen by them.
        """
        logits = predict_all(
            self.average, list(self.held_out["path"]), self.spec, self.config.workers
        )
        summary = metrics.summarize(
            prediction.softmax(logits), tables.targets(self.held_out, self.task), self.task
        )
        names = ("nll", "accuracy", "balanced_accuracy", "malignancy_auroc")
        row = {f"validation_{name}": summary[name] for name in names}
        tqdm.write(
            "  "
            + ", ".join(f"{name} {value:.4f}" for name, value in row.items() if value is not None)
        )
        return row


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
