"""A network in the engine: trained and applied by the compiled kernels, where they know all of its layers."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from misread.engine.library import Hyper, LayerSpec, build_name, load_library
from misread.models import layers
from misread.models.network import Network

CONV, DENSE = 0, 1
PREDICT_BATCH = 128  # small enough that a batch's activations stay in the second-level cache
MAX_THREADS, MAX_BATCH = 64, 65_535  # fixed sizes in kernels.cpp
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
    dropout_key: together with the number of a step it decides what that step drops.
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
        dropout_key: int = 0,
    ) -> None:
        library = load_library()
        if library is None:
            raise UnknownNetwork("misread was installed without a C++ compiler, so without its kernels")
        if training is not None and not all(p.requires_grad for p in network.parameters()):
            raise UnknownNetwork("they train all weights of a network, and some of these are frozen")
        specs, self._modules = _specs(network, images)
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._library, self.image_shape, self.build = library, images, build_name(library)
        self.threads = min(torch.get_num_threads(), MAX_THREADS)
        self.n_classes = specs[-1].units
        self.mixed = mixed and bool(library.engine_has_bf16())
        if batch_size > MAX_BATCH:
            raise UnknownNetwork(f"batches of {batch_size:,} images are more than the {MAX_BATCH:,} that they take")
        self._engine = library.engine_new(
            (LayerSpec * len(specs))(*specs), len(specs), batch_size, self.threads, training is not None, self.mixed,
            training or Hyper(), dropout_key % 2**32,
        )  # fmt: skip
        self.load_weights({name: tensor.detach() for name, tensor in network.state_dict().items()})

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            self._library.engine_free(engine)

    def train(
        self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float], first_step: int
    ) -> tuple[np.ndarray, int]:
        """One step for each learning rate, on the next batch of rows.

        images (N, H, W, C) uint8, labels (N,) int64, rows (n,) int64: all contiguous, on the CPU.
        first_step: how many steps were taken before; Adam's bias correction and dropout depend on it.
        Returns each step's mean loss, float64, and how many images were right as they were met.
        """
        losses, correct = np.zeros(len(rates)), np.zeros(1, np.int64)
        learning_rates = np.asarray(rates, np.float64)
        given = (images.data_ptr(), labels.data_ptr(), rows.data_ptr(), len(rows))
        results = (learning_rates.ctypes.data, losses.ctypes.data, correct.ctypes.data)
        self._library.engine_seek(self._engine, first_step)
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

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights and buffers, by the names and in the order of the network's `state_dict`."""
        read = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        self._transfer(WEIGHTS, read, to_engine=False)
        return read

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights and buffers under the names of `weights()`."""
        self._transfer(WEIGHTS, weights, to_engine=True)

    def moments(self, which: int) -> dict[str, Tensor]:
        """Copies of Adam's FIRST_MOMENTS or SECOND_MOMENTS, by the names of the parameters."""
        read = {name: torch.empty(parameter.shape) for name, parameter in self._network.named_parameters()}
        self._transfer(which, read, to_engine=False)
        return read

    def load_moments(self, which: int, moments: Mapping[str, Tensor]) -> None:
        """Take over moments under the names of `moments()`."""
        self._transfer(which, moments, to_engine=True)

    def _transfer(self, which: int, tensors: Mapping[str, Tensor], *, to_engine: bool) -> None:
        """Between the engine's layout and tensors (float32, contiguous, in torch's layout) by their names."""
        for index, (module, norm) in enumerate(self._modules):
            name = self._names[module]
            weight, bias = tensors[f"{name}.weight"].contiguous(), tensors.get(f"{name}.bias")
            bias_at = None if bias is None else bias.data_ptr()
            self._library.engine_copy(self._engine, index, which, weight.data_ptr(), bias_at, to_engine)
            if norm is None:
                continue
            parts = [tensors[f"{self._names[norm]}.{part}"].contiguous() for part in ("weight", "bias")]
            if which == WEIGHTS:
                parts += [
                    tensors[f"{self._names[norm]}.{part}"].contiguous() for part in ("running_mean", "running_var")
                ]
            pointers = [*(part.data_ptr() for part in parts), None, None][:4]
            self._library.engine_copy_norm(self._engine, index, which, *pointers, to_engine)

    def _on_threads(self, work: Callable[[int], Any]) -> None:
        """Every thread does its share of the same steps; they meet inside, at barriers."""
        others = [threading.Thread(target=work, args=(i,)) for i in range(1, self.threads)]
        for thread in others:
            thread.start()
        work(0)
        for thread in others:
            thread.join()


