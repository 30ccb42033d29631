"""The state of a training run, from which an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dermhub import files
from dermhub.errors import ModelError
from dermhub.models.weights import read_tensors

CHECKSUM = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')
"""Pattern of the checksum in the header of a state."""


def save_state(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, int],
) -> None:
    """Write all that an interrupted run needs into one file, atomically.

    The header states the sha256 of the whole file, as it is with zeros in the checksum's place.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()
        }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt", "progress": json.dumps(progress), "sha256": "0" * 64}
    content = safetensors.torch.save(contiguous, metadata=metadata)
    digest = hashlib.sha256(content).hexdigest().encode()
    files.write_bytes(path, content.replace(b"0" * 64, digest, 1))


def load_state(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, int]:
    """Restore what `save_state` wrote and return its progress.

    Raises ModelError when it is damaged or does not fit the model.
    """
    if not path.is_file():
        problem = f"{path} is no file" if path.exists() else f"There is no file {path}"
        raise ModelError(f"{problem}: restore it from a backup, or start a new run.")
    tensors = read_tensors(path)
    _check_bytes(path)
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


def _check_bytes(path: Path) -> None:
    """Raise ModelError where a state has not the checksum that it states.

    States of an earlier version have none.
    """
    content = path.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    stated = CHECKSUM.search(header)
    if stated is None:
        return
    zeroed = content.replace(stated[1], b"0" * 64, 1)
    if hashlib.sha256(zeroed).hexdigest().encode() != stated[1]:
        raise ModelError(
            f"{path} is damaged, its bytes are not those that were written: restore it from a "
            "backup, or start a new run."
        )


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError unless every parameter has its two moments, in its own shape."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if any(state[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError("moments of another shape")
