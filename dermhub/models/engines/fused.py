"""Layer fusion for faster answers: the same numbers to rounding, in fewer and cheaper steps.

Batch norms in evaluation mode are linear, so each is merged into the convolution before it (Jacob
et al. 2018, section 3.2). Where PyTorch has oneDNN, a convolution's weights are laid out for its
kernel once and not at every call, and the kernel applies the activation before it writes.
`torch.compile` does much of this, but needs a C++ compiler and time.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import nn

from dermhub.models import backbone

TOLERANCE = 1e-4
"""Largest accepted difference of a feature map, as a share of the largest value."""

ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""Activations that oneDNN applies after a convolution: their names there and their numbers."""


class Packed(nn.Module):
    """A convolution and its activation as a single call of oneDNN, in its kernel's weight layout.

    The layout is chosen for maps of `shape`; maps of other shapes work as well.
    """

    def __init__(self, conv: nn.Conv2d, shape: torch.Size, activation: nn.Module) -> None:
        super().__init__()
        steps = (conv.padding, conv.stride, conv.dilation, conv.groups)
        # `torch.compile` calls the same private function. The weight is no buffer: its layout is
        # opaque and can't be saved.
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self.weight = reorder(conv.weight.detach().to_mkldnn(), *steps, list(shape))
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.steps = (*steps, *ACTIVATIONS[type(activation)], "")

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Turn maps (N, C, H, W) into maps (N, K, h, w)."""
        # By its full name, because choosing the overload takes as long as a small convolution.
        run = torch.ops.mkldnn._convolution_pointwise.default
        output: torch.Tensor = run(maps, self.weight, self.bias, *self.steps)
        return output


def fold(
    model: nn.Module,
    size: int,
    layout: torch.memory_format = torch.channels_last,
    pack: bool = True,
) -> nn.Module:
    """Copy a model in evaluation mode into a faster one with the same feature maps.

    It is made for images (N, 3, size, size), takes others as well, and can't be trained. `model`
    has to be in the memory format `layout`; it stays as it is, and shares no tensor with the copy.
    Where the copy gives other feature maps of a random image (a backbone that uses a convolution's
    output twice), `model` itself is returned. With `pack` False, batch norms are folded and nothing
    else, as without oneDNN.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, size, size, generator=generator).to(memory_format=layout)
    with torch.inference_mode(False), torch.no_grad():
        packs = pack and can_pack()
        expected, shapes, norms = _watch(model, images)
        folded = copy.deepcopy(model)
        layers = dict(folded.named_modules())
        for name, shape in shapes.items():
            norm = norms.get(name)
            norm_layer = layers[norm] if norm else None
            conv, activation = _merged(layers[name], norm_layer, shape if packs else None)
            folded.set_submodule(name, conv)
            if norm:
                folded.set_submodule(norm, activation)
        actual = backbone.features(folded, images)
    largest = float(expected.abs().max())
    difference = float((actual - expected).abs().max())
    return folded if difference <= TOLERANCE * largest else model


def merge(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Merge a batch norm in evaluation mode into the convolution before it.

    The new weights are worked out in float64, so that only their rounding differs.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = 1 if norm.weight is None else norm.weight.double()
    scale = (norm.running_var.double() + norm.eps).rsqrt() * gain
    shift = 0 if norm.bias is None else norm.bias.double()
    bias = (0 if conv.bias is None else conv.bias.double()) - norm.running_mean.double()
    # A shallow copy, with a dictionary of parameters for the new tensors: `conv` stays as it is.
    merged = copy.copy(conv)
    merged._parameters = dict(conv._parameters)
    weight = (conv.weight.double() * scale[:, None, None, None]).to(conv.weight.dtype)
    merged.weight = nn.Parameter(weight, requires_grad=False)
    merged.bias = nn.Parameter((shift + bias * scale).to(conv.weight.dtype), requires_grad=False)
    return merged


@functools.cache
def can_pack() -> bool:
    """Try to run `Packed`: not every build of PyTorch has oneDNN, or these operators."""
    # The new layer's random weights must not change later draws.
    with torch.random.fork_rng(devices=[]):
        conv = nn.Conv2d(2, 2, 1)
    maps = torch.ones(1, 2, 2, 2)
    try:
        with torch.inference_mode():
            packed = Packed(conv, maps.shape, nn.ReLU())
            return torch.allclose(packed(maps), conv(maps).relu(), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _watch(
    model: nn.Module, images: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Size], dict[str, str]]:
    """Run a model once and follow its maps from convolutions to batch norms.

    Returns the feature maps, the input shape of each convolution, and the batch norm that takes the
    output of a convolution, by the names of the two layers.
    """
    shapes: dict[str, torch.Size] = {}
    norms: dict[str, str] = {}
    # The outputs are held, so that no later tensor gets the id of an earlier one.
    outputs: dict[int, tuple[str, torch.Tensor]] = {}

    def after(name: str, maps: torch.Tensor, output: torch.Tensor) -> None:
        shapes[name] = maps.shape
        outputs[id(output)] = (name, output)

    def before(name: str, maps: torch.Tensor) -> None:
        if id(maps) in outputs:
            conv, _ = outputs[id(maps)]
            norms[conv] = name

    handles = []
    for name, module in model.named_modules():
        if type(module) in backbone.CONVOLUTIONS:
            handles.append(
                module.register_forward_hook(lambda _, i, o, name=name: after(name, i[0], o))
            )
        elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            handles.append(
                module.register_forward_pre_hook(lambda _, i, name=name: before(name, i[0]))
            )
    try:
        return backbone.features(model, images), shapes, norms
    finally:
        for handle in handles:
            handle.remove()


def _merged(
    conv: nn.Module, norm: nn.Module | None, shape: torch.Size | None
) -> tuple[nn.Module, nn.Module]:
    """Merge a convolution and its batch norm, if any, into two layers that take their places.

    With a `shape` the first is packed for it where possible, and the second does nothing. Otherwise
    the second is the activation.
    """
    assert isinstance(conv, nn.Conv2d)
    # timm's BatchNormAct2d ends in its activation.
    activation: nn.Module = getattr(norm, "act", nn.Identity())
    if isinstance(norm, nn.BatchNorm2d):
        conv = merge(conv, norm)
    # A Conv2dSame pads by itself first.
    plain = (
        type(conv) is nn.Conv2d
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )
    if shape and plain and type(activation) in ACTIVATIONS:
        return Packed(conv, shape, activation), nn.Identity()
    return conv, activation
