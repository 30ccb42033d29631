"""timm backbones; the only module that imports timm.

A model is used in two parts: `features(model, images)` gives maps (N, K, h, w) and `head(model,
maps)` gives logits (N, C); together they equal the model's own forward pass.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from dermhub import regular_files
from dermhub.errors import ConfigError, DownloadError, ModelError, some, suggest
from dermhub.hub import client
from dermhub.images.view import IMAGENET_MEAN, IMAGENET_STD
from dermhub.layout import WEIGHTS

PROBE = 96
"""Height and width in pixels of the image that tells a CNN from other models."""

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv2d, Conv2dSame)
"""Convolutions whose output is linear in their weights; others standardise them first."""

Triple = tuple[float, float, float]
"""A value for red, green and blue."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Kinds of numbers in which weights are read."""


def build(architecture: str, num_classes: int, dropout: float = 0.0) -> nn.Module:
    """Build a timm CNN with random weights, in training mode.

    Raises ConfigError for a name that timm does not have (with the nearest one), for models that
    are too large, and for ones that are no CNNs.
    """
    skeleton(architecture, num_classes, dropout)
    model = timm.create_model(architecture, num_classes=num_classes, drop_rate=dropout)
    # timm draws the classifier so wide that the first loss of a few classes is above 10, which
    # disturbs the backbone.
    last = classifier(model)
    nn.init.normal_(last.weight, std=0.01)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return model


def skeleton(architecture: str, num_classes: int, dropout: float = 0.0) -> nn.Module:
    """Build a timm CNN on PyTorch's device "meta": names and shapes of its tensors, no values.

    It takes no memory, however large the model is; a model whose weights would take more than
    `regular_files.largest_weights` as float32 is refused. Raises ConfigError as `build` does.
    """
    if not timm.is_model(architecture):
        raise ConfigError(
            f"timm has no model {architecture!r}.{suggest(architecture, timm.list_models())}"
        )
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=num_classes, drop_rate=dropout)
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    most = regular_files.largest_weights()
    if size > most:
        raise ConfigError(
            f"{architecture} has {size // 4_000_000} million parameters, expected at most "
            f"{most // 4_000_000} million: choose a smaller model, or set {regular_files.LIMIT} to "
            f"{-(-size // regular_files.MEGABYTE)} or more."
        )
    _check_cnn(model, architecture)
    return model


def pretrained(architecture: str, num_classes: int, dropout: float = 0.0) -> nn.Module:
    """Build a model with timm's pretrained weights below a fresh classifier; see `build`.

    Raises also DownloadError when they are neither in the hub's cache nor to be fetched.
    """
    model = build(architecture, num_classes, dropout)
    about = timm.get_pretrained_cfg(architecture)
    # Of a few old models there are only pickles, which are never loaded.
    if about is None or not about.hf_hub_id:
        raise ConfigError(
            f"timm has no pretrained weights for {architecture!r}: use --init scratch or --init "
            "FILE."
        )
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            path = client.pretrained_weights(about.hf_hub_id, about.hf_hub_filename or WEIGHTS)
            source = timm.create_model(
                architecture, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
            )
    except ConfigError:
        raise
    except Exception as error:
        # timm lets errors of torch through, of many kinds and lines.
        lines = str(error).strip().splitlines()
        reason = lines[0].rstrip(".") if lines else type(error).__name__
        raise DownloadError(
            f"The pretrained weights of {architecture!r} could not be fetched ({reason}): connect "
            "to the network, or give a file with --init FILE.safetensors, or use --init scratch."
        ) from error
    load_backbone(model, source.state_dict(), architecture)
    return model


def normalisation(architecture: str) -> tuple[Triple, Triple]:
    """Return the mean and std per RGB channel, for values in [0, 1], of an architecture's input.

    They are those with which timm's pretrained weights were trained; ImageNet's where there are
    none.
    """
    about = timm.get_pretrained_cfg(architecture)
    if about is None or len(about.mean) != 3 or len(about.std) != 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return _triple(about.mean), _triple(about.std)


