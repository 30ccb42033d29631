"""Workarounds for slow training on CPUs: depthwise convolutions, and memory that is given back.

PyTorch's gradients of depthwise convolutions in bfloat16 are slow on CPUs. Measured with PyTorch
2.14 (oneDNN; `benchmarks/depthwise.py`): its weight gradient is fast for kernels of 3 x 3 and up to
100 times slower for 5 x 5, and its input gradient at stride 2 is up to 100 times slower in bfloat16
than in float32. So a larger kernel's gradient is put together of 3 x 3 parts, and that input
gradient is taken in float32. The results are PyTorch's to within bfloat16's rounding.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

PART = 3
"""Height and width in pixels of the largest kernel whose weight gradient is fast."""

Pair = tuple[int, int]


def training_context(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context for the forward pass of a training step.

    `FasterDepthwise` on a CPU, and one without any effect elsewhere.
    """
    return FasterDepthwise() if device.type == "cpu" else contextlib.nullcontext()


class FasterDepthwise(TorchFunctionMode):
    """A mode in which depthwise convolutions in bfloat16 autocast use this module's gradients."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
    ) -> Any:
        """Call `func`, or this module's convolution in its place."""
        if func is torch.conv2d and not kwargs and len(args) == 7 and _fits(args):
            images, weight, _, stride, padding, _, _ = args
            # As autocast does; the gradients are cast back to the weights' own type.
            return _Depthwise.apply(
                images.bfloat16(), weight.bfloat16(), _pair(stride), _pair(padding)
            )
        return func(*args, **(kwargs or {}))


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of images (N, C, H, W) with weights (C, 1, k, k), both bfloat16."""

    @staticmethod
    def forward(
        context: Any, images: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair
    ) -> torch.Tensor:
        context.save_for_backward(images, weight)
        context.stride, context.padding = stride, padding
        return torch.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight = context.saved_tensors
        arguments = (gradients[0], images, weight, context.stride, context.padding)
        for_images, for_weight, *_ = context.needs_input_grad
        return (
            input_gradient(*arguments) if for_images else None,
            weight_gradient(*arguments) if for_weight else None,
            None,
            None,
        )


def input_gradient(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair
) -> torch.Tensor:
    """The gradient for images (N, C, H, W), of that for the convolution's output (N, C, h, w)."""
    if stride == (1, 1):
        return pytorch_gradient(gradient, images, weight, stride, padding, 0)
    in_float32 = pytorch_gradient(
        gradient.float(), images.float(), weight.float(), stride, padding, 0
    )
    return in_float32.to(images.dtype)


def weight_gradient(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair
) -> torch.Tensor:
    """The gradient for weights (C, 1, k, l).

    Every 3 x 3 part of the weights is a kernel of its own over shifted images.
    """
    height, width = weight.shape[2:]
    if max(height, width) <= PART:
        return pytorch_gradient(gradient, images, weight, stride, padding, 1)
    # Height and width that a 3 x 3 kernel reads for an output of this size.
    read_height = (gradient.shape[2] - 1) * stride[0] + PART
    read_width = (gradient.shape[3] - 1) * stride[1] + PART
    tops = range(0, height, PART)
    lefts = range(0, width, PART)
    below = tops[-1] + read_height - images.shape[2] - padding[0]
    right = lefts[-1] + read_width - images.shape[3] - padding[1]
    padded = nn.functional.pad(images, (padding[1], right, padding[0], below))
    # Its values play no part: the gradient for weights depends on their shape alone.
    kernel = _channels_last(weight[:, :, :1, :1].expand(-1, -1, PART, PART))
    rows = []
    for top in tops:
        row = []
        for left in lefts:
            part = padded[:, :, top : top + read_height, left : left + read_width]
            row.append(pytorch_gradient(gradient, _channels_last(part), kernel, stride, (0, 0), 1))
        rows.append(torch.cat(row, dim=3))
    return torch.cat(rows, dim=2)[:, :, :height, :width]


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def keep_memory() -> bool:
    """Let the process keep the memory that it frees, for the next step.

    Fresh pages cost more time than the work that is done there. Returns True where the C library
    has the switch (glibc, man page of mallopt).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Parameters of mallopt, by the numbers of malloc.h.
    trim_threshold = -1
    top_pad = -2
    mmap_max = -4
    limits = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**26))
    return [mallopt(name, value) for name, value in limits] == [1] * len(limits)


def _fits(arguments: tuple[Any, ...]) -> bool:
    """Tell by its arguments if a convolution is one that this module is for."""
    images, weight, bias, _, padding, dilation, groups = arguments
    return (
        images.ndim == 4
        and images.dtype != torch.float64
        and groups == images.shape[1] == len(weight) > 1
        and bias is None
        and _pair(dilation) == (1, 1)
        and not isinstance(padding, str)
        and images.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and torch.is_grad_enabled()
    )


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def pytorch_gradient(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: Pair,
    padding: Pair,
    which: int,
) -> torch.Tensor:
    """PyTorch's own gradient for the images (`which` is 0) or the weights (1)."""
    wanted = [which == 0, which == 1, False]
    gradients: tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted
    )
    return gradients[which]
