"""Model folders and run states: written atomically, read strictly, safetensors only.

A model folder holds config.json and model.safetensors in the names that timm itself reads, so
`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the same logits to the bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dermhub import backbone, catalog, files
from dermhub.config import ModelConfig, read_config
from dermhub.errors import ConfigError, ModelError, some

WEIGHTS, CONFIG = catalog.WEIGHTS, catalog.CONFIG


def save(folder: Path, model: nn.Module, config: ModelConfig, half: bool = False) -> None:
    """Write model.safetensors and config.json, with the weights' sha256, into a folder.

    With `half` the weight matrices are written in half precision, which loses nothing of those of `round_half`; they
    are read back, here and in timm, as float32. Raises ModelError for weights that are not finite (in half precision:
    or above 65504), and ConfigError when the folder can't be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if _is_matrix(tensor) else tensor for name, tensor in tensors.items()}
    _check_finite(tensors, "The model")
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    config = dataclasses.replace(config, weights_sha256=hashlib.sha256(content).hexdigest())
    files.write_bytes(folder / WEIGHTS, content)
    files.write_json(folder / CONFIG, config.to_json())


@torch.no_grad()
def round_half(model: nn.Module) -> None:
    """Round the weight matrices to half precision; biases, norms and their statistics, which are few, stay exact.

    Raises ConfigError for weights that half precision does not hold.
    """
    for name, tensor in model.state_dict().items():
        if _is_matrix(tensor):
            half = tensor.half()
            if bool(half.isinf().any() and tensor.isfinite().all()):
                raise ConfigError(
                    f"{name} has weights above 65504, which half precision does not hold: use --weights fp32."
                )
            tensor.copy_(half)


def add_file(folder: Path, name: str, content: bytes) -> None:
    """Write another file of a model beside its weights, and state its sha256 in config.json, in place of an older one.

    Raises ModelError for a folder without a configuration, and ConfigError when it can't be written.
    """
    config = read_config(folder)
    files.write_bytes(folder / name, content)
    stated = {**config.files, name: hashlib.sha256(content).hexdigest()}
    files.write_json(folder / CONFIG, dataclasses.replace(config, files=dict(sorted(stated.items()))).to_json())


def load(folder: Path) -> tuple[nn.Module, ModelConfig]:
    """The model of a folder, in evaluation mode on the CPU, and what it means.

    Every tensor must be there, in its shape and finite, none may be left over, and the file must be
    the one whose sha256 config.json states. Raises ModelError naming the tensor, what stands there
    in place of a safetensors file, or both hashes.
    """
    config = read_config(folder)
    try:
        model = backbone.build(config.architecture, len(config.task.classes))
    except (ConfigError, RuntimeError) as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    tensors = read_tensors(folder / WEIGHTS)
    expected = model.state_dict()
    last = next(name for name, module in model.named_modules() if module is backbone.classifier(model))
    rows = tensors[f"{last}.weight"].shape[0] if f"{last}.weight" in tensors else len(config.task.classes)
    if rows != len(config.task.classes):
        raise ModelError(
            f"{folder / WEIGHTS} has {rows} classes but {CONFIG} names {len(config.task.classes)}: "
            "the two files do not belong together."
        )
    for problem, names in (
        ("lacks", [n for n in expected if n not in tensors]),
        ("has the unexpected", [n for n in tensors if n not in expected]),
        ("has the wrong shape for", [n for n in tensors if n in expected and tensors[n].shape != expected[n].shape]),
    ):
        if names:
            raise ModelError(f"{folder / WEIGHTS} {problem} tensor(s) {some(names)} of {config.architecture}.")
    _check_finite(tensors, str(folder / WEIGHTS))
    # Last, because "lacks tensor x" helps more than two hashes.
    files.check_sha256(folder / WEIGHTS, config.weights_sha256, CONFIG, files.CHANGED)
    model.load_state_dict(tensors, strict=True)
    return model.eval(), config


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; raises ModelError when it is missing, cut short or another format."""
    try:
        # safetensors says of a file that may not be read that it is not there.
        path.open("rb").close()
        return safetensors.torch.load_file(path)
    except PermissionError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}): ask whoever owns it for the right to.") from None
    except FileNotFoundError:
        pickles = [p.name for p in path.parent.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
        instead = f"; {some(pickles)} is a pickle, which is never loaded because it can run code" if pickles else ""
        raise ModelError(f"There is no {path}{instead}.") from None
    except (OSError, safetensors.SafetensorError) as error:
        kind = f"no complete safetensors file ({error})"
        with contextlib.suppress(OSError), path.open("rb") as stream:
            if stream.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                kind = "a pickle, which is never loaded because it can run code"
        raise ModelError(f"{path} is {kind}: fetch or export the model again.") from None


def save_state(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, int]
) -> None:
    """Write all that an interrupted run needs into one file, atomically."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(contiguous, metadata={"format": "pt", "progress": json.dumps(progress)})
    files.write_bytes(path, content)


def load_state(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Restore what `save_state` wrote and return its progress; raises ModelError when it does not fit."""
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
        progress: dict[str, int] = {name: int(value) for name, value in json.loads(metadata["progress"]).items()}
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} does not fit the model of this run: start a new run instead.") from error
    return progress


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError unless every parameter has its two moments, in its own shape."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if any(state[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError("moments of another shape")


def _is_matrix(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 1


def _check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    broken = [name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise ModelError(f"{source} holds NaN or infinite values in tensor(s) {some(broken)}.")
