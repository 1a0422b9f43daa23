"""The layers of a recipe in their places: their names, and the shapes that go in and come out. It imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from misread.errors import RecipeError
from misread.models import layer_specs as specs

COMMON_WINDOW = 15  # recipes have windows up to this side, also over the 1x1 images that poolings leave
Shape = tuple[int, ...]  # (H, W, C) of an image, or (n,) if flat: Keras's order, without the batch
Pair = tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """A layer in its place. `units` and `strides` of its spec are numbers.

    name: Keras's. inner: of a residual layer.
    """

    name: str
    spec: Any
    input: Shape
    output: Shape
    inner: tuple["Placed", ...] = ()

    @property
    def size(self) -> Pair:
        """Height and width of the images that go in."""
        return self.input[0], self.input[1]


def place_layers(layer_list: Sequence[specs.LayerSpec], image_shape: Shape, n_classes: int) -> list[Placed]:
    """Each layer with its shapes. A softmax at the end is left out: networks return logits.

    image_shape: (H, W, C); or (D,) for features.
    Raises RecipeError: a layer does not fit the output of the previous one, or the last layer does not give one number
    for each class. The message names the layer.
    """
    if ends_in_softmax(layer_list):
        layer_list = [*layer_list[:-1], layer_list[-1].model_copy(update={"activation": "linear"})]
    if any(isinstance(spec, specs.Whitening) for spec in list(layer_list)[1:]):
        raise RecipeError("A Whitening layer can only be the first layer, because it is computed from the images.")
    placed = _place(layer_list, image_shape, n_classes)
    shape = placed[-1].output if placed else image_shape
    if shape != (n_classes,):
        raise RecipeError(
            f"The last layer gives {_described(shape)}, but the data has {n_classes} classes.\n"
            'End the network with a Dense layer of units = "classes".'
        )
    return placed


def ends_in_softmax(layer_list: Sequence[specs.LayerSpec]) -> bool:
    """Whether the last layer has a softmax as its activation."""
    last = layer_list[-1] if layer_list else None
    return isinstance(last, specs.Dense | specs.ActivationLayer) and last.activation == "softmax"


def _place(layer_list: Sequence[specs.LayerSpec], shape: Shape, n_classes: int) -> list[Placed]:
    placed: list[Placed] = []
    for index, spec in enumerate(layer_list):
        try:
            spec, output, inner = _fitted(spec, shape, n_classes)
        except RecipeError as error:
            raise RecipeError(f"{numbered(index, spec)}: {error}") from None
        placed.append(Placed(_name(spec.type, [layer.name for layer in placed]), spec, shape, output, tuple(inner)))
        shape = output
    return placed


def numbered(index: int, spec: specs.LayerSpec) -> str:
    """A layer in messages."""
    return f"Layer {index + 1} ({spec.type})"


def _name(kind: str, taken: Sequence[str]) -> str:
    """Keras's names: dense, dense_1, ..."""
    base = "".join(("_" if i and c.isupper() and kind[i - 1].islower() else "") + c.lower() for i, c in enumerate(kind))
    base = base.replace("2_d", "2d")
    count = sum(name == base or name.startswith(f"{base}_") for name in taken)
    return f"{base}_{count}" if count else base


def _fitted(spec: specs.LayerSpec, shape: Shape, n_classes: int) -> tuple[specs.LayerSpec, Shape, list[Placed]]:
    """The layer with numbers in the place of names and defaults, the shape after it, and its inner layers."""
    match spec:
        case specs.Flatten():
            return spec, (math.prod(shape),), []
        case specs.Dense():
            if len(shape) != 1:
                raise RecipeError(f"it needs flat input, but gets {_described(shape)}. Put a Flatten layer before it.")
            units = n_classes if spec.units == "classes" else spec.units
            return spec.model_copy(update={"units": units}), (units,), []
        case specs.BatchNormalization() | specs.Dropout() | specs.ActivationLayer():
            return spec, shape, []
        case specs.Residual():
            return spec, shape, _residual(spec, shape, n_classes)
    if len(shape) != 3:
        raise RecipeError(f"it needs images, but gets {_described(shape)}. Put it before the Flatten layer.")
    height, width, channels = shape
    match spec:
        case specs.GlobalAveragePooling2D() | specs.GlobalMaxPooling2D():
            return spec, (channels,), []
        case specs.Whitening():
            kernel = pair(spec.kernel_size)
            out = _windows("valid", (height, width), kernel, pair(spec.strides))
            filters = min(spec.filters, 2 * channels * kernel[0] * kernel[1])
            return spec.model_copy(update={"filters": filters}), (*out, filters), []
        case specs.Conv2D():
            out = _windows(spec.padding, (height, width), pair(spec.kernel_size), pair(spec.strides))
            return spec, (*out, spec.filters), []
        case specs.MaxPooling2D() | specs.AveragePooling2D():
            strides = spec.strides or spec.pool_size
            out = _windows(spec.padding, (height, width), pair(spec.pool_size), pair(strides))
            return spec.model_copy(update={"strides": strides}), (*out, channels), []


def _residual(spec: specs.Residual, shape: Shape, n_classes: int) -> list[Placed]:
    inner = _place(spec.layers, shape, n_classes)
    if any(isinstance(layer, specs.Whitening) for layer in spec.layers):
        raise RecipeError("a Whitening layer can only be the first layer of the network.")
    if inner[-1].output != shape:
        raise RecipeError(
            f"its layers turn {_described(shape)} into {_described(inner[-1].output)}, which cannot be added. "
            'Use padding = "same", and as many filters in its last convolution as its input has channels.'
        )
    return inner


def _windows(padding: str, shape: Pair, kernel: Pair, strides: Pair) -> Shape:
    out = tuple(window_output(padding, s, k, t) for s, k, t in zip(shape, kernel, strides, strict=True))
    if min(out) < 1:
        raise RecipeError(
            f"its window of {kernel[0]}x{kernel[1]} is larger than its input of {shape[0]}x{shape[1]}. "
            'Use a smaller window, padding = "same", or fewer pooling layers before it.'
        )
    if any(k > max(2 * s, COMMON_WINDOW) for s, k in zip(shape, kernel, strict=True)):
        raise RecipeError(
            f"its window of {kernel[0]}x{kernel[1]} is more than twice its input of {shape[0]}x{shape[1]}, so most of "
            "it would be padding. Use a smaller window."
        )
    return out


def same_padding(size: int, kernel: int, stride: int) -> Pair:
    """Zeros before and after, so that `ceil(size / stride)` positions fit. An odd zero goes after, as in Keras."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def window_padding(padding: str, shape: Pair, kernel: Pair, strides: Pair) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) for images of `shape` (H, W), in the order of torch's `pad`."""
    if padding == "valid":
        return 0, 0, 0, 0
    top, bottom = same_padding(shape[0], kernel[0], strides[0])
    left, right = same_padding(shape[1], kernel[1], strides[1])
    return left, right, top, bottom


def window_output(padding: str, size: int, kernel: int, stride: int) -> int:
    """The number of windows along one direction; 0 or less if the kernel is larger than the image."""
    return math.ceil(size / stride) if padding == "same" else (size - kernel) // stride + 1


def pair(value: int | Pair) -> Pair:
    """One number for both directions as two."""
    return (value, value) if isinstance(value, int) else value


def _described(shape: Shape) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else f"images of {'x'.join(map(str, shape))} (H x W x C)"
