"""Builds a network from a list of layers, and infers all input sizes."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from misread.errors import RecipeError
from misread.models import layer_specs as specs
from misread.models import layers

COMMON_WINDOW = 15  # recipes have windows up to this side, also over the 1x1 images that poolings leave
Shape = tuple[int, ...]  # (H, W, C) of an image, or (n,) if flat: Keras's order, without the batch


def to_input(images: Tensor) -> Tensor:
    """Images as loaded, (B, H, W, C) uint8 0..255, to network input, (B, C, H, W) float32 in [0, 1].

    Nothing else scales pixels.
    """
    return images.movedim(-1, 1).to(torch.float32).mul_(1 / 255)


def network_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Images as loaded, (B, H, W, C) uint8, or features (B, D) float32, through a network: logits (B, K)."""
    x = to_input(images) if images.dtype == torch.uint8 else images
    if not isinstance(network, Network):  # other modules may use `view`, which needs contiguous memory
        x = x.clone(memory_format=torch.contiguous_format)
    logits: Tensor = network(x)
    return logits


class Network(nn.Sequential):
    """A chain of layers from (B, C, H, W) float32 in [0, 1] to logits (B, K).

    output_shapes: the shape after each layer, in Keras's order without the batch.
    final_softmax: the recipe has a softmax as the last activation. The network still returns logits, because the loss
                   needs them; the softmax is applied when predicting.
    """

    output_shapes: tuple[Shape, ...] = ()
    final_softmax: bool = False


def build_network(layer_list: Sequence[specs.LayerSpec], image_shape: Shape, n_classes: int) -> Network:
    """A network with random initial weights from torch's global generator.

    image_shape: (H, W, C); or (D,) for features.
    Raises RecipeError: a layer does not fit the output of the previous one, or the last layer does not give one number
    for each class. The message names the layer.
    """
    final_softmax = False
    if layer_list:
        *before, last = layer_list
        if isinstance(last, specs.Dense | specs.ActivationLayer) and last.activation == "softmax":
            final_softmax = True
            layer_list = [*before, last.model_copy(update={"activation": "linear"})]
    if any(isinstance(spec, specs.Whitening) for spec in list(layer_list)[1:]):
        raise RecipeError("A Whitening layer can only be the first layer, because it is computed from the images.")
    named, shapes = _chain(layer_list, image_shape, n_classes)
    shape = shapes[-1] if shapes else image_shape
    if shape != (n_classes,):
        raise RecipeError(
            f"The last layer gives {_described(shape)}, but the data has {n_classes} classes.\n"
            'End the network with a Dense layer of units = "classes".'
        )
    network = Network(named)  # torch slices a network by calling this constructor, so its signature must stay
    network.output_shapes, network.final_softmax = tuple(shapes), final_softmax
    return network


def _chain(
    layer_list: Sequence[specs.LayerSpec], shape: Shape, n_classes: int
) -> tuple[OrderedDict[str, nn.Module], list[Shape]]:
    """The named modules for these layers, and the shape after each."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    shapes: list[Shape] = []
    for index, spec in enumerate(layer_list):
        try:
            module, shape = _build(spec, shape, n_classes)
        except RecipeError as error:
            raise RecipeError(f"Layer {index + 1} ({spec.type}): {error}") from None
        except RuntimeError as error:  # torch cannot allocate the weights, or cannot even count their bytes
            raise RecipeError(
                f"Layer {index + 1} ({spec.type}): its weights do not fit into any memory ({error}). Make it smaller."
            ) from None
        named[_name(spec.type, named)] = module
        shapes.append(shape)
    return named, shapes


def _name(kind: str, taken: dict[str, nn.Module]) -> str:
    """Keras's names: dense, dense_1, ..."""
    base = "".join(("_" if i and c.isupper() and kind[i - 1].islower() else "") + c.lower() for i, c in enumerate(kind))
    base = base.replace("2_d", "2d")
    count = sum(name == base or name.startswith(f"{base}_") for name in taken)
    return f"{base}_{count}" if count else base


def _build(spec: specs.LayerSpec, shape: Shape, n_classes: int) -> tuple[nn.Module, Shape]:
    match spec:
        case specs.Flatten():
            flat = 1
            for n in shape:
                flat *= n
            return layers.Flatten(), (flat,)
        case specs.Dense():
            if len(shape) != 1:
                raise RecipeError(f"it needs flat input, but gets {_described(shape)}. Put a Flatten layer before it.")
            units = n_classes if spec.units == "classes" else spec.units
            return layers.Dense(shape[0], units, spec.activation, spec.use_bias), (units,)
        case specs.BatchNormalization():
            return layers.BatchNormalization(shape[-1], spec.momentum, spec.epsilon), shape
        case specs.Dropout():
            return nn.Dropout(spec.rate), shape
        case specs.ActivationLayer():
            return layers.Activation(spec.activation), shape
        case specs.Residual():
            return _residual(spec, shape, n_classes), shape
    if len(shape) != 3:
        raise RecipeError(f"it needs images, but gets {_described(shape)}. Put it before the Flatten layer.")
    height, width, channels = shape
    match spec:
        case specs.GlobalAveragePooling2D():
            return layers.GlobalAveragePooling2D(), (channels,)
        case specs.GlobalMaxPooling2D():
            return layers.GlobalMaxPooling2D(), (channels,)
        case specs.Whitening():
            kernel, strides = _pair(spec.kernel_size), _pair(spec.strides)
            out = _windows("valid", (height, width), kernel, strides)
            filters = min(spec.filters, 2 * channels * kernel[0] * kernel[1])
            return layers.Whitening(channels, filters, kernel, strides, spec.activation), (*out, filters)
        case specs.Conv2D():
            kernel, strides = _pair(spec.kernel_size), _pair(spec.strides)
            out = _windows(spec.padding, (height, width), kernel, strides)
            module = layers.Conv2D(
                channels, (height, width), spec.filters, kernel, strides, spec.padding, spec.activation, spec.use_bias
            )
            return module, (*out, spec.filters)
        case specs.MaxPooling2D() | specs.AveragePooling2D():
            pool = _pair(spec.pool_size)
            strides = _pair(spec.strides or pool)
            out = _windows(spec.padding, (height, width), pool, strides)
            make = layers.MaxPooling2D if isinstance(spec, specs.MaxPooling2D) else layers.AveragePooling2D
            return make((height, width), pool, strides, spec.padding), (*out, channels)


def _residual(spec: specs.Residual, shape: Shape, n_classes: int) -> layers.Residual:
    named, shapes = _chain(spec.layers, shape, n_classes)
    if any(isinstance(inner, specs.Whitening) for inner in spec.layers):
        raise RecipeError("a Whitening layer can only be the first layer of the network.")
    if shapes[-1] != shape:
        raise RecipeError(
            f"its layers turn {_described(shape)} into {_described(shapes[-1])}, which cannot be added. "
            'Use padding = "same", and as many filters in its last convolution as its input has channels.'
        )
    module = layers.Residual(named)
    module.output_shapes = tuple(shapes)
    return module


def _windows(padding: str, shape: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]) -> Shape:
    out = tuple(layers.window_output(padding, s, k, t) for s, k, t in zip(shape, kernel, strides, strict=True))
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


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _described(shape: Shape) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else f"images of {'x'.join(map(str, shape))} (H x W x C)"
