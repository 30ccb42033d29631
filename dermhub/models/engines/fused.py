"""A model made faster for answers alone: the same numbers to rounding, in fewer and cheaper steps.

Batch norms in evaluation mode are linear, so each goes into the convolution before it (Jacob et al.
2018, section 3.2), and where PyTorch has oneDNN, a convolution's weights are laid out for its
kernel once and not at every call, and the kernel applies the activation before it writes.
`torch.compile` does much of this, with a C++ compiler and time.
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
"""What oneDNN applies after a convolution, by its name there and its numbers."""


class Packed(nn.Module):
    """A convolution and its activation as one call of oneDNN, with the weights in the layout of its
    kernel.

    `shape` is that of the maps that the layout is chosen for; maps of other shapes are taken as
    well.
    """

    def __init__(self, conv: nn.Conv2d, shape: torch.Size, activation: nn.Module) -> None:
        super().__init__()
        steps = (conv.padding, conv.stride, conv.dilation, conv.groups)
        # By what `torch.compile` calls as well. No buffer: the layout is opaque, and nobody saves
        # it.
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self.weight = reorder(conv.weight.detach().to_mkldnn(), *steps, list(shape))
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.steps = (*steps, *ACTIVATIONS[type(activation)], "")

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (N, C, H, W) -> maps (N, K, h, w)."""
        # By its full name, because choosing the overload takes as long as a small convolution.
        run = torch.ops.mkldnn._convolution_pointwise.default
        found: torch.Tensor = run(maps, self.weight, self.bias, *self.steps)
        return found


def fold(
    model: nn.Module,
    size: int,
    layout: torch.memory_format = torch.channels_last,
    pack: bool = True,
) -> nn.Module:
    """A copy of a model in evaluation mode that gives the same feature maps, for images (N, 3,
    size, size) and others.

    It can't be trained. `model` stays as it is; it has to be in that layout, and shares no tensor
    with the copy. Where the feature maps of one image are not those of `model` (a backbone that
    uses a convolution's output twice), `model` itself is returned. With `pack` False, batch norms
    are folded and nothing else, as without oneDNN.
    """
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(
        memory_format=layout
    )
    with torch.inference_mode(False), torch.no_grad():
        expected, shapes, norms = _watch(model, images)
        folded = copy.deepcopy(model)
        layers = dict(folded.named_modules())
        for name, shape in shapes.items():
            norm = norms.get(name)
            pair = _merged(
                layers[name], layers[norm] if norm else None, shape if pack and can_pack() else None
            )
            folded.set_submodule(name, pair[0])
            if norm:
                folded.set_submodule(norm, pair[1])
        found = backbone.features(folded, images)
    alike = float((found - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())
    return folded if alike else model


def _watch(
    model: nn.Module, images: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Size], dict[str, str]]:
    """Feature maps, the shape that comes to each convolution, and convolution -> the batch norm
    that its maps meet.
    """
    shapes: dict[str, torch.Size] = {}
    norms: dict[str, str] = {}
    # The outputs are held, so that no other tensor gets the number of one.
    made: dict[int, tuple[str, torch.Tensor]] = {}

    def after(name: str, maps: torch.Tensor, found: torch.Tensor) -> None:
        shapes[name] = maps.shape
        made[id(found)] = name, found

    def before(name: str, maps: torch.Tensor) -> None:
        if id(maps) in made:
            norms[made[id(maps)][0]] = name

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
    """What stands in place of a convolution and of its batch norm; the convolution is packed for a
    shape, if any.
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


def merge(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that gives what `norm` (in evaluation mode) makes of the output of `conv`.

    Worked out in float64, so that what differs is the rounding of the new weights alone.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt() * (
        1 if norm.weight is None else norm.weight.double()
    )
    shift = 0 if norm.bias is None else norm.bias.double()
    bias = (0 if conv.bias is None else conv.bias.double()) - norm.running_mean.double()
    # Without its tensors, which take the place of these.
    merged = copy.copy(conv)
    merged._parameters = dict(conv._parameters)
    weight = (conv.weight.double() * scale[:, None, None, None]).to(conv.weight.dtype)
    merged.weight = nn.Parameter(weight, requires_grad=False)
    merged.bias = nn.Parameter((shift + bias * scale).to(conv.weight.dtype), requires_grad=False)
    return merged


@functools.cache
def can_pack() -> bool:
    """Whether this build of PyTorch can run `Packed`, found by trying: not every one has oneDNN, or
    these operators.
    """
    with torch.random.fork_rng(devices=[]):  # asking must not change what is drawn later
        conv, maps = nn.Conv2d(2, 2, 1), torch.ones(1, 2, 2, 2)
    try:
        with torch.inference_mode():
            return torch.allclose(
                Packed(conv, maps.shape, nn.ReLU())(maps), conv(maps).relu(), atol=1e-5
            )
    except (AttributeError, RuntimeError, TypeError):
        return False
