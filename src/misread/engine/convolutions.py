"""3x3 convolutions by the compiled kernels, in networks that PyTorch trains."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from misread.engine.library import Convolution, build_name, load_library
from misread.models.network import Network

# The builds whose convolutions were measured beside PyTorch's, and are faster. With AVX-512 they were not measured, and
# where there is bf16, PyTorch computes the convolutions of a training in bf16. Both go without them.
FASTER = ("avx2",)
LEAST_CHANNELS = 8  # of images and of filters: with fewer, the transforms would take most of the time
MAX_PARTS = 64  # MAX_THREADS in kernels/abi.h


def convolutions_build() -> str:
    """The build of the kernels whose convolutions are used in float32 on this machine's CPU; empty: PyTorch's are."""
    build = build_name() or ""
    return build if build in FASTER and _parallel() is not None else ""


def has_known_convolutions(network: nn.Module) -> bool:
    """Whether `KernelConvolutions` computes layers of this network.

    Those of modules from Python it leaves to PyTorch: they get images in PyTorch's order, and may rely on it.
    """
    layers = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return isinstance(network, Network) and any(
        layer.padding_mode == "zeros"
        and _known(layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        for layer in layers
    )


class KernelConvolutions(TorchFunctionMode):
    """In a block with this, the kernels compute the convolutions that they know, and their gradients afterwards.

    These are float32 convolutions on the CPU, 3x3, of channels-last images, with strides of 1 and without a bias, that
    keep the image's size.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        if func is F.conv2d and not kwargs and _takes(*args):
            return _ByKernels.apply(args[0], args[1])
        return func(*args, **(kwargs or {}))


def _takes(x: Tensor, *layer: Any) -> bool:
    """Whether the kernels compute the convolution that `torch.conv2d` is called for, with all arguments."""
    return (
        len(layer) == 6
        and _known(*layer)
        and x.ndim == 4
        and (x.dtype, x.device, x.shape[1]) == (layer[0].dtype, layer[0].device, layer[0].shape[1])
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
    )


def _known(weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    return (
        (tuple(weight.shape[2:]), stride, padding, dilation, groups) == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and bias is None
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and (weight.dtype, weight.device.type) == (torch.float32, "cpu")
    )


class _ByKernels(torch.autograd.Function):
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
    """Call a function of the kernels with these arrays. Each has its parts of the work done by PyTorch's threads."""
    library = load_library()
    assert library is not None
    batch, channels, height, width = x.shape
    shape = Convolution(batch, height, width, channels, filters, min(torch.get_num_threads(), MAX_PARTS), turned)
    floats = ctypes.c_int64()
    _check(library, library.convolution_scratch(shape, ctypes.byref(floats)))
    scratch = torch.empty(floats.value)
    arrays = [tensor.data_ptr() for tensor in (x, other, out, scratch)]
    _check(library, getattr(library, name)(shape, *arrays, _parallel()))


def _check(library: ctypes.CDLL, status: int) -> None:
    if status:
        raise ValueError(library.engine_error().decode())


@cache
def _parallel() -> int | None:
    """The address of GOMP_parallel in PyTorch's own OpenMP; None if PyTorch has another."""
    path = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    try:
        return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
