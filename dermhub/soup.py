"""Averages of weights: a run's, and those of other models that were begun from the same weights (`--soup`).

Wortsman et al., "Model soups", ICML 2022, section 2, with equal shares; of two models, one of which was trained less:
Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, section 3.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import nn

from dermhub import checkpoint, teacher
from dermhub.errors import ConfigError
from dermhub.labels import TASKS
from dermhub.train_config import TrainConfig


def load(folders: list[Path], config: TrainConfig, tables: Collection[str]) -> list[nn.Module]:
    """The models in folders, to be averaged with a run of `config`.

    Raises ConfigError for a model of another architecture or task, whose weights mean something else, and for one that
    comes twice; LeakError for one that was trained on no table of `tables`, which are hashes (see `teacher.load`).
    That they began from the same weights nothing here can tell: the mean of others is no good model, and validation
    shows it.
    """
    models, hashes = [], set()
    for folder in folders:
        model, known = checkpoint.load(folder)
        if (known.architecture, known.task) != (config.model, TASKS[config.task]):
            raise ConfigError(
                f"--soup {folder} is a {known.architecture} of the task {known.task.name!r}, "
                f"expected a {config.model} of the task {config.task!r}: other weights can't be averaged with it."
            )
        teacher.check_table(folder, known, "soup", tables)
        if known.weights_sha256 in hashes:
            raise ConfigError(f"--soup {folder} has the weights of another of them, expected each model once.")
        hashes.add(known.weights_sha256)
        models.append(model)
    return models


@torch.no_grad()
def stir(model: nn.Module, others: Sequence[nn.Module]) -> nn.Module:
    """A copy of a model whose weights, and statistics of batch norms, are the mean of its own and the others'."""
    mean = copy.deepcopy(model)
    parts = [other.state_dict() for other in others]
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            own = [tensor, *(part[name].to(tensor.device, tensor.dtype) for part in parts)]
            tensor.copy_(torch.stack(own).mean(dim=0))
    return mean
