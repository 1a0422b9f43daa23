"""3x3 convolutions by the compiled kernels: Winograd's algorithm."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from misread.engine.kernel_calls import call, count, parts
from misread.engine.library import Convolution

LEAST_CHANNELS = 8  # of images and of filters: with fewer, the transforms would take most of the time


def takes(x: Tensor, *layer: Any) -> bool:
    """Whether the kernels compute the convolution that `torch.conv2d` is called for, with all arguments."""
    return (
        len(layer) == 6
        and known(*layer)
        and x.ndim == 4
        and (x.dtype, x.device, x.shape[1]) == (layer[0].dtype, layer[0].device, layer[0].shape[1])
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
    )


def known(weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Whether the kernels compute such a layer: 3x3, strides of 1, no bias, an image keeps its size."""
    return (
        (tuple(weight.shape[2:]), stride, padding, dilation, groups) == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and bias is None
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and (weight.dtype, weight.device.type) == (torch.float32, "cpu")
    )


class KernelConvolution(torch.autograd.Function):
    """x (B, C, H, W), weight (F, C, 3, 3) -> (B, F, H, W), channels-last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        by_x, by_weight = ctx.needs_input_grad
        return (
            _convolve(gradient, weight, turned=True) if by_x else None,
            _weight_gradient(x, gradient) if by_weight else None,
        )


def _convolve(x: Tensor, weight: Tensor, turned: bool = False) -> Tensor:
    """turned: with `weight` turned, and its channels and filters exchanged, as the inputs' gradient needs it."""
    batch, _, height, width = x.shape
    filters = weight.shape[1 if turned else 0]
    out = torch.empty((batch, filters, height, width), memory_format=torch.channels_last)
    _call("convolution_run", x, filters, weight.contiguous(), out, turned)
    return out


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    out = torch.empty((gradient.shape[1], x.shape[1], 3, 3))
    _call("convolution_gradient", x, gradient.shape[1], gradient, out)
    return out


def _call(name: str, x: Tensor, filters: int, other: Tensor, out: Tensor, turned: bool = False) -> None:
    batch, channels, height, width = x.shape
    shape = Convolution(batch, height, width, channels, filters, parts(), turned)
    call(name, shape, x, other, out, torch.empty(count("convolution_scratch", shape)))
