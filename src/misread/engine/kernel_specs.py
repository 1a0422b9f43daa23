"""Reading a network: which of its layers the kernels know, and what they need to know of each. It imports no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from misread.engine.library import LayerSpec
from misread.messages import Message
from misread.models import layer_specs as layers
from misread.models.shapes import Pair, Placed, pair, window_padding

CONV, DENSE = 0, 1  # `Kind` in kernels/abi.h
LARGEST = 2**31 - 1  # sizes are 32-bit there

Weighted = tuple[str, str | None]  # the name of a convolution or dense layer, and of what normalises it


class UnknownNetwork(Exception):
    """The kernels cannot run the network, its training or its size; the text says why."""


@dataclass(frozen=True)
class Piece:
    """What matters to the kernels of one layer, wherever it is from: a module or a recipe.

    kind: of a recipe's layers; of a layer that recipes do not have, another name.
    name: in the network. takes, gives: channels or numbers. window, strides, pad: of a convolution or pooling.
    """

    kind: str
    name: str = ""
    takes: int = 0
    gives: int = 0
    window: Pair = (0, 0)
    strides: Pair = (0, 0)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, right, top, bottom
    activation: str = "linear"
    bias: bool = False
    momentum: float = 0.0  # as in PyTorch: the share of the new value
    epsilon: float = 0.0
    rate: float = 0.0


def pieces_of(placed: Sequence[Placed]) -> list[Piece]:
    """The layers of a recipe."""
    return [_piece(layer) for layer in placed]


def _piece(layer: Placed) -> Piece:
    spec, takes, gives = layer.spec, layer.input[-1], layer.output[-1]
    match spec:
        case layers.Dense():
            return Piece("Dense", layer.name, takes, gives, activation=spec.activation, bias=spec.use_bias)
        case layers.Conv2D():
            window, strides = pair(spec.kernel_size), pair(spec.strides)
            pad = window_padding(spec.padding, layer.size, window, strides)
            return Piece("Conv2D", layer.name, takes, gives, window, strides, pad, spec.activation, spec.use_bias)
        case layers.MaxPooling2D():
            window, strides = pair(spec.pool_size), pair(spec.strides or spec.pool_size)
            pad = window_padding(spec.padding, layer.size, window, strides)
            return Piece("MaxPooling2D", layer.name, window=window, strides=strides, pad=pad)
        case layers.BatchNormalization():
            return Piece("BatchNormalization", layer.name, momentum=1 - spec.momentum, epsilon=spec.epsilon)
        case layers.ActivationLayer():
            return Piece("Activation", layer.name, activation=spec.activation)
        case layers.Dropout():
            return Piece("Dropout", layer.name, rate=spec.rate)
    return Piece(spec.type, layer.name)


def read_pieces(pieces: Sequence[Piece], image_shape: tuple[int, int, int]) -> tuple[list[LayerSpec], list[Weighted]]:
    """The specification of each layer with weights, and the names of those layers.

    image_shape: of one image, (H, W, C).
    Raises UnknownNetwork: there is a layer, or an order of layers, that the kernels do not know.
    """
    specs: list[LayerSpec] = []
    weighted: list[Weighted] = []
    height, width, channels = image_shape
    flat = False
    todo = _Reader(pieces)
    while (piece := todo.take()) is not None:
        if piece.kind == "Flatten":
            flat, channels = True, channels if flat else height * width * channels
        elif piece.kind == "Conv2D" and not flat:
            spec = _conv(piece, (height, width, channels))
            weighted.append((piece.name, _finish(spec, piece, todo)))
            if not spec.relu:
                raise UnknownNetwork(Message("engine.convolution"))
            specs.append(spec)
            height, width, channels = spec.out_h // spec.pool, spec.out_w // spec.pool, spec.units
        elif piece.kind == "Dense":
            _check_inputs(piece, channels)
            spec = _spec(kind=DENSE, in_h=1, in_w=1, in_c=channels, units=piece.gives, pool=1)
            weighted.append((piece.name, _finish(spec, piece, todo)))
            specs.append(spec)
            channels = piece.gives
        elif piece.kind == "Dropout" and _may_drop(specs, todo):
            specs[-1].dropout = _rate(piece)
        else:
            raise UnknownNetwork(Message("engine.layer", name=piece.kind))
    _check_ends(specs)
    return specs, weighted


class _Reader:
    """A network's layers, one after the other, with a look at the next."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces: Iterator[Piece] = iter(pieces)
        self.next = next(self._pieces, None)

    def take(self) -> Piece | None:
        taken, self.next = self.next, next(self._pieces, None)
        return taken

    def take_a(self, kind: str) -> Piece | None:
        """The next layer, if it is of this kind."""
        return self.take() if self.next is not None and self.next.kind == kind else None


