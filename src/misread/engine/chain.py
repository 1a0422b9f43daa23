"""A network in the engine: trained and applied by the compiled kernels, where they know all of its layers."""

import ctypes as c
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from misread.engine.library import Hyper, LayerSpec, load_library
from misread.models import layers
from misread.models.network import Network

CONV, DENSE = 0, 1
PREDICT_BATCH = 128  # small enough that a batch's activations stay in the second-level cache
MAX_THREADS, MAX_BATCH = 64, 65_535  # fixed sizes in chain.cpp
WEIGHTS, FIRST_MOMENTS, SECOND_MOMENTS = 0, 1, 2


class UnknownNetwork(Exception):
    """The kernels do not know a part of the network; the text says which."""


class Chain:
    """A network's weights in the layout of the kernels, with what training and predicting need beside them.

    network:  convolutions with ReLU, each with or without 2x2 max-pooling, then dense layers with ReLU and dropout.
    images:   the shape of one, (H, W, C).
    training: Adam's settings; None for a chain that only predicts.
    mixed:    products in bf16 where the kernels have them: the convolutions' forward pass and the gradients by dense
              layers' inputs. Sums, weights, moments and the loss are float32.
    Raises UnknownNetwork: there are no compiled kernels here, or they do not know the network.
    """

    def __init__(
        self,
        network: nn.Module,
        images: tuple[int, int, int],
        *,
        batch_size: int = PREDICT_BATCH,
        training: Hyper | None = None,
        mixed: bool = False,
        seed: int = 0,
    ) -> None:
        library = load_library()
        if library is None:
            raise UnknownNetwork("misread was installed without a C++ compiler, so without its kernels")
        if training is not None and not all(p.requires_grad for p in network.parameters()):
            raise UnknownNetwork("they train all weights of a network, and some of these are frozen")
        specs, self._modules = _specs(network, images)
        self._library, self.image_shape = library, images
        self.threads = min(torch.get_num_threads(), MAX_THREADS)
        self.n_classes = specs[-1].units
        self.mixed = mixed and bool(library.engine_has_bf16())
        if batch_size > MAX_BATCH:
            raise UnknownNetwork(f"batches of {batch_size:,} images are more than the {MAX_BATCH:,} that they take")
        self._engine = library.engine_new(
            (LayerSpec * len(specs))(*specs), len(specs), batch_size, self.threads, training is not None, self.mixed,
            training or Hyper(), seed % 2**32,
        )  # fmt: skip
        for index, module in enumerate(self._modules):
            self._copy(index, WEIGHTS, module.weight.detach().contiguous(), module.bias.detach(), to_engine=True)

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            self._library.engine_free(engine)

    def train(self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float]) -> tuple[np.ndarray, int]:
        """One step for each learning rate, on the next batch of rows.

        images (N, H, W, C) uint8, labels (N,) int64, rows (n,) int64: all contiguous, on the CPU.
        Returns each step's mean loss, float64, and how many images were right as they were met.
        """
        losses, correct = np.zeros(len(rates)), np.zeros(1, np.int64)
        learning_rates = np.asarray(rates, np.float64)
        given = (images.data_ptr(), labels.data_ptr(), rows.data_ptr(), len(rows))
        results = (learning_rates.ctypes.data, losses.ctypes.data, correct.ctypes.data)
        self._on_threads(lambda thread: self._library.engine_train(self._engine, thread, *given, *results))
        return losses, int(correct[0])

    def predict(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> logits (N, K) float32. An image's logits do not depend on those beside it."""
        images = images.contiguous()
        rows = torch.arange(len(images))
        logits = torch.empty(len(images), self.n_classes)
        given = (images.data_ptr(), rows.data_ptr(), len(rows), logits.data_ptr())
        self._on_threads(lambda thread: self._library.engine_predict(self._engine, thread, *given))
        return logits

    def write_back(self) -> None:
        """Give the network the weights as they are now."""
        for index, module in enumerate(self._modules):
            weight, bias = self.read(index, WEIGHTS)
            with torch.no_grad():
                module.weight.copy_(weight)
                module.bias.copy_(bias)

    def read(self, index: int, which: int) -> tuple[Tensor, Tensor]:
        """A layer's weights or moments, in torch's layout: copies."""
        module = self._modules[index]
        weight, bias = torch.empty(module.weight.shape), torch.empty(module.bias.shape)
        self._copy(index, which, weight, bias, to_engine=False)
        return weight, bias

    def _copy(self, index: int, which: int, weight: Tensor, bias: Tensor, *, to_engine: bool) -> None:
        self._library.engine_copy(self._engine, index, which, weight.data_ptr(), bias.data_ptr(), to_engine)

    def _on_threads(self, work: Callable[[int], Any]) -> None:
        """Every thread does its share of the same steps; they meet inside, at barriers."""
        others = [threading.Thread(target=work, args=(i,)) for i in range(1, self.threads)]
        for thread in others:
            thread.start()
        work(0)
        for thread in others:
            thread.join()


def _specs(network: nn.Module, images: tuple[int, int, int]) -> tuple[list[LayerSpec], list[Any]]:
    """What the kernels are told of each layer with weights, and those layers."""
    if not isinstance(network, Network):
        raise UnknownNetwork(f"{type(network).__name__} is a module from Python")
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in network.parameters()):
        raise UnknownNetwork("they know float32 weights on the CPU")
    specs: list[LayerSpec] = []
    weighted: list[Any] = []
    height, width, channels = images
    flat = False
    todo = _Reader(network)
    while (module := todo.take()) is not None:
        if isinstance(module, layers.Flatten):
            flat, channels = True, channels if flat else height * width * channels
        elif isinstance(module, layers.Conv2D) and not flat:
            spec = _conv(module, (height, width, channels), todo)
            height, width, channels = spec.out_h // spec.pool, spec.out_w // spec.pool, spec.units
            specs.append(spec)
            weighted.append(module)
        elif isinstance(module, layers.Dense):
            relu = _rectified(module, todo)
            specs.append(LayerSpec(DENSE, relu, 1, 1, channels, units=module.out_features, pool=1))
            weighted.append(module)
            channels = module.out_features
        elif isinstance(module, nn.Dropout) and _may_drop(specs, todo):
            specs[-1].dropout = module.p
        else:
            raise UnknownNetwork(f"they have no {type(module).__name__} at this place")
    _check_ends(specs, weighted)
    return specs, weighted


