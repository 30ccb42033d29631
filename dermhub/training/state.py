"""The state of a training run, from which an interrupted run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dermhub import files
from dermhub.errors import ModelError
from dermhub.models.weights import read_tensors

STATE = "state.safetensors"
"""File of a run's folder with all that `save_state` writes."""

HISTORY = "history.csv"
"""File of a run's folder with a row for each epoch."""


def save_state(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, int],
) -> None:
    """Write all that an interrupted run needs into one file, atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()
        }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(
        contiguous, metadata={"format": "pt", "progress": json.dumps(progress)}
    )
    files.write_bytes(path, content)


def load_state(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, int]:
    """Restore what `save_state` wrote and return its progress.

    Raises ModelError when it does not fit the model.
    """
    tensors = read_tensors(path)
    with safetensors.safe_open(path, "pt") as stream:
        metadata = stream.metadata() or {}
    if "progress" not in metadata:
        raise ModelError(f"{path} is not the state of a training run.")
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    try:
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        model.load_state_dict(parts["model"], strict=True)
        average.load_state_dict(parts["average"], strict=True)
        content = optimizer.state_dict()
        content["state"] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            content["state"].setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict(content)
        _check_moments(optimizer)
        progress: dict[str, int] = {
            name: int(value) for name, value in json.loads(metadata["progress"]).items()
        }
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} does not fit the model of this run: start a new run instead."
        ) from error
    return progress


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError unless every parameter has its two moments, in its own shape."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if any(state[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError("moments of another shape")
