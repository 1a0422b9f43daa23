"""The layers of a recipe as data: Keras's layers and their arguments. This module does not import torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["linear", "relu", "leaky_relu", "tanh", "sigmoid", "softmax", "gelu"]
Padding = Literal["valid", "same"]
LARGEST = 2**31 - 1  # far above any use, and products of a few such numbers can still be counted
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Pair = Positive | tuple[Positive, Positive]  # one number for both directions, or (vertical, horizontal)


class Spec(BaseModel):
    """Settings that are read from TOML. Unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Flatten(Spec):
    """Reshapes (H, W, C) to H*W*C numbers, channels last."""

    type: Literal["Flatten"] = "Flatten"


class Dense(Spec):
    """`units` weighted sums of all inputs. `units = "classes"` means the number of classes of the data."""

    type: Literal["Dense"] = "Dense"
    units: Positive | Literal["classes"]
    activation: Activation = "linear"
    use_bias: bool = True


class Conv2D(Spec):
    """Convolution of the image with `filters` kernels."""

    type: Literal["Conv2D"] = "Conv2D"
    filters: Positive
    kernel_size: Pair
    strides: Pair = 1
    padding: Padding = "valid"
    activation: Activation = "linear"
    use_bias: bool = True


class MaxPooling2D(Spec):
    """The largest value in each window. `strides` default to the window's size."""

    type: Literal["MaxPooling2D"] = "MaxPooling2D"
    pool_size: Pair = 2
    strides: Pair | None = None
    padding: Padding = "valid"


class AveragePooling2D(Spec):
    """The mean of each window, without padded pixels. `strides` default to the window's size."""

    type: Literal["AveragePooling2D"] = "AveragePooling2D"
    pool_size: Pair = 2
    strides: Pair | None = None
    padding: Padding = "valid"


class GlobalAveragePooling2D(Spec):
    """The mean of each channel over the whole image."""

    type: Literal["GlobalAveragePooling2D"] = "GlobalAveragePooling2D"


class GlobalMaxPooling2D(Spec):
    """The largest value of each channel over the whole image."""

    type: Literal["GlobalMaxPooling2D"] = "GlobalMaxPooling2D"


class Whitening(Spec):
    """A fixed convolution, the first layer: the training images' patches, in directions without correlation.

    The filters are the principal components of the patches, scaled to variance 1, each followed by its negative. There
    are `filters` of them, the strongest first, but at most twice the number of values in a patch.
    """

    type: Literal["Whitening"] = "Whitening"
    filters: Annotated[int, Field(ge=2, le=LARGEST, multiple_of=2)]
    kernel_size: Pair = 2
    strides: Pair = 1
    activation: Activation = "linear"


class Residual(Spec):
    """Adds the output of inner `layers` to their input. Both must have the same shape."""

    type: Literal["Residual"] = "Residual"
    layers: Annotated["tuple[LayerSpec, ...]", Field(min_length=1)]


class BatchNormalization(Spec):
    """Normalises each channel to mean 0 and variance 1 over the batch, then scales and shifts it."""

    type: Literal["BatchNormalization"] = "BatchNormalization"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    epsilon: Annotated[float, Field(gt=0)] = 1e-3


class Dropout(Spec):
    """In training, sets `rate` of the inputs to 0 and scales the others by 1 / (1 - rate)."""

    type: Literal["Dropout"] = "Dropout"
    rate: Annotated[float, Field(ge=0, lt=1)]


class ActivationLayer(Spec):
    """An activation as a separate layer."""

    type: Literal["Activation"] = "Activation"
    activation: Activation


LayerSpec = Annotated[
    Flatten
    | Dense
    | Conv2D
    | MaxPooling2D
    | AveragePooling2D
    | GlobalAveragePooling2D
    | GlobalMaxPooling2D
    | Whitening
    | Residual
    | BatchNormalization
    | Dropout
    | ActivationLayer,
    Field(discriminator="type"),
]
Residual.model_rebuild()
