"""Weights of a model folder: written atomically, read strictly, safetensors only.

A model folder holds config.json and model.safetensors in the names that timm itself reads, so
`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the same logits to the bit.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dermhub.errors import ConfigError, ModelError, some
from dermhub.layout import CONFIG, WEIGHTS
from dermhub.models import backbone
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of the names of files that PyTorch saves as pickles."""

PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First two bytes of a pickle: those of PyTorch's ZIP archive, and of protocols 2 to 5."""

A_PICKLE = "a pickle, which is never loaded because it can run code"


def save(path: Path, model: nn.Module, config: ModelConfig, half: bool = False) -> ModelFolder:
    """Write model.safetensors and config.json, with the weights' sha256, into a folder.

    With `half` the weight matrices are written in half precision, without loss after `round_half`;
    they are read back, here and in timm, as float32. Raises ModelError for weights that are not
    finite (in half precision: or above 65504), and ConfigError when the folder can't be written.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        tensors[name] = tensor.half() if half and _is_matrix(tensor) else tensor
    _check_finite(tensors, "The model")
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    return ModelFolder(path).write(config, {WEIGHTS: content})


@torch.no_grad()
def round_half(model: nn.Module) -> None:
    """Round the weight matrices of a model to half precision, in place.

    Biases, norms and their statistics are few and stay exact. Raises ConfigError for weights that
    half precision does not hold.
    """
    for name, tensor in model.state_dict().items():
        if _is_matrix(tensor):
            half = tensor.half()
            if bool(half.isinf().any() and tensor.isfinite().all()):
                raise ConfigError(
                    f"{name} has weights above 65504, which half precision does not hold: use "
                    "--weights fp32."
                )
            tensor.copy_(half)


def load(path: Path) -> tuple[nn.Module, ModelConfig]:
    """Read the model of a folder and its configuration; see `read`."""
    folder = ModelFolder(path)
    return read(folder), folder.config


def read(folder: ModelFolder) -> nn.Module:
    """Read the model of a folder, in evaluation mode on the CPU.

    Every tensor must be there, finite and in its shape, no other may be there, and the file must
    have the sha256 that config.json states. Raises ModelError, which names the tensor, the kind of
    a file that is no safetensors file, or both hashes.
    """
    folder.check_whole()
    config = folder.config
    path = folder.path / WEIGHTS
    classes = len(config.task.classes)
    try:
        model = backbone.build(config.architecture, classes)
    except (ConfigError, RuntimeError) as error:
        raise ModelError(f"{folder.path / CONFIG}: {error}") from error
    tensors = read_tensors(path)
    # First, because it explains why the last layer has the wrong shape.
    _check_classes(tensors, model, classes, path)
    expected = model.state_dict()
    shared = [name for name in tensors if name in expected]
    problems = {
        "lacks": [name for name in expected if name not in tensors],
        "has the unexpected": [name for name in tensors if name not in expected],
        "has the wrong shape for": [
            name for name in shared if tensors[name].shape != expected[name].shape
        ],
    }
    for problem, names in problems.items():
        if names:
            raise ModelError(f"{path} {problem} tensor(s) {some(names)} of {config.architecture}.")
    _check_finite(tensors, str(path))
    # Last, because "lacks tensor x" helps more than two hashes.
    folder.check(WEIGHTS)
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises ModelError when it is missing, cut short or of another format.
    """
    try:
        # Opened first, because safetensors calls a file missing that it has no right to read.
        path.open("rb").close()
        return safetensors.torch.load_file(path)
    except PermissionError as error:
        raise ModelError(
            f"{path} can't be read ({error.strerror}): ask whoever owns it for the right to."
        ) from None
    except FileNotFoundError:
        pickles = [other.name for other in path.parent.glob("*") if other.suffix in PICKLE_SUFFIXES]
        instead = f"; {some(pickles)} is {A_PICKLE}" if pickles else ""
        raise ModelError(f"There is no {path}{instead}.") from None
    except (OSError, safetensors.SafetensorError) as error:
        kind = f"no complete safetensors file ({error})"
        with contextlib.suppress(OSError), path.open("rb") as stream:
            if stream.read(2) in PICKLE_STARTS:
                kind = A_PICKLE
        raise ModelError(f"{path} is {kind}: fetch or export the model again.") from None


def _is_matrix(tensor: torch.Tensor) -> bool:
    """Tell the weights of layers from biases, norms, their statistics and counters."""
    return tensor.is_floating_point() and tensor.ndim > 1


def _check_classes(
    tensors: dict[str, torch.Tensor], model: nn.Module, classes: int, path: Path
) -> None:
    """Raise ModelError where the last layer has not a row of weights for each class."""
    last = backbone.classifier(model)
    name = next(name for name, module in model.named_modules() if module is last)
    weight = tensors.get(f"{name}.weight")
    if weight is not None and weight.shape[0] != classes:
        raise ModelError(
            f"{path} has {weight.shape[0]} classes but {CONFIG} names {classes}: the two files do "
            "not belong together."
        )


def _check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    """Raise ModelError where a tensor holds NaN or infinite values."""
    broken = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if broken:
        raise ModelError(f"{source} holds NaN or infinite values in tensor(s) {some(broken)}.")
