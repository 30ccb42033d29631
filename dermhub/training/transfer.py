"""Models to learn from: their weights (`--init`), and their answers to the student's task
(`--teacher`).
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
from dermhub.models.folder import ModelFolder
from dermhub.tasks import TASKS
from dermhub.training.config import TrainConfig


class Grouped(nn.Module):
    """A model whose classes are put together: class k of its answers is any of the classes c with
    `groups[c]` = k.

    The probability of a group is the sum of those of its classes.
    """

    def __init__(self, model: nn.Module, groups: list[int]) -> None:
        super().__init__()
        self.model, self.groups = model, groups

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> logits (N, number of groups)."""
        logits = self.model(images).float()
        parts = [
            [c for c, group in enumerate(self.groups) if group == k]
            for k in range(max(self.groups) + 1)
        ]
        return torch.stack([logits[:, part].logsumexp(dim=1) for part in parts], dim=1)


class Mean(nn.Module):
    """Models of one task whose probabilities are averaged, as their logits give them: without their
    temperatures.
    """

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> logits (N, C), the logarithms of the mean probabilities."""
        found = torch.stack([model(images).float().log_softmax(dim=1) for model in self.models])
        return found.logsumexp(dim=0) - math.log(len(self.models))


def model_names(given: str, option: str) -> list[str]:
    """The models that an option (`--teacher`, `--soup`) names, with commas between them; none where
    it is empty.

    Raises ConfigError for a name that is empty or comes twice.
    """
    # A folder may have a comma in its name. Path.is_dir raises for what is too long to be one.
    if not given or os.path.isdir(given):  # noqa: PTH112
        return [given] if given else []
    found = [name.strip() for name in given.split(",")]
    if "" in found or len(set(found)) < len(found):
        raise ConfigError(
            f"--{option} is {given!r}, expected models, each once, with commas between them."
        )
    return found


def describe_models(folders: list[Path]) -> list[dict[str, str]]:
    """What a card says of the models in folders: the architecture, task and weights of each."""
    known = [ModelFolder(folder).config for folder in folders]
    return [
        {
            "architecture": one.architecture,
            "task": one.task.name,
            "weights_sha256": one.weights_sha256,
        }
        for one in known
    ]


def load_teachers(
    folders: list[Path], config: TrainConfig, tables: Collection[str]
) -> nn.Module | None:
    """What to learn from: the mean of the models in the folders, or None where there is no folder.

    A lesion model teaches the binary task the sums of its probabilities. Raises LeakError for a
    teacher that was trained on a table (of images, lesions and splits) whose hash is not among
    `tables`: it may have seen this run's validation and test lesions, and pass on what it saw.
    Raises ConfigError for one whose classes are none of the task's.
    """
    models = [_load_model(folder, config, tables) for folder in folders]
    return Mean(models) if len(models) > 1 else next(iter(models), None)


def initialise(folder: Path, config: TrainConfig, tables: Collection[str]) -> nn.Module:
    """The model of `config` with the weights of the model in a folder, to train on: its classifier,
    too, if it has the same task.

    Raises LeakError as `load` does, and ModelError for a model of another architecture and for
    changed weights.
    """
    saved, path = ModelFolder(folder), folder / layout.WEIGHTS
    known = saved.config
    check_table(folder, known, "init", tables)
    saved.check_whole()
    saved.check(layout.WEIGHTS)
    task = TASKS[config.task]
    same = known.task == task
    return backbone.from_file(
        path, config.model, len(task.classes), config.dropout, config.drop_path, same
    )


def check_file(path: Path, tables: Collection[str]) -> None:
    """Raise LeakError for the weight file of a model of dermhub that is of no table of `tables`;
    see `load`.
    """
    if path.name == layout.WEIGHTS and (path.parent / layout.CONFIG).is_file():
        try:
            known = ModelFolder(path.parent).config
        except ModelError:  # weights of timm, or of another program
            return
        check_table(path, known, "init", tables)


def _load_model(folder: Path, config: TrainConfig, tables: Collection[str]) -> nn.Module:
    model, known = weights.load(folder)
    task = TASKS[config.task]
    groups = [task.index_of(name) for name in known.task.classes]
    if None in groups:
        raise ConfigError(
            f"--teacher is a model of the task {known.task.name!r}, expected {config.task!r}."
        )
    check_table(folder, known, "teacher", tables)
    model = model.to(memory_format=backbone.memory_format(known.architecture))
    return (
        model
        if known.task == task
        else Grouped(model, [group for group in groups if group is not None])
    )


def check_table(place: Path, known: ModelConfig, option: str, tables: Collection[str]) -> None:
    """Raise LeakError for a model that was trained on no table of `tables`; see `load`."""
    if known.provenance.get("data", {}).get("table_sha256") not in tables:
        raise LeakError(
            f"--{option} {place} was trained on another table, and may have seen the lesions that "
            "this run is "
            "tested on: give a model that was trained on the same data (with the same --extra, or "
            "without any)."
        )


def load_soup(folders: list[Path], config: TrainConfig, tables: Collection[str]) -> list[nn.Module]:
    """The models in folders, to be averaged with a run of `config`.

    Raises ConfigError for a model of another architecture or task, whose weights mean something
    else, and for one that comes twice; LeakError for one that was trained on no table of `tables`,
    which are hashes (see `transfer.load_teachers`). That they began from the same weights nothing
    here can tell: the mean of others is no good model, and validation shows it.
    """
    models, hashes = [], set()
    for folder in folders:
        model, known = weights.load(folder)
        if (known.architecture, known.task) != (config.model, TASKS[config.task]):
            raise ConfigError(
                f"--soup {folder} is a {known.architecture} of the task {known.task.name!r}, "
                f"expected a {config.model} of the task {config.task!r}: other weights can't be "
                "averaged with it."
            )
        check_table(folder, known, "soup", tables)
        if known.weights_sha256 in hashes:
            raise ConfigError(
                f"--soup {folder} has the weights of another of them, expected each model once."
            )
        hashes.add(known.weights_sha256)
        models.append(model)
    return models


@torch.no_grad()
def average_weights(model: nn.Module, others: Sequence[nn.Module]) -> nn.Module:
    """A copy of a model whose weights, and statistics of batch norms, are the mean of its own and
    the others'.
    """
    mean = copy.deepcopy(model)
    parts = [other.state_dict() for other in others]
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            own = [tensor, *(part[name].to(tensor.device, tensor.dtype) for part in parts)]
            tensor.copy_(torch.stack(own).mean(dim=0))
    return mean
