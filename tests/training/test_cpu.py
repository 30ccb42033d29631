"""The gradients of depthwise convolutions are PyTorch's own, whatever kernel, stride and
padding.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes

import pytest
import torch
from torch import nn

from dermhub.models import backbone
from dermhub.training import cpu

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def learn(
    layer: nn.Module, faster: bool, images: torch.Tensor, dtype: torch.dtype = torch.bfloat16
) -> Gradients:
    """Output, and the gradients for the images and the weights."""
    images = images.clone().requires_grad_()
    layer.zero_grad()
    mode = cpu.FasterDepthwise() if faster else contextlib.nullcontext()
    with mode, torch.autocast("cpu", dtype):
        output = layer(images)
    generator = torch.Generator().manual_seed(1)
    (output.float() * torch.randn(output.shape, generator=generator)).sum().backward()
    weights = next(layer.parameters())
    assert images.grad is not None
    assert weights.grad is not None
    return output.detach(), images.grad, weights.grad


def kind(layer: nn.Module, dtype: torch.dtype = torch.bfloat16) -> str:
    """The name of a layer's backward pass."""
    with cpu.FasterDepthwise(), torch.autocast("cpu", dtype):
        output = layer(torch.ones(2, 8, 12, 12, requires_grad=True))
    return str(type(output.grad_fn).__name__)


def test_gradient_of_a_kernel_by_hand() -> None:
    # One channel, an output of one pixel: the gradient for the weights is the images, that for the
    # images the weights.
    layer = nn.Conv2d(2, 2, 5, groups=2, bias=False)
    images = torch.arange(50.0).reshape(1, 2, 5, 5).requires_grad_()
    with cpu.FasterDepthwise(), torch.autocast("cpu", torch.bfloat16):
        layer(images).sum().backward()
    assert layer.weight.grad is not None
    assert images.grad is not None
    assert layer.weight.grad.flatten().tolist() == list(range(50))
    assert torch.equal(images.grad.flatten(), layer.weight.detach().bfloat16().float().flatten())


@pytest.mark.parametrize("kernel", [3, 5, 7, (5, 3), (1, 7)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("padding", [0, 2, (0, 1)])
def test_gradients_are_those_of_pytorch(
    kernel: int | tuple[int, int], stride: int | tuple[int, int], padding: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, kernel, stride, padding, groups=8, bias=False).to(
        memory_format=torch.channels_last
    )
    images = torch.randn(4, 8, 17, 22).to(memory_format=torch.channels_last)
    for ours, theirs in zip(learn(layer, True, images), learn(layer, False, images), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        # bfloat16 keeps 8 bits, and sums are ordered otherwise.
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 2**-6


def test_a_whole_backbone_learns_the_same() -> None:
    torch.manual_seed(0)
    model = backbone.build("test_efficientnet", 7).to(memory_format=torch.channels_last)
    images = torch.randn(8, 3, 48, 48).to(memory_format=torch.channels_last)
    learn(model, False, images)
    theirs = [
        parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None
    ]
    learn(model, True, images)
    ours = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    # All gradients as one vector: those of single layers may be all but zero.
    first, second = (torch.cat([part.flatten() for part in group]) for group in (ours, theirs))
    assert float(nn.functional.cosine_similarity(first, second, dim=0)) > 0.999


def test_only_depthwise_convolutions_in_bfloat16_are_replaced() -> None:
    assert kind(nn.Conv2d(8, 8, 5, groups=8, bias=False)) == "_DepthwiseBackward"
    for other in (
        nn.Conv2d(8, 8, 5, bias=False),
        nn.Conv2d(8, 8, 5, groups=4, bias=False),
        nn.Conv2d(8, 16, 5, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, groups=8),
        nn.Conv2d(8, 8, 5, groups=8, bias=False, dilation=2),
        nn.Conv2d(8, 8, 5, groups=8, bias=False, padding="same"),
    ):
        assert kind(other) == "ConvolutionBackward0"
    assert kind(nn.Conv2d(8, 8, 5, groups=8, bias=False), torch.float16) == "ConvolutionBackward0"
    layer = nn.Conv2d(8, 8, 5, groups=8, bias=False)
    with cpu.FasterDepthwise(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(8, 12, 12)).shape == (8, 8, 8)
        assert (
            copy.deepcopy(layer).double()(torch.ones(2, 8, 12, 12).double()).dtype == torch.float64
        )
    with cpu.FasterDepthwise():
        assert type(layer(torch.ones(2, 8, 12, 12)).grad_fn).__name__ == "ConvolutionBackward0"
    with cpu.FasterDepthwise(), torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert layer(torch.ones(2, 8, 12, 12)).grad_fn is None


def test_gradients_are_replaced_on_cpus_alone() -> None:
    assert isinstance(cpu.training_context(torch.device("cpu")), cpu.FasterDepthwise)
    assert isinstance(cpu.training_context(torch.device("meta")), contextlib.nullcontext)


def test_memory_is_kept_where_the_c_library_can() -> None:
    assert cpu.keep_memory() == hasattr(ctypes.CDLL(None), "mallopt")
