"""A network in the engine: trained and applied by the compiled kernels, where they know all of its layers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from misread.engine.bare_chain import FIRST_MOMENTS, SECOND_MOMENTS, WEIGHTS, BareChain
from misread.engine.kernel_specs import Piece, UnknownNetwork, read_pieces
from misread.engine.library import Hyper
from misread.messages import Message
from misread.models import layers
from misread.models.network import Network

__all__ = ["FIRST_MOMENTS", "SECOND_MOMENTS", "Chain", "UnknownNetwork"]


class Chain(BareChain):
    """A network's weights in the layout of the kernels, and all that training and predicting need beside them.

    network:     convolutions with ReLU, each with or without 2x2 max-pooling, then dense layers with ReLU and dropout.
                 The chain copies its weights and never changes it.
    image_shape: of one image, (H, W, C).
    batch_size:  images of a step; in a prediction, those that all threads have in memory at once. None suits a chain
                 that only predicts.
    training:    the settings of Adam and the loss; None for a chain that only predicts.
    mixed:       take the factors of products in bf16, if this build can: in the convolutions' forward pass and in the
                 gradients of the dense layers' inputs. Sums, weights, moments and the loss are float32.
    dropout_key: together with a step's number it decides what that step drops.

    Its settings, `weights`, both `moments` and the number of the next step are a chain's whole state: a new chain
    that takes them over goes on bit for bit. Several Python threads may use a chain; its calls wait for one another.

    Raises UnknownNetwork: there are no compiled kernels here, they do not know the network or these settings, or its
    arrays do not fit into memory.
    """

    def __init__(
        self,
        network: nn.Module,
        image_shape: tuple[int, int, int],
        *,
        batch_size: int | None = None,
        training: Hyper | None = None,
        mixed: bool = False,
        dropout_key: int = 0,
    ) -> None:
        if training is not None and not all(p.requires_grad for p in network.parameters()):
            raise UnknownNetwork(Message("engine.frozen"))
        specs, weighted = read_pieces(_pieces(network), image_shape)
        super().__init__(
            specs, weighted, image_shape, torch.get_num_threads(), batch_size=batch_size, training=training,
            mixed=mixed, dropout_key=dropout_key,
        )  # fmt: skip
        self._network = network
        self.load_weights({name: tensor.detach() for name, tensor in network.state_dict().items()})

    def train(
        self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float], first_step: int
    ) -> tuple[np.ndarray, int]:
        """Take one step for each learning rate, each on the next batch of rows.

        images (N, H, W, C) uint8, labels (N,) int64, rows (n,) int64: all contiguous, on the CPU.
        first_step: how many steps were taken before; Adam's bias correction and dropout depend on it.
        Returns each step's mean loss, float64, and how many images were classified rightly as they were met.
        Raises ValueError: the arguments do not fit one another, the network or this form. No step is taken then.
        """
        losses, correct = np.zeros(len(rates)), np.zeros(1, np.int64)
        learning_rates = np.asarray(rates, np.float64)
        addresses = (
            _address("images", images, torch.uint8, (None, *self.image_shape)), len(images),
            _address("labels", labels, torch.int64, (len(images),)),
            _address("rows", rows, torch.int64, (None,)), len(rows),
            learning_rates.ctypes.data, len(rates), first_step, losses.ctypes.data, correct.ctypes.data,
        )  # fmt: skip
        self.run(lambda: self._library.engine_start_training(self._engine, *addresses))
        return losses, int(correct[0])

    def predict(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> logits (N, K) float32. An image's logits do not depend on those beside it.

        Raises ValueError: images of another shape, dtype or device.
        """
        images = images.contiguous()
        address = _address("images", images, torch.uint8, (None, *self.image_shape))
        logits = torch.empty(len(images), self.n_classes)
        self.predict_at(address, len(images), logits.data_ptr())
        return logits

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights and buffers, by the names and in the order of the network's `state_dict`."""
        read = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in self._network.state_dict().items()
        }
        self._transfer(WEIGHTS, read, to_engine=False)
        return read

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights and buffers under the names of `weights()`.

        Raises ValueError: one is missing, or has another shape, dtype or device than the network's.
        """
        self._load(WEIGHTS, weights, {name: tensor.shape for name, tensor in self._network.state_dict().items()})

    def moments(self, which: int) -> dict[str, Tensor]:
        """Copies of Adam's FIRST_MOMENTS or SECOND_MOMENTS, by the names of the parameters.

        Raises ValueError: the chain only predicts.
        """
        read = {name: torch.empty(parameter.shape) for name, parameter in self._network.named_parameters()}
        self._transfer(which, read, to_engine=False)
        return read

    def load_moments(self, which: int, moments: Mapping[str, Tensor]) -> None:
        """Take over moments under the names of `moments()`.

        Raises ValueError: as `load_weights`, or the chain only predicts.
        """
        self._load(which, moments, {name: parameter.shape for name, parameter in self._network.named_parameters()})

    def _load(self, which: int, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
        if missing := ", ".join(name for name in shapes if name not in tensors):
            raise ValueError(f"no tensors for {missing}")
        given = {name: tensors[name].contiguous() for name in shapes}
        for name, tensor in given.items():
            if not name.endswith(".num_batches_tracked"):  # which is PyTorch's alone
                _address(name, tensor, torch.float32, tuple(shapes[name]))
        self._transfer(which, given, to_engine=True)

    def _transfer(self, which: int, tensors: Mapping[str, Tensor], *, to_engine: bool) -> None:
        """Copy between the engine's layout and tensors (float32, contiguous, in PyTorch's layout) by their names."""
        self.copy(which, lambda name: tensors[name].data_ptr() if name in tensors else None, to_engine=to_engine)


def _pieces(network: nn.Module) -> list[Piece]:
    """The layers of a network. Raises UnknownNetwork: it is none of recipes' layers, or not of float32 on the CPU."""
    if not isinstance(network, Network):
        raise UnknownNetwork(Message("engine.module", name=type(network).__name__))
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in network.parameters()):
        raise UnknownNetwork(Message("engine.float32"))
    names = {module: name for name, module in network.named_modules()}
    return [_piece(module, names[module]) for module in network]