Weighted = tuple[Any, layers.BatchNormalization | None]  # a convolution or dense layer, and what normalises it


def _specs(network: nn.Module, images: tuple[int, int, int]) -> tuple[list[LayerSpec], list[Weighted]]:
    """What the kernels are told of each layer with weights, and those layers."""
    if not isinstance(network, Network):
        raise UnknownNetwork(f"{type(network).__name__} is a module from Python")
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in network.parameters()):
        raise UnknownNetwork("they know float32 weights on the CPU")
    specs: list[LayerSpec] = []
    weighted: list[Weighted] = []
    height, width, channels = images
    flat = False
    todo = _Reader(network)
    while (module := todo.take()) is not None:
        if isinstance(module, layers.Flatten):
            flat, channels = True, channels if flat else height * width * channels
        elif isinstance(module, layers.Conv2D) and not flat:
            spec = _conv(module, (height, width, channels))
            weighted.append((module, _finish(spec, module, todo)))
            if not spec.relu:
                raise UnknownNetwork("they know convolutions with ReLU")
            specs.append(spec)
            height, width, channels = spec.out_h // spec.pool, spec.out_w // spec.pool, spec.units
        elif isinstance(module, layers.Dense):
            _check_inputs(module, module.in_features, channels)
            spec = LayerSpec(DENSE, in_h=1, in_w=1, in_c=channels, units=module.out_features, pool=1)
            weighted.append((module, _finish(spec, module, todo)))
            specs.append(spec)
            channels = module.out_features
        elif isinstance(module, nn.Dropout) and _may_drop(specs, todo):
            specs[-1].dropout = module.p
        else:
            raise UnknownNetwork(f"they have no {type(module).__name__} at this place")
    _check_ends(specs)
    return specs, weighted


class _Reader:
    """The layers one by one."""

    def __init__(self, network: Network) -> None:
        self._modules: Iterator[nn.Module] = iter(network)
        self.next = next(self._modules, None)

    def take(self) -> nn.Module | None:
        taken, self.next = self.next, next(self._modules, None)
        return taken


def _may_drop(specs: list[LayerSpec], todo: _Reader) -> bool:
    """Dropout is done on the way into a dense layer."""
    return bool(specs) and not specs[-1].dropout and not isinstance(todo.next, layers.Conv2D | layers.MaxPooling2D)


def _conv(module: layers.Conv2D, shape: tuple[int, int, int]) -> LayerSpec:
    height, width, channels = shape
    _check_inputs(module, module.in_channels, channels)
    left, right, top, bottom = module.pad
    kernel_h, kernel_w = module.kernel_size
    if tuple(module.stride) != (1, 1):
        raise UnknownNetwork(f"they know convolutions with strides of 1, not {tuple(module.stride)}")
    return LayerSpec(
        CONV, 0, height, width, channels, kernel_h, kernel_w, top, left, height + top + bottom - kernel_h + 1,
        width + left + right - kernel_w + 1, module.out_channels, pool=1,
    )  # fmt: skip


def _check_inputs(module: nn.Module, takes: int, given: int) -> None:
    """The kernels would read beyond the weights; torch refuses such images with a message."""
    if takes != given:
        raise UnknownNetwork(f"{type(module).__name__} takes {takes:,} inputs, but gets {given:,} from these images")


def _finish(spec: LayerSpec, module: Any, todo: _Reader) -> layers.BatchNormalization | None:
    """What follows a layer's products, into its spec: pooling, normalisation, ReLU; ReLU may stand before pooling."""
    activation, norm = module.activation, None
    if spec.kind == CONV and isinstance(pooling := todo.next, layers.MaxPooling2D):
        if (pooling.pool, pooling.strides, any(pooling.pad)) != ((2, 2), (2, 2), False):
            raise UnknownNetwork("they know max-pooling of 2x2 without padding")
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
        raise UnknownNetwork(f"they know ReLU, not {activation}")
    if (module.bias is None) != (norm is not None):
        raise UnknownNetwork("they know layers with either a bias or a normalisation")
    spec.relu = activation == "relu"
    if norm is not None and not spec.relu:
        raise UnknownNetwork("they know normalisation with ReLU")
    return norm


def _check_ends(specs: list[LayerSpec]) -> None:
    if not specs or specs[-1].kind != DENSE or specs[-1].relu or specs[-1].dropout:
        raise UnknownNetwork("they know networks that end in a dense layer and a softmax")
    if any(spec.kind == DENSE and not spec.relu for spec in specs[:-1]):
        raise UnknownNetwork("they know dense layers with ReLU")
