"""Layers by the compiled kernels, in networks that PyTorch trains."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from misread.engine import convolutions
from misread.engine.kernel_calls import call, parallel, parts
from misread.engine.library import Images, build_name
from misread.models.network import Network

# The builds whose layers were measured beside PyTorch's, and are faster. With AVX-512 they were not measured, and where
# there is bf16, PyTorch computes the convolutions of a training in bf16. Both go without them.
FASTER = ("avx2",)


def layers_build() -> str:
    """The build of the kernels whose layers are used in float32 on this machine's CPU; empty: PyTorch's are."""
    build = build_name() or ""
    return build if build in FASTER and parallel() is not None else ""


def has_known_convolutions(network: nn.Module) -> bool:
    """Whether `KernelLayers` computes convolutions of this network.

    The layers of modules from Python it leaves to PyTorch: they get images in PyTorch's order, and may rely on it.
    """
    layers = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return isinstance(network, Network) and any(
        layer.padding_mode == "zeros"
        and convolutions.known(layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        for layer in layers
    )


class KernelLayers(TorchFunctionMode):
    """In a block with this, the kernels compute the layers that they know, and their gradients afterwards.

    These take channels-last images (B, C, H, W) in float32 on the CPU: the convolutions in `convolutions.py`, the exact
    GELU, and max-pooling of 2x2 with strides of 2, without padding.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        if func is F.conv2d and not kwargs and convolutions.takes(*args):
            return convolutions.KernelConvolution.apply(args[0], args[1])
        if func is F.gelu and not kwargs and _are_images(*args):
            return _GELU.apply(args[0])
        if func is F.max_pool2d and _pools(*args, **kwargs):
            return _MaxPooling.apply(args[0])
        return func(*args, **kwargs)


def _are_images(x: Tensor) -> bool:
    return (
        x.ndim == 4
        and (x.dtype, x.device.type) == (torch.float32, "cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
    )


def _pools(x: Tensor, size: Any, **rest: Any) -> bool:
    """Whether the kernels compute the pooling that `F.max_pool2d` is called for."""
    plain = {"stride": (2, 2), "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
    return size == (2, 2) and rest == plain and _are_images(x) and min(x.shape[2:]) >= 2


def _call(name: str, x: Tensor, *arguments: Tensor | None) -> None:
    """Call a function of the kernels for images with the shape of x."""
    batch, channels, height, width = x.shape
    call(name, Images(batch, height, width, channels, parts()), *arguments)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _GELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        _call("gelu_run", x, x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        by_x = torch.empty_like(x)
        _call("gelu_gradient", x, x, _channels_last(gradient), by_x)
        return by_x


class _MaxPooling(torch.autograd.Function):
    """x (B, C, H, W) -> (B, C, H // 2, W // 2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        shape = (batch, channels, height // 2, width // 2)
        y = torch.empty(shape, memory_format=torch.channels_last)
        chosen = None
        if ctx.needs_input_grad[0]:  # a byte a number, instead of x: in what place of its window the number was
            chosen = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
            ctx.save_for_backward(chosen)
        _call("max_pooling_run", x, x, y, chosen)
        ctx.x_shape = x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        by_x = torch.empty(ctx.x_shape, memory_format=torch.channels_last)
        _call("max_pooling_gradient", by_x, _channels_last(gradient), ctx.saved_tensors[0], by_x)
        return by_x
