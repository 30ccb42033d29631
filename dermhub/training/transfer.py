"""Learning from other models: their weights (`--init`) and answers (`--teacher`).

A model to learn from must not have seen the lesions that are held out here. One whose data held out
the same images, or were the same table, has not: training keeps every copy of a held-out image out.
One that was trained on others may lend its weights where none of the images that are held out is
among those that it has seen.

The loss of distillation is in `training.losses`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from dermhub import layout
from dermhub.errors import ConfigError, LeakError, ModelError, some
from dermhub.images import near_duplicates
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec
from dermhub.models import backbone, weights
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import TASKS
from dermhub.training import initial_weights
from dermhub.training.config import TrainConfig


def teacher_names(value: str) -> list[str]:
    """The models that `--teacher` names, with commas between them.

    An empty value names none. Raises ConfigError for a name that is empty or comes twice.
    """
    # A folder may have a comma in its name. Path.is_dir raises for what is too long to be one.
    if not value or os.path.isdir(value):  # noqa: PTH112
        return [value] if value else []
    names = [name.strip() for name in value.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            f"--teacher is {value!r}, expected models, each once, with commas between them."
        )
    return names


def describe_models(folders: Sequence[Path]) -> list[dict[str, str]]:
    """The architecture, task and weights' hash of the models in folders, for a card."""
    configs = [ModelFolder(folder).config for folder in folders]
    return [
        {
            "architecture": config.architecture,
            "task": config.task.name,
            "weights_sha256": config.weights_sha256,
        }
        for config in configs
    ]


def initialise(
    folder: Path, config: TrainConfig, tables: Collection[str], held_out: pd.DataFrame
) -> nn.Module:
    """The model of `config` with the weights of the model in a folder, to train on.

    Its classifier is taken, too, if it has the same task; another size of the input is no matter.
    Raises LeakError as `check_unseen` does, and ModelError for a model of another architecture and
    for changed weights.
    """
    opened = ModelFolder(folder)
    saved = opened.config
    check_unseen(folder, opened, tables, held_out)
    opened.check_whole()
    opened.check(layout.WEIGHTS)
    task = TASKS[config.task]
    return initial_weights.from_file(
        folder / layout.WEIGHTS,
        config.model,
        len(task.classes),
        config.dropout,
        saved.task == task,
    )


def check_file(path: Path, tables: Collection[str], held_out: pd.DataFrame) -> ModelConfig | None:
    """Raise LeakError for the weights of a dermhub model as `check_unseen` does.

    Returns the configuration of that model. Weights of other programs pass, with None.
    """
    if path.name != layout.WEIGHTS or not (path.parent / layout.CONFIG).is_file():
        return None
    try:
        folder = ModelFolder(path.parent)
    except ModelError:  # weights of timm, or of another program
        return None
    check_unseen(path, folder, tables, held_out)
    return folder.config


def check_unseen(
    place: Path, folder: ModelFolder, tables: Collection[str], held_out: pd.DataFrame
) -> None:
    """Raise LeakError for a model that may have seen the images that are held out.

    It has not if its data have one of the hashes in `tables`, or if its list of images seen holds
    no copy of an image of `held_out`: every split is by lesion, so that a model has seen all images
    of a lesion in its data, or none. `place` is its folder or file.
    """
    if _hashes(folder.config) & set(tables):
        return
    if layout.SEEN not in folder.config.files:
        raise LeakError(
            f"--init {place} was trained on another table, and may have seen the lesions that this "
            f"run is tested on: it has no {layout.SEEN}, which would tell. Give a model that was "
            "trained on the same data, or measure it first."
        )
    where = str(folder.path / layout.SEEN)
    seen = near_duplicates.SeenImages.from_bytes(folder.read(layout.SEEN), where)
    copies = [
        image_id
        for image_id, path in zip(held_out["image_id"], held_out["path"], strict=True)
        if seen.find(Photo.open(path).hashes) is not None
    ]
    if copies:
        raise LeakError(
            f"--init {place} has seen {len(copies)} image(s) that this run is validated or tested "
            f"on ({some(copies)}): give a model that was trained on the same data, or on none of "
            "these lesions."
        )


