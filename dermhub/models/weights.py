"""Model folders and run states: written atomically, read strictly, safetensors only.

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
from dermhub.models.folder import ModelFolder


def save(path: Path, model: nn.Module, config: ModelConfig, half: bool = False) -> ModelFolder:
    """Write model.safetensors and config.json, with the weights' sha256, into a folder.

    With `half` the weight matrices are written in half precision, which loses nothing of those of
    `round_half`; they are read back, here and in timm, as float32. Raises ModelError for weights
    that are not finite (in half precision: or above 65504), and ConfigError when the folder can't
    be written.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    if half:
        tensors = {
            name: tensor.half() if _is_matrix(tensor) else tensor
            for name, tensor in tensors.items()
        }
    _check_finite(tensors, "The model")
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    return ModelFolder(path).write(config, {WEIGHTS: content})


@torch.no_grad()
def round_half(model: nn.Module) -> None:
    """Round the weight matrices to half precision; biases, norms and their statistics, which are
    few, stay exact.

    Raises ConfigError for weights that half precision does not hold.
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
    """The model of a folder and its configuration; see `read`."""
    folder = ModelFolder(path)
    return read(folder), folder.config


def read(folder: ModelFolder) -> nn.Module:
    """The model of a folder, in evaluation mode on the CPU.

    Every tensor must be there, in its shape and finite, none may be left over, and the file must be
    the one whose sha256 config.json states. Raises ModelError naming the tensor, what stands there
    in place of a safetensors file, or both hashes.
    """
    config, path = folder.config, folder.path / WEIGHTS
    folder.check_whole()
    try:
        model = backbone.build(config.architecture, len(config.task.classes))
    except (ConfigError, RuntimeError) as error:
        raise ModelError(f"{folder.path / CONFIG}: {error}") from error
    tensors = read_tensors(path)
    expected = model.state_dict()
    last = next(
        name for name, module in model.named_modules() if module is backbone.classifier(model)
    )
    rows = (
        tensors[f"{last}.weight"].shape[0]
        if f"{last}.weight" in tensors
        else len(config.task.classes)
    )
    if rows != len(config.task.classes):
        raise ModelError(
            f"{path} has {rows} classes but {CONFIG} names {len(config.task.classes)}: the two "
            "files do not belong together."
        )
    for problem, names in (
        ("lacks", [n for n in expected if n not in tensors]),
        ("has the unexpected", [n for n in tensors if n not in expected]),
        (
            "has the wrong shape for",
            [n for n in tensors if n in expected and tensors[n].shape != expected[n].shape],
        ),
    ):
        if names:
            raise ModelError(f"{path} {problem} tensor(s) {some(names)} of {config.architecture}.")
    _check_finite(tensors, str(path))
    # Last, because "lacks tensor x" helps more than two hashes.
    folder.check(WEIGHTS)
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; raises ModelError when it is missing, cut short or another
    format.
    """
    try:
        # safetensors says of a file that may not be read that it is not there.
        path.open("rb").close()
        return safetensors.torch.load_file(path)
    except PermissionError as error:
        raise ModelError(
            f"{path} can't be read ({error.strerror}): ask whoever owns it for the right to."
        ) from None
    except FileNotFoundError:
        pickles = [
            p.name
            for p in path.parent.glob("*")
            if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")
        ]
        instead = (
            f"; {some(pickles)} is a pickle, which is never loaded because it can run code"
            if pickles
            else ""
        )
        raise ModelError(f"There is no {path}{instead}.") from None
    except (OSError, safetensors.SafetensorError) as error:
        kind = f"no complete safetensors file ({error})"
        with contextlib.suppress(OSError), path.open("rb") as stream:
            if stream.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                kind = "a pickle, which is never loaded because it can run code"
        raise ModelError(f"{path} is {kind}: fetch or export the model again.") from None


def _is_matrix(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 1


def _check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    broken = [
        name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()
    ]
    if broken:
        raise ModelError(f"{source} holds NaN or infinite values in tensor(s) {some(broken)}.")