def _triple(values: Iterable[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def features(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Compute the feature maps (N, K, h, w) before pooling of images (N, 3, H, W)."""
    maps: torch.Tensor = model.forward_features(images)  # type: ignore[operator]
    return maps


def head(model: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """Compute logits (N, C) from feature maps (N, K, h, w)."""
    logits: torch.Tensor = model.forward_head(maps)  # type: ignore[operator]
    return logits


def classifier(model: nn.Module) -> nn.Linear:
    """Return the last linear layer; raises ModelError for a model that ends in another."""
    layer = model.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear):
        raise ModelError(f"The model ends in {type(layer).__name__}, expected a linear layer.")
    return layer


def stage_names(model: nn.Module) -> list[list[str]]:
    """List the names of the parameters of each stage, as timm groups them.

    The stem comes first, the classifier last.
    """
    groups = timm.models.group_parameters(model, model.group_matcher(coarse=True))  # type: ignore[operator]
    return [list(groups[number]) for number in sorted(groups)]


def renew(model: nn.Module, fresh: nn.Module, names: Iterable[str]) -> None:
    """Overwrite the layers that hold the parameters `names` with those of `fresh`.

    `fresh` is a model of the same architecture. The statistics of batch norms go as well.
    """
    layers = {name.rpartition(".")[0] for name in names}
    source = fresh.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.rpartition(".")[0] in layers:
                tensor.copy_(source[name])


def memory_format(architecture: str) -> torch.memory_format:
    """Return the fastest memory layout that is safe for an architecture on a CPU."""
    # Training mobileone in channels_last corrupts the heap on torch 2.14 CPU.
    return torch.contiguous_format if architecture.startswith("mobileone") else torch.channels_last


def version() -> str:
    """Return timm's version."""
    return str(timm.__version__)


def load_backbone(
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    architecture: str,
    source: str = "the hub",
    whole: bool = False,
) -> None:
    """Load tensors into a model, all but its classifier unless `whole`.

    Raises ModelError, which names them as `source`, where they do not fit the architecture.
    """
    wanted = model.state_dict()
    fresh = set() if whole else classifier_names(model)
    missing = [key for key in wanted if key not in tensors and key not in fresh]
    extra = [key for key in tensors if key not in wanted]
    shared = [key for key in tensors if key in wanted and key not in fresh]
    misshapen = [key for key in shared if tensors[key].shape != wanted[key].shape]
    for problem, keys in (
        ("lacks", missing),
        ("has the extra", extra),
        ("has another shape for", misshapen),
    ):
        if keys:
            raise ModelError(
                f"{source} does not fit {architecture}: it {problem} tensor(s) {some(keys)}."
            )
    numbers = [key for key in shared if wanted[key].is_floating_point()]
    others = [key for key in numbers if tensors[key].dtype not in FLOATS]
    if others:
        raise ModelError(
            f"{source} has numbers of the kind {tensors[others[0]].dtype} in {some(others)}, "
            "expected floating point numbers of 16 bits or more: give weights that are not "
            "quantised."
        )
    broken = [key for key in numbers if not tensors[key].isfinite().all()]
    if broken:
        raise ModelError(f"{source} holds NaN or infinite values in {some(broken)}.")
    model.load_state_dict(
        {key: tensors[key] for key in shared} | {key: wanted[key] for key in fresh}
    )


def classifier_names(model: nn.Module) -> set[str]:
    """Return the names of the tensors of a model's last linear layer."""
    last = classifier(model)
    (name,) = (name for name, module in model.named_modules() if module is last)
    return {f"{name}.{key}" for key in last.state_dict()}


def _check_cnn(model: nn.Module, architecture: str) -> None:
    """Raise ConfigError unless a model of `skeleton` gives feature maps (N, K, h, w)."""
    size = int(model.default_cfg["input_size"][-1])  # type: ignore[index]
    problem = (
        f"{architecture} is not a CNN with feature maps (N, channels, h, w), which the class maps "
        "need."
    )
    training = model.training
    model.eval()
    try:
        # A small image tells as much and is faster, but some models take only their own size.
        try:
            maps = _probe(model, min(size, PROBE))
        except Exception:
            maps = _probe(model, size)
    except (AttributeError, RuntimeError, AssertionError) as error:
        raise ConfigError(problem) from error
    if not torch.is_tensor(maps) or maps.ndim != 4 or maps.shape[1] != model.num_features:
        raise ConfigError(problem)
    model.train(training)


def _probe(model: nn.Module, size: int) -> torch.Tensor:
    with torch.no_grad(), torch.device("meta"):
        return features(model, torch.zeros(1, 3, size, size))