def _may_drop(specs: list[LayerSpec], todo: "_Reader") -> bool:
    """Dropout is done on the way into a dense layer."""
    return bool(specs) and not specs[-1].dropout and not isinstance(todo.next(), layers.Conv2D | layers.MaxPooling2D)


class _Reader:
    """The layers one by one."""

    def __init__(self, network: Network) -> None:
        self._modules: Iterator[nn.Module] = iter(network)
        self._next = next(self._modules, None)

    def next(self) -> nn.Module | None:
        return self._next

    def take(self) -> nn.Module | None:
        taken, self._next = self._next, next(self._modules, None)
        return taken


def _conv(module: layers.Conv2D, shape: tuple[int, int, int], todo: _Reader) -> LayerSpec:
    height, width, channels = shape
    left, right, top, bottom = module.pad
    kernel_h, kernel_w = module.kernel_size
    out_h, out_w = height + top + bottom - kernel_h + 1, width + left + right - kernel_w + 1
    if tuple(module.stride) != (1, 1):
        raise UnknownNetwork(f"they know convolutions with strides of 1, not {tuple(module.stride)}")
    relu, pool = _rectified(module, todo), 1
    if isinstance(pooling := todo.next(), layers.MaxPooling2D):
        if (pooling.pool, pooling.strides, any(pooling.pad)) != ((2, 2), (2, 2), False):
            raise UnknownNetwork("they know max-pooling of 2x2 without padding")
        todo.take()
        pool, relu = 2, relu or _rectified(module, todo)  # ReLU before or after the maximum gives the same
    if not relu:
        raise UnknownNetwork("they know convolutions with ReLU")
    return LayerSpec(
        CONV, relu, height, width, channels, kernel_h, kernel_w, top, left, out_h, out_w, module.out_channels, pool
    )


def _rectified(module: layers.Conv2D | layers.Dense, todo: _Reader) -> bool:
    if module.bias is None:
        raise UnknownNetwork("they know layers with a bias")
    activation = module.activation
    if activation == "linear" and isinstance(after := todo.next(), layers.Activation):
        activation = after.activation
        todo.take()
    if activation not in ("linear", "relu"):
        raise UnknownNetwork(f"they know ReLU, not {activation}")
    return activation == "relu"


def _check_ends(specs: list[LayerSpec], weighted: list[Any]) -> None:
    if not specs or specs[-1].kind != DENSE or specs[-1].relu or specs[-1].dropout:
        raise UnknownNetwork("they know networks that end in a dense layer and a softmax")
    if any(spec.kind == DENSE and not spec.relu for spec in specs[:-1]):
        raise UnknownNetwork("they know dense layers with ReLU")
