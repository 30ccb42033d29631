"""Weights of a model folder: written atomically, read strictly, safetensors only.

A model folder holds config.json and model.safetensors in the names that timm itself reads, so
`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the same logits to the bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dermhub import regular_files
from dermhub.errors import ConfigError, ModelError, some
from dermhub.layout import CONFIG, WEIGHTS
from dermhub.models import backbone
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder
from dermhub.regular_files import largest_weights
from dermhub.tensors import A_PICKLE, PICKLES, FormatError, Stored, file_header

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of the names of files that PyTorch saves as pickles."""

STATES = 8
"""Times its weights that the file of a training state may take: averages and moments are in it."""

FLOATS = ("F64", "F32", "F16", "BF16")
"""Dtypes of a file that hold the values of floating point tensors."""


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
                    f"{name} has weights above 65504, which half precision does not hold: "
                    "train with a lower --lr."
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
        # Without values, so that nothing is built that the file does not hold.
        model = backbone.skeleton(config.architecture, classes)
    except (ConfigError, RuntimeError) as error:
        raise ModelError(f"{folder.path / CONFIG}: {error}") from error
    with _refusals(path):
        header = file_header(path, largest_weights())
    _check_stored(header.tensors, model, config.architecture, path)
    tensors = read_tensors(path)
    _check_finite(tensors, str(path))
    # Last, because "lacks tensor x" helps more than two hashes.
    folder.check(WEIGHTS)
    return _filled(model, tensors, config)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises ModelError when it is missing, no ordinary file, far larger than any weights
    (`STATES`), cut short, or of another format.
    """
    with _refusals(path):
        # Opened first, because safetensors calls a file missing that it has no right to read.
        regular_files.open_regular(path, STATES * largest_weights()).close()
        return safetensors.torch.load_file(path)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn errors of reading a safetensors file into a ModelError of one sentence."""
    try:
        yield
    except PermissionError as error:
        raise ModelError(
            f"{path} can't be read ({error.strerror}): ask whoever owns it for the right to."
        ) from None
    except FileNotFoundError:
        pickles = [other.name for other in path.parent.glob("*") if other.suffix in PICKLE_SUFFIXES]
        instead = f"; {some(pickles)} is {A_PICKLE}" if pickles else ""
        raise ModelError(f"There is no {path}{instead}.") from None
    except (OSError, safetensors.SafetensorError, FormatError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        kind = f"no complete safetensors file ({reason})"
        with (
            contextlib.suppress(OSError),
            regular_files.open_regular(path, STATES * largest_weights()) as stream,
        ):
            if stream.read(2) in PICKLES:
                kind = A_PICKLE
        raise ModelError(f"{path} is {kind}: fetch or export the model again.") from None


def _filled(model: nn.Module, tensors: dict[str, torch.Tensor], config: ModelConfig) -> nn.Module:
    """Give a skeleton its values, in evaluation mode; the tensors must fit it."""
    expected = model.state_dict()
    # Copies, because those of the file change or vanish with it.
    own = {name: tensor.to(expected[name].dtype, copy=True) for name, tensor in tensors.items()}
    model.load_state_dict(own, strict=True, assign=True)
    everything = (*model.parameters(), *model.buffers())
    if any(tensor.is_meta for tensor in everything):
        # Some models work out tensors that no file holds.
        model = backbone.build(config.architecture, len(config.task.classes))
        model.load_state_dict(own, strict=True)
    return model.eval()


def _is_matrix(tensor: torch.Tensor) -> bool:
    """Tell the weights of layers from biases, norms, their statistics and counters."""
    return tensor.is_floating_point() and tensor.ndim > 1


def _check_stored(
    stored: Mapping[str, Stored], model: nn.Module, architecture: str, path: Path
) -> None:
    """Raise ModelError where a file's tensors are not those of a model, by name and shape."""
    _check_classes(stored, model, path)
    expected = model.state_dict()
    shared = [name for name in stored if name in expected]
    problems = {
        "lacks": [name for name in expected if name not in stored],
        "has the unexpected": [name for name in stored if name not in expected],
        "has the wrong shape for": [
            name for name in shared if stored[name].shape != expected[name].shape
        ],
        "has the wrong kind of numbers for": [
            name
            for name in shared
            if (stored[name].kind in FLOATS) != expected[name].is_floating_point()
        ],
    }
    for problem, names in problems.items():
        if names:
            raise ModelError(f"{path} {problem} tensor(s) {some(names)} of {architecture}.")


def _check_classes(stored: Mapping[str, Stored], model: nn.Module, path: Path) -> None:
    """Raise ModelError where the last layer has not a row of weights for each class."""
    # First, because it explains why the last layer has the wrong shape.
    classes = backbone.classifier(model).out_features
    (name,) = (name for name in backbone.classifier_names(model) if name.endswith(".weight"))
    weight = stored.get(name)
    if weight is not None and weight.shape[:1] != (classes,):
        raise ModelError(
            f"{path} has {weight.shape[0] if weight.shape else 0} classes but {CONFIG} names "
            f"{classes}: the two files do not belong together."
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
