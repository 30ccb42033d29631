"""Learning from other models: their weights (`--init`, `--soup`) and answers (`--teacher`).

A model to learn from must have been trained on the same table of images, or it may have seen the
lesions that are held out here: each is checked by the hash of its table.

Averages of weights are those of Wortsman et al., "Model soups", ICML 2022, section 2, with equal
shares; of two models, one of which was trained less: Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022, section 3. The loss of distillation is in `training.losses`.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import nn

from dermhub import layout
from dermhub.errors import ConfigError, LeakError, ModelError
from dermhub.models import backbone, weights
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import TASKS
from dermhub.training import initial_weights
from dermhub.training.config import TrainConfig


def model_names(value: str, option: str) -> list[str]:
    """The models that an option (`--teacher`, `--soup`) names, with commas between them.

    An empty value names none. Raises ConfigError for a name that is empty or comes twice.
    """
    # A folder may have a comma in its name. Path.is_dir raises for what is too long to be one.
    if not value or os.path.isdir(value):  # noqa: PTH112
        return [value] if value else []
    names = [name.strip() for name in value.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            f"--{option} is {value!r}, expected models, each once, with commas between them."
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


def initialise(folder: Path, config: TrainConfig, tables: Collection[str]) -> nn.Module:
    """The model of `config` with the weights of the model in a folder, to train on.

    Its classifier is taken, too, if it has the same task. Raises LeakError as `load_teachers` does,
    and ModelError for a model of another architecture and for changed weights.
    """
    opened = ModelFolder(folder)
    saved = opened.config
    check_table(folder, saved, "init", tables)
    opened.check_whole()
    opened.check(layout.WEIGHTS)
    task = TASKS[config.task]
    return initial_weights.from_file(
        folder / layout.WEIGHTS,
        config.model,
        len(task.classes),
        config.dropout,
        config.drop_path,
        saved.task == task,
    )


def check_file(path: Path, tables: Collection[str]) -> None:
    """Raise LeakError for the weights of a dermhub model that was trained on no table of `tables`.

    Weights of other programs pass.
    """
    if path.name == layout.WEIGHTS and (path.parent / layout.CONFIG).is_file():
        try:
            saved = ModelFolder(path.parent).config
        except ModelError:  # weights of timm, or of another program
            return
        check_table(path, saved, "init", tables)


def check_table(place: Path, saved: ModelConfig, option: str, tables: Collection[str]) -> None:
    """Raise LeakError for a model that was trained on no table of `tables`.

    `saved` is the model's configuration, `place` its folder or file, and `option` where it was
    given.
    """
    if saved.provenance.get("data", {}).get("table_sha256") not in tables:
        raise LeakError(
            f"--{option} {place} was trained on another table, and may have seen the lesions that "
            "this run is tested on: give a model that was trained on the same data (with the same "
            "--extra, or without any)."
        )


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
    folders: Sequence[Path], config: TrainConfig, tables: Collection[str]
) -> nn.Module | None:
    """The teacher of a run: the mean of the models in the folders, or None where there is none.

    A lesion model teaches the binary task the sums of its probabilities. Raises LeakError for a
    teacher that was trained on a table (of images, lesions and splits) whose hash is not among
    `tables`: it may have seen this run's validation and test lesions, and pass on what it saw.
    Raises ConfigError for one whose classes are not classes of the task.
    """
    models = [_load_teacher(folder, config, tables) for folder in folders]
    if not models:
        return None
    return models[0] if len(models) == 1 else Mean(models)


def _load_teacher(folder: Path, config: TrainConfig, tables: Collection[str]) -> nn.Module:
    model, saved = weights.load(folder)
    task = TASKS[config.task]
    groups = [index for name in saved.task.classes if (index := task.index_of(name)) is not None]
    if len(groups) < len(saved.task.classes):
        raise ConfigError(
            f"--teacher is a model of the task {saved.task.name!r}, expected {config.task!r}."
        )
    check_table(folder, saved, "teacher", tables)
    model = model.to(memory_format=backbone.memory_format(saved.architecture))
    return model if saved.task == task else Grouped(model, groups)


def load_soup(
    folders: Sequence[Path], config: TrainConfig, tables: Collection[str]
) -> list[nn.Module]:
    """The models in folders, to be averaged with a run of `config`.

    Raises ConfigError for a model of another architecture or task, whose weights mean something
    else, and for one that comes twice; LeakError for one that was trained on no table of `tables`,
    which are hashes (see `load_teachers`). Nothing here can tell if they began from the same
    weights: the mean of others is no good model, and validation shows it.
    """
    models = []
    hashes: set[str] = set()
    for folder in folders:
        model, saved = weights.load(folder)
        if (saved.architecture, saved.task) != (config.model, TASKS[config.task]):
            raise ConfigError(
                f"--soup {folder} is a {saved.architecture} of the task {saved.task.name!r}, "
                f"expected a {config.model} of the task {config.task!r}: other weights can't be "
                "averaged with it."
            )
        check_table(folder, saved, "soup", tables)
        if saved.weights_sha256 in hashes:
            raise ConfigError(
                f"--soup {folder} has the weights of another of them, expected each model once."
            )
        hashes.add(saved.weights_sha256)
        models.append(model)
    return models


@torch.no_grad()
def average_weights(model: nn.Module, others: Sequence[nn.Module]) -> nn.Module:
    """A copy of a model with the mean of its weights and the others', and of batch statistics."""
    mean = copy.deepcopy(model)
    states = [other.state_dict() for other in others]
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            same = [state[name].to(tensor.device, tensor.dtype) for state in states]
            tensor.copy_(torch.stack([tensor, *same]).mean(dim=0))
    return mean
