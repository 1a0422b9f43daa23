"""Builds a network from a list of layers."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from misread.errors import RecipeError
from misread.models import layer_specs as specs
from misread.models import layers
from misread.models.shapes import Placed, Shape, ends_in_softmax, numbered, pair, place_layers


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
    Raises RecipeError: see `place_layers`; or a layer's weights do not fit into memory.
    """
    placed = place_layers(layer_list, image_shape, n_classes)
    network = Network(_modules(placed))  # torch slices a network by calling this, so its signature must stay
    network.output_shapes = tuple(layer.output for layer in placed)
    network.final_softmax = ends_in_softmax(layer_list)
    return network


def _modules(placed: Sequence[Placed]) -> OrderedDict[str, nn.Module]:
    named: OrderedDict[str, nn.Module] = OrderedDict()
    for index, layer in enumerate(placed):
        try:
            named[layer.name] = _module(layer)
        except RecipeError as error:  # of an inner layer
            raise RecipeError(f"{numbered(index, layer.spec)}: {error}") from None
        except RuntimeError as error:  # torch cannot allocate the weights, or cannot even count their bytes
            raise RecipeError(
                f"{numbered(index, layer.spec)}: its weights do not fit into any memory ({error}). Make it smaller."
            ) from None
    return named


def _module(layer: Placed) -> nn.Module:
    spec, channels = layer.spec, layer.input[-1]
    match spec:
        case specs.Flatten():
            return layers.Flatten()
        case specs.Dense():
            return layers.Dense(channels, layer.output[-1], spec.activation, spec.use_bias)
        case specs.BatchNormalization():
            return layers.BatchNormalization(channels, spec.momentum, spec.epsilon)
        case specs.Dropout():
            return nn.Dropout(spec.rate)
        case specs.ActivationLayer():
            return layers.Activation(spec.activation)
        case specs.Residual():
            residual = layers.Residual(_modules(layer.inner))
            residual.output_shapes = tuple(inner.output for inner in layer.inner)
            return residual
        case specs.GlobalAveragePooling2D():
            return layers.GlobalAveragePooling2D()
        case specs.GlobalMaxPooling2D():
            return layers.GlobalMaxPooling2D()
        case specs.Whitening():
            return layers.Whitening(channels, spec.filters, pair(spec.kernel_size), pair(spec.strides), spec.activation)
        case specs.Conv2D():
            return layers.Conv2D(
                channels, layer.size, spec.filters, pair(spec.kernel_size), pair(spec.strides), spec.padding,
                spec.activation, spec.use_bias,
            )  # fmt: skip
    make = layers.MaxPooling2D if isinstance(spec, specs.MaxPooling2D) else layers.AveragePooling2D
    return make(layer.size, pair(spec.pool_size), pair(spec.strides), spec.padding)