def _piece(module: nn.Module, name: str) -> Piece:
    match module:
        case layers.Flatten():
            return Piece("Flatten", name)
        case layers.Dense():
            has_bias, activation = module.bias is not None, module.activation
            return Piece("Dense", name, module.in_features, module.out_features, activation=activation, bias=has_bias)
        case layers.Conv2D():
            return Piece(
                "Conv2D", name, module.in_channels, module.out_channels, _pair(module.kernel_size),
                _pair(module.stride), module.pad, module.activation, module.bias is not None,
            )  # fmt: skip
        case layers.MaxPooling2D():
            return Piece("MaxPooling2D", name, window=module.pool, strides=module.strides, pad=module.pad)
        case layers.BatchNormalization():
            return Piece("BatchNormalization", name, momentum=module.momentum or 0.0, epsilon=module.eps)
        case layers.Activation():
            return Piece("Activation", name, activation=module.activation)
        case nn.Dropout():
            return Piece("Dropout", name, rate=module.p)
    own = type(module).__module__ == layers.__name__
    return Piece(type(module).__name__ if own else f"nn.{type(module).__name__}", name)


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def _address(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> int:
    """The address of a tensor's memory, after checking that the kernels can read it. None in a shape is any length."""
    fits = len(tensor.shape) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} must be a contiguous tensor on the CPU of {dtype} and shape ({wanted}), "
            f"not {'' if tensor.is_contiguous() else 'a strided one '}on {tensor.device} of {tensor.dtype} "
            f"and shape {tuple(tensor.shape)}"
        )
    return tensor.data_ptr()