def check_table(place: Path, saved: ModelConfig, tables: Collection[str]) -> None:
    """Raise LeakError for a teacher in a folder whose data have none of the hashes in `tables`."""
    if not _hashes(saved) & set(tables):
        raise LeakError(
            f"--teacher {place} was trained on another table, and may have seen the lesions that "
            "this run is tested on: give a model that was trained on the same data (with any "
            "--extra)."
        )


def _hashes(saved: ModelConfig) -> set[str]:
    """The hashes of a model's table, and of the images that were held out."""
    data = saved.provenance.get("data")
    if not isinstance(data, dict):
        return set()
    values = (data.get(name) for name in ("table_sha256", "held_out_sha256"))
    return {value for value in values if isinstance(value, str)}


class Grouped(nn.Module):
    """A model whose classes are merged: `groups[c]` is the merged class of class c.

    The probability of a merged class is the sum of those of its classes.
    """

    def __init__(self, model: nn.Module, groups: list[int]) -> None:
        super().__init__()
        self.model = model
        self.groups = groups

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> logits (N, number of groups)."""
        logits = self.model(images).float()
        members = [
            [index for index, group in enumerate(self.groups) if group == merged]
            for merged in range(max(self.groups) + 1)
        ]
        return torch.stack([logits[:, indices].logsumexp(dim=1) for indices in members], dim=1)


class Renormalised(nn.Module):
    """A model that takes images normalised in another way than it learned from."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, model: nn.Module, given: InputSpec, own: InputSpec) -> None:
        super().__init__()
        self.model = model
        given_mean, given_std, mean, std = (
            torch.tensor(values)[:, None, None]
            for values in (given.mean, given.std, own.mean, own.std)
        )
        self.register_buffer("scale", given_std / std)
        self.register_buffer("shift", (given_mean - mean) / std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W), normalised as given -> the model's logits (N, C)."""
        logits: torch.Tensor = self.model(images * self.scale + self.shift)
        return logits


class Mean(nn.Module):
    """Models of one task whose probabilities are averaged.

    The probabilities are those of the logits, without the models' temperatures.
    """

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> logits (N, C), the logarithms of the mean probabilities."""
        logs = torch.stack([model(images).float().log_softmax(dim=1) for model in self.models])
        return logs.logsumexp(dim=0) - math.log(len(self.models))


def load_teachers(
    folders: Sequence[Path], config: TrainConfig, spec: InputSpec, tables: Collection[str]
) -> nn.Module | None:
    """The teacher of a run: the mean of the models in the folders, or None where there is none.

    It takes images normalised as in `spec`, the run's own input. A lesion model teaches the binary
    task the sums of its probabilities. Raises LeakError for a teacher that was trained on a table
    (of images, lesions and splits) whose hash is not among `tables`: it may have seen this run's
    validation and test lesions, and pass on what it saw. Raises ConfigError for one whose classes
    are not classes of the task.
    """
    models = [_load_teacher(folder, config, spec, tables) for folder in folders]
    if not models:
        return None
    return models[0] if len(models) == 1 else Mean(models)


def _load_teacher(
    folder: Path, config: TrainConfig, spec: InputSpec, tables: Collection[str]
) -> nn.Module:
    model, saved = weights.load(folder)
    task = TASKS[config.task]
    groups = [index for name in saved.task.classes if (index := task.index_of(name)) is not None]
    if len(groups) < len(saved.task.classes):
        raise ConfigError(
            f"--teacher is a model of the task {saved.task.name!r}, expected {config.task!r}."
        )
    check_table(folder, saved, tables)
    model = model.to(memory_format=backbone.memory_format(saved.architecture))
    if (saved.input.mean, saved.input.std) != (spec.mean, spec.std):
        model = Renormalised(model, spec, saved.input)
    return model if saved.task == task else Grouped(model, groups)
