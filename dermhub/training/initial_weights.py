"""Weights of other programs as the beginning of a training run (`--init FILE.safetensors`).

Other programs write the same network under other names: DataParallel puts "module." before each,
torch.compile "_orig_mod.", and wrappers "model." or "backbone.". Such names are read without it,
and a sentence on stderr says so. Whatever does not fit then is refused; nothing is guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from dermhub import regular_files, tensors
from dermhub.errors import ModelError, some
from dermhub.models import backbone
from dermhub.tensors import FormatError
from dermhub.training import distributed

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""Beginnings of names that wrappers add to all names; they may stand one before the other."""

HEADS = ("fc", "head", "classifier", "last_linear", "heads")
"""First parts of the names that the last layers of a network have in common programs."""

COUNTER = "num_batches_tracked"
"""Last part of the name of a batch norm's counter, which files of older PyTorch lack."""

CONVERT = "convert it first, as docs/training.md shows under 'Weights from elsewhere'"

Tensors = Mapping[str, torch.Tensor]


def from_file(
    path: Path,
    architecture: str,
    num_classes: int,
    dropout: float = 0.0,
    whole: bool = False,
) -> nn.Module:
    """Build a model with the backbone's weights from a safetensors file; see `backbone.build`.

    The classifier stays fresh unless `whole`. A line on stderr names what was read under another
    name or left out. Raises ModelError for a file that is missing, no safetensors, or made for
    another architecture.
    """
    skeleton = backbone.skeleton(architecture, num_classes, dropout)
    stored = _read(path)
    wanted = skeleton.state_dict()
    fresh = set() if whole else backbone.classifier_names(skeleton)
    fitting, notes = fit_names(stored, set(wanted) - fresh, set(fresh), str(path))
    model = backbone.build(architecture, num_classes, dropout)
    counters = [name for name in wanted if name.endswith(COUNTER) and name not in fitting]
    if counters:
        notes.append(f"it lacks the counters {COUNTER} of its batch norms, which begin at 0")
        fitting |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    negative = [name for name, values in fitting.items() if _has_negative_variance(name, values)]
    if negative:
        raise ModelError(
            f"{path} holds negative variances in {some(negative)}: the file is damaged, save it "
            "anew."
        )
    backbone.load_backbone(model, fitting, architecture, str(path), whole)
    for note in notes if distributed.is_main() else []:
        print(f"dermhub: {path}: {note}.", file=sys.stderr)
    return model


def fit_names(
    stored: Tensors, backbone_names: set[str], head_names: set[str], source: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Give tensors the names of a model, and say in notes what was done.

    `backbone_names` are those of the model without its last layer, and `head_names` those of that
    layer, which is trained anew. Tensors that still have other names keep them, so that the caller
    refuses them. Raises ModelError, which names the file as `source`, where only some names have a
    wrapper's prefix, where a name is there with and without it, and where all have the prefix of an
    unknown one.
    """
    notes = []
    named = dict(stored)
    _check_two_models(named, backbone_names, source)
    removed = ""
    needed = {name for name in backbone_names if not name.endswith(COUNTER)}
    while not needed <= set(named):
        prefix = _wrapper(named, backbone_names, source)
        if not prefix:
            break
        removed += prefix
        named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    if removed:
        notes.append(f"the names of its tensors begin with {removed!r}, and are read without it")
    if prefix := _common_prefix(named, needed):
        raise ModelError(
            f"{source} has names that begin with {prefix!r}, a wrapper that is not known here: "
            "save the inner model's state_dict() and give that file."
        )
    head = [name for name in named if _is_head(name) and name not in backbone_names]
    if head and head_names:
        notes.append(
            f"its last layer ({some(sorted(head), 2)}) is left out, and a new one is trained"
        )
        named = {name: tensor for name, tensor in named.items() if name not in head}
    return named, notes


def _check_two_models(names: Tensors, wanted: set[str], source: str) -> None:
    """Raise ModelError where tensors are there both with and without a prefix of `PREFIXES`."""
    for prefix in PREFIXES:
        twice = sorted(name for name in names if prefix + name in names)
        if twice and not any(name.startswith(prefix) for name in wanted):
            raise ModelError(
                f"{source} has {len(twice)} tensor(s) under two names ({twice[0]} and "
                f"{prefix}{twice[0]}), and so two models: save the state_dict() of one of them "
                "alone and give that file."
            )


def _wrapper(names: Tensors, wanted: set[str], source: str) -> str:
    """Return the prefix of `PREFIXES` before all names but those of a head, or "".

    Raises ModelError where only some of the names have it.
    """
    body = [name for name in names if not _is_head(name)]
    for prefix in PREFIXES:
        wrapped = [name for name in body if name.startswith(prefix)]
        if not wrapped or any(name.startswith(prefix) for name in wanted):
            continue
        if len(wrapped) == len(body):
            return prefix
        others = [name for name in body if not name.startswith(prefix)]
        raise ModelError(
            f"{source} has names with {prefix!r} before them ({some(wrapped, 1)}) and names "
            f"without it ({some(others, 1)}): save the state_dict() of one model alone and give "
            "that file."
        )
    return ""


def _common_prefix(names: Tensors, needed: set[str]) -> str:
    """Return the text without which names are all those that a model needs, or ""."""
    last = next(iter(needed), "")
    prefixes = {name.removesuffix(last) for name in names if name.endswith(f".{last}")}
    return next(
        (
            prefix
            for prefix in sorted(prefixes)
            if prefix and needed <= {name.removeprefix(prefix) for name in names}
        ),
        "",
    )


def _has_negative_variance(name: str, values: torch.Tensor) -> bool:
    """Tell if a tensor is a batch norm's variance and has a value below 0."""
    return name.endswith("running_var") and values.is_floating_point() and bool((values < 0).any())


def _is_head(name: str) -> bool:
    """Return True for the name of a tensor of a network's last layers."""
    return name.partition(".")[0] in HEADS


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of another program; raises ModelError for anything else."""
    try:
        tensors.file_header(path, regular_files.largest_weights())
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise ModelError(
            f"There is no file {path}: --init takes 'pretrained', 'scratch', a model or a "
            ".safetensors file."
        ) from None
    except (OSError, safetensors.SafetensorError, FormatError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        advice = f": {CONVERT}" if tensors.A_PICKLE in str(reason) else ""
        raise ModelError(f"{path} is not a readable safetensors file ({reason}){advice}.") from None