def _spec(**sizes: int) -> LayerSpec:
    """ctypes would wrap a larger number around without a word."""
    for name, size in sizes.items():
        if size > LARGEST:
            raise UnknownNetwork(Message("engine.size", size=size, name=name, most=LARGEST))
    return LayerSpec(**sizes)


def _may_drop(specs: list[LayerSpec], todo: _Reader) -> bool:
    """The kernels drop a dense layer's inputs, once, and not those of the network."""
    follows = todo.next.kind if todo.next else ""
    return bool(specs) and not specs[-1].dropout and follows not in ("Conv2D", "MaxPooling2D")


def _rate(dropout: Piece) -> float:
    if np.float32(dropout.rate) >= 1:
        raise UnknownNetwork(Message("engine.dropout", rate=repr(dropout.rate)))
    return dropout.rate


def _conv(piece: Piece, shape: tuple[int, int, int]) -> LayerSpec:
    height, width, channels = shape
    _check_inputs(piece, channels)
    left, right, top, bottom = piece.pad
    kernel_h, kernel_w = piece.window
    if piece.strides != (1, 1):
        raise UnknownNetwork(Message("engine.strides", strides=str(piece.strides)))
    return _spec(
        kind=CONV, in_h=height, in_w=width, in_c=channels, kernel_h=kernel_h, kernel_w=kernel_w, top=top, left=left,
        out_h=height + top + bottom - kernel_h + 1, out_w=width + left + right - kernel_w + 1,
        units=piece.gives, pool=1,
    )  # fmt: skip


def _check_inputs(piece: Piece, given: int) -> None:
    """Otherwise the kernels would read beyond the weights; PyTorch refuses such images with a message."""
    if piece.takes != given:
        raise UnknownNetwork(Message("engine.inputs", name=piece.kind, takes=piece.takes, given=given))


def _finish(spec: LayerSpec, piece: Piece, todo: _Reader) -> str | None:
    """Complete a layer's specification with what follows it: pooling, normalisation, and ReLU, which may come before
    the pooling. Returns the name of the normalisation.
    """
    activation, norm = piece.activation, None
    if spec.kind == CONV and (pooling := todo.take_a("MaxPooling2D")):
        if (pooling.window, pooling.strides, any(pooling.pad)) != ((2, 2), (2, 2), False):
            raise UnknownNetwork(Message("engine.pooling"))
        spec.pool = 2
    if activation == "linear" and (norm := todo.take_a("BatchNormalization")):
        spec.normalised, spec.momentum, spec.epsilon = 1, 1 - norm.momentum, norm.epsilon
    if activation == "linear" and (after := todo.take_a("Activation")):
        activation = after.activation
    if activation not in ("linear", "relu"):
        raise UnknownNetwork(Message("engine.activation", name=activation))
    if piece.bias == (norm is not None):
        raise UnknownNetwork(Message("engine.bias"))
    spec.relu = activation == "relu"
    if norm is not None and not spec.relu:
        raise UnknownNetwork(Message("engine.normalisation"))
    return None if norm is None else norm.name


def _check_ends(specs: list[LayerSpec]) -> None:
    if not specs or specs[-1].kind != DENSE or specs[-1].relu or specs[-1].dropout:
        raise UnknownNetwork(Message("engine.end"))
    if any(spec.kind == DENSE and not spec.relu for spec in specs[:-1]):
        raise UnknownNetwork(Message("engine.dense"))
