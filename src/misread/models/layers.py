"""Layers as torch modules with Keras's semantics: glorot-uniform weights, zero biases, Keras's `same` padding.

Inside the network, images are (B, C, H, W), torch's order. `Flatten` uses Keras's order, channels last.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misread.models.shapes import Pair, window_padding

LEAKY_SLOPE = 0.2  # Keras's; torch's default is 0.01
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, LEAKY_SLOPE),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: F.softmax(x, dim=1),
    "gelu": F.gelu,
}

WHITENING_EPSILON = 3e-5  # added to the variance of a direction, with pixels in [0, 1]
WHITENING_STRIDE = 2  # between the patches that are looked at; their neighbours add little


class Flatten(nn.Module):
    """(B, C, H, W) to (B, H*W*C), channels last. Flat input stays unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1)


class Dense(nn.Linear):
    """(B, inputs) to (B, units)."""

    def __init__(self, inputs: int, units: int, activation: str, use_bias: bool) -> None:
        super().__init__(inputs, units, bias=use_bias)
        self.activation = activation

    def reset_parameters(self) -> None:
        _keras_initial(self)

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](super().forward(x))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"


class Conv2D(nn.Conv2d):
    """(B, C, H, W) to (B, filters, H', W')."""

    def __init__(
        self, channels: int, shape: Pair, filters: int, kernel: Pair, strides: Pair, padding: str, activation: str,
        use_bias: bool,
    ) -> None:  # fmt: skip
        self.pad = window_padding(padding, shape, kernel, strides)
        left, right, top, bottom = self.pad
        self.even = left == right and top == bottom  # then the convolution itself pads, without a copy
        super().__init__(channels, filters, kernel, strides, padding=(top, left) if self.even else 0, bias=use_bias)
        self.activation = activation

    def reset_parameters(self) -> None:
        _keras_initial(self)

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](super().forward(x if self.even else F.pad(x, self.pad)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"


class MaxPooling2D(nn.Module):
    """The largest value of each window. Padding never counts."""

    def __init__(self, shape: Pair, pool: Pair, strides: Pair, padding: str) -> None:
        super().__init__()
        self.pool, self.strides, self.pad = pool, strides, window_padding(padding, shape, pool, strides)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.pad):
            x = F.pad(x, self.pad, value=-math.inf)
        return F.max_pool2d(x, self.pool, self.strides)


class AveragePooling2D(nn.Module):
    """The mean of each window over the pixels inside the image."""

    inside: Tensor | None

    def __init__(self, shape: Pair, pool: Pair, strides: Pair, padding: str) -> None:
        super().__init__()
        self.shape, self.pool, self.strides = shape, pool, strides
        self.pad = window_padding(padding, shape, pool, strides)
        inside = None
        if any(self.pad):
            inside = F.avg_pool2d(F.pad(torch.ones(1, 1, *shape), self.pad), pool, strides)
        self.register_buffer("inside", inside, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.inside is None:
            return F.avg_pool2d(x, self.pool, self.strides)
        return F.avg_pool2d(F.pad(x, self.pad), self.pool, self.strides) / self.inside


class GlobalAveragePooling2D(nn.Module):
    """(B, C, H, W) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class GlobalMaxPooling2D(nn.Module):
    """(B, C, H, W) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3))


def whitening_weights(images: Tensor, kernel: tuple[int, ...], filters: int) -> tuple[Tensor, Tensor]:
    """The weights (filters, C, kernel) and biases (filters,) of a whitening layer for images (N, C, H, W) in [0, 1].

    A patch's component along the k-th principal direction has variance 1 and mean 0 afterwards. Directions with
    almost no variance are amplified less, because they are mostly noise.
    """
    patches = F.unfold(images, kernel, stride=WHITENING_STRIDE).movedim(1, -1).flatten(0, 1).double()
    mean = patches.mean(dim=0)
    centred = patches - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    order = torch.arange(len(variances) - 1, len(variances) - 1 - filters // 2, -1)
    scaled = (directions[:, order] / (variances[order].clamp(min=0) + WHITENING_EPSILON).sqrt()).T
    both = torch.stack([scaled, -scaled], dim=1).flatten(0, 1)
    return both.view(filters, images.shape[1], *kernel).float(), (-both @ mean).float()


class Whitening(nn.Conv2d):
    """(B, C, H, W) to (B, filters, H', W'): a fixed convolution with the principal components of image patches.

    `fit` computes its weights. Before that they are 0.
    Source: the first layer of Page's DAWNBench ResNet (2019), which tysam-code/hlb-CIFAR10 and Jordan 2024
    (arXiv 2404.00498) made a single fixed convolution.
    """

    def __init__(self, channels: int, filters: int, kernel: Pair, strides: Pair, activation: str) -> None:
        super().__init__(channels, filters, kernel, strides)
        self.activation = activation
        self.requires_grad_(False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the weights from images (N, C, H, W) float32 in [0, 1]; see `whitening_weights`."""
        weight, bias = whitening_weights(images, self.kernel_size, self.out_channels)
        self.weight.copy_(weight)
        if self.bias is not None:
            self.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.activation == "relu":  # in place: nothing else has these numbers
            return F.relu(y, inplace=True)
        return ACTIVATIONS[self.activation](y)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"


class Residual(nn.Sequential):
    """(B, C, H, W) to the same: the sum of the input and the output of the inner layers.

    output_shapes: the shape after each inner layer, as in `Network`.
    Source: He et al. 2016 (arXiv 1512.03385).
    """

    output_shapes: tuple[tuple[int, ...], ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = super().forward(x)
        return x + inner


class BatchNormalization(nn.modules.batchnorm._BatchNorm):
    """Keras's arguments over torch's module. The moving variance averages the biased batch variance, as in Keras."""

    def __init__(self, channels: int, momentum: float, epsilon: float) -> None:
        super().__init__(channels, eps=epsilon, momentum=1 - momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept flat and image inputs."""

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None or self.momentum is None:
            return super().forward(x)
        if not self.training:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        if x.numel() == x.shape[1]:  # a last batch of one value per channel has no variance: use the moving averages
            return F.batch_norm(x, mean.clone(), variance.clone(), self.weight, self.bias, eps=self.eps)
        normalised, batch_mean, batch_scale = torch.native_batch_norm(
            x, self.weight, self.bias, None, None, True, self.momentum, self.eps
        )
        with torch.no_grad():
            mean.lerp_(batch_mean, self.momentum)
            variance.lerp_(batch_scale.pow(-2) - self.eps, self.momentum)
        return normalised


class Activation(nn.Module):
    """An activation with this name."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](x)


def _keras_initial(layer: nn.Linear | nn.Conv2d) -> None:
    """Glorot and Bengio 2010: uniform in +-sqrt(6 / (fan_in + fan_out)); biases zero."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
