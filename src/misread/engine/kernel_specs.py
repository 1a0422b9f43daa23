"""Reading a network: which of its layers the kernels know, and what they need to know of each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from misread.engine.library import LayerSpec
from misread.messages import Message
from misread.models import layers
from misread.models.network import Network

CONV, DENSE = 0, 1  # `Kind` in kernels/abi.h
LARGEST = 2**31 - 1  # sizes are 32-bit there

Weighted = tuple[Any, layers.BatchNormalization | None]  # a convolution or dense layer, and what normalises it


class UnknownNetwork(Exception):
    """The kernels cannot run the network, its training or its size; the text says why."""


def read_network(network: nn.Module, image_shape: tuple[int, int, int]) -> tuple[list[LayerSpec], list[Weighted]]:
    """The specification of each layer with weights, and those layers.

    image_shape: of one image, (H, W, C).
    Raises UnknownNetwork: there is a layer, or an order of layers, that the kernels do not know.
    """
    if not isinstance(network, Network):
        raise UnknownNetwork(Message("engine.module", name=type(network).__name__))
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in network.parameters()):
        raise UnknownNetwork(Message("engine.float32"))
    specs: list[LayerSpec] = []
    weighted: list[Weighted] = []
    height, width, channels = image_shape
    flat = False
    todo = _Reader(network)
    while (module := todo.take()) is not None:
        if isinstance(module, layers.Flatten):
            flat, channels = True, channels if flat else height * width * channels
        elif isinstance(module, layers.Conv2D) and not flat:
            spec = _conv(module, (height, width, channels))
            weighted.append((module, _finish(spec, module, todo)))
            if not spec.relu:
                raise UnknownNetwork(Message("engine.convolution"))
            specs.append(spec)
            height, width, channels = spec.out_h // spec.pool, spec.out_w // spec.pool, spec.units
        elif isinstance(module, layers.Dense):
            _check_inputs(module, module.in_features, channels)
            spec = _spec(kind=DENSE, in_h=1, in_w=1, in_c=channels, units=module.out_features, pool=1)
            weighted.append((module, _finish(spec, module, todo)))
            specs.append(spec)
            channels = module.out_features
        elif isinstance(module, nn.Dropout) and _may_drop(specs, todo):
            specs[-1].dropout = _rate(module)
        else:
            raise UnknownNetwork(Message("engine.layer", name=type(module).__name__))
    _check_ends(specs)
    return specs, weighted


class _Reader:
    """A network's layers, one after the other, with a look at the next."""

    def __init__(self, network: Network) -> None:
        self._modules: Iterator[nn.Module] = iter(network)
        self.next = next(self._modules, None)

    def take(self) -> nn.Module | None:
        taken, self.next = self.next, next(self._modules, None)
        return taken


def _spec(**sizes: int) -> LayerSpec:
    """ctypes would wrap a larger number around without a word."""
    for name, size in sizes.items():
        if size > LARGEST:
            raise UnknownNetwork(Message("engine.size", size=size, name=name, most=LARGEST))
    return LayerSpec(**sizes)


def _may_drop(specs: list[LayerSpec], todo: _Reader) -> bool:
    """The kernels drop a dense layer's inputs, once, and not those of the network."""
    return bool(specs) and not specs[-1].dropout and not isinstance(todo.next, layers.Conv2D | layers.MaxPooling2D)


def _rate(dropout: nn.Dropout) -> float:
    if np.float32(dropout.p) >= 1:
        raise UnknownNetwork(Message("engine.dropout", rate=repr(dropout.p)))
    return dropout.p


def _conv(module: layers.Conv2D, shape: tuple[int, int, int]) -> LayerSpec:
    height, width, channels = shape
    _check_inputs(module, module.in_channels, channels)
    left, right, top, bottom = module.pad
    kernel_h, kernel_w = module.kernel_size
    if tuple(module.stride) != (1, 1):
        raise UnknownNetwork(Message("engine.strides", strides=str(tuple(module.stride))))
    return _spec(
        kind=CONV, in_h=height, in_w=width, in_c=channels, kernel_h=kernel_h, kernel_w=kernel_w, top=top, left=left,
        out_h=height + top + bottom - kernel_h + 1, out_w=width + left + right - kernel_w + 1,
        units=module.out_channels, pool=1,
    )  # fmt: skip


def _check_inputs(module: nn.Module, takes: int, given: int) -> None:
    """Otherwise the kernels would read beyond the weights; PyTorch refuses such images with a message."""
    if takes != given:
        raise UnknownNetwork(Message("engine.inputs", name=type(module).__name__, takes=takes, given=given))


def _finish(spec: LayerSpec, module: Any, todo: _Reader) -> layers.BatchNormalization | None:
    """Complete a layer's specification with what follows it: pooling, normalisation, and ReLU, which may come before
    the pooling. Returns the normalisation.
    """
    activation, norm = module.activation, None
    if spec.kind == CONV and isinstance(pooling := todo.next, layers.MaxPooling2D):
        if (pooling.pool, pooling.strides, any(pooling.pad)) != ((2, 2), (2, 2), False):
            raise UnknownNetwork(Message("engine.pooling"))
        todo.take()
        spec.pool = 2
    if activation == "linear" and isinstance(following := todo.next, layers.BatchNormalization):
        todo.take()
        norm, spec.normalised = following, 1
        spec.momentum, spec.epsilon = 1 - (norm.momentum or 0.0), norm.eps
    if activation == "linear" and isinstance(after := todo.next, layers.Activation):
        todo.take()
        activation = after.activation
    if activation not in ("linear", "relu"):
        raise UnknownNetwork(Message("engine.activation", name=str(activation)))
    if (module.bias is None) != (norm is not None):
        raise UnknownNetwork(Message("engine.bias"))
    spec.relu = activation == "relu"
    if norm is not None and not spec.relu:
        raise UnknownNetwork(Message("engine.normalisation"))
    return norm


def _check_ends(specs: list[LayerSpec]) -> None:
    if not specs or specs[-1].kind != DENSE or specs[-1].relu or specs[-1].dropout:
        raise UnknownNetwork(Message("engine.end"))
    if any(spec.kind == DENSE and not spec.relu for spec in specs[:-1]):
        raise UnknownNetwork(Message("engine.dense"))
