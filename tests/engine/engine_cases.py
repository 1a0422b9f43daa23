"""Networks, images and chains that the tests of the engine share."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from misread.engine.chain import Chain
from misread.engine.library import BUILDS, Hyper, _open, load_library
from misread.models import layer_specs as specs
from misread.models.layer_specs import BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D
from misread.models.network import Network, build_network

LIBRARY = load_library()

Shape = tuple[int, int, int]
CLASSES, BATCH = 5, 16
RELU = specs.ActivationLayer(activation="relu")
ADAM = Hyper(
    0.9, 0.999, 1e-4, 0.0, 0.0
)  # an epsilon that is not tiny: rounding stays rounding where gradients are near 0
CLASSIFY = Dense(units="classes")


def dense(units: int) -> Dense:
    return Dense(units=units, activation="relu")


def conv(filters: int, kernel: int | tuple[int, int] = 3, padding: str = "same") -> Conv2D:
    return Conv2D(filters=filters, kernel_size=kernel, padding=padding, activation="relu")


def bare(filters: int) -> Conv2D:
    return Conv2D(filters=filters, kernel_size=3, padding="same", use_bias=False)


NETWORKS: dict[str, tuple[tuple[specs.LayerSpec, ...], Shape]] = {
    "softmax regression": ((Flatten(), CLASSIFY), (9, 11, 1)),
    "mlp 20": ((Flatten(), dense(20), CLASSIFY), (9, 11, 1)),
    "mlp 100 33 7": ((Flatten(), dense(100), dense(33), dense(7), CLASSIFY), (9, 11, 3)),
    "mlp 200": ((Flatten(), dense(200), CLASSIFY), (9, 11, 1)),
    "conv pool": ((conv(10), MaxPooling2D(), Flatten(), dense(20), CLASSIFY), (9, 11, 1)),
    "conv pool, colour": ((conv(20, 5), MaxPooling2D(), Flatten(), CLASSIFY), (9, 11, 3)),
    "conv": ((conv(6), Flatten(), CLASSIFY), (9, 11, 1)),
    "conv 100": ((conv(100, padding="valid"), MaxPooling2D(), Flatten(), CLASSIFY), (7, 6, 2)),
    "pool before relu": (
        (Conv2D(filters=8, kernel_size=3), MaxPooling2D(), RELU, Flatten(), CLASSIFY), (9, 11, 1),
    ),
    "conv valid conv same": (
        (conv(10, (2, 3), "valid"), MaxPooling2D(), conv(20, (3, 4)), MaxPooling2D(), Flatten(), dense(20), CLASSIFY),
        (9, 11, 3),
    ),
    "three convs": ((conv(5), conv(17, 3, "valid"), MaxPooling2D(), conv(33, 2), Flatten(), CLASSIFY), (9, 11, 1)),
    "conv pool norm": (
        (bare(10), MaxPooling2D(), BatchNormalization(), RELU, Flatten(), dense(20), CLASSIFY), (9, 11, 1),
    ),
    "norms": (
        (bare(6), BatchNormalization(), RELU, bare(20), MaxPooling2D(), BatchNormalization(momentum=0.8), RELU,
         Flatten(), Dense(units=33, use_bias=False), BatchNormalization(), RELU, CLASSIFY),
        (9, 11, 3),
    ),
}  # fmt: skip


def build(name: str) -> tuple[Network, Shape]:
    layers, shape = NETWORKS[name]
    return network_of(layers, shape), shape


def network_of(layers: Sequence[specs.LayerSpec], shape: Shape) -> Network:
    """With biases and normalisations that are not at their initial zeros and ones, which would hide mistakes."""
    torch.manual_seed(0)
    network = build_network(layers, shape, CLASSES)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.rand_like(tensor), alpha=0.3 if name.endswith(("bias", "mean")) else 1.0)
    return network


def pictures(n: int, shape: Shape, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise with black regions, black pixels, and one image that is black throughout."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    images[rng.random(images.shape) < 0.3] = 0
    images[::2, :4] = 0
    images[:, :, -3:] = 0
    images[n // 2] = 0
    return torch.from_numpy(images), torch.from_numpy(rng.integers(0, CLASSES, n))


def photographs(n: int, shape: Shape, zeros: float = 0.01) -> tuple[Tensor, Tensor]:
    """Noise with this share of black values."""
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (n, *shape), dtype=np.uint8)
    images[rng.random(images.shape) < zeros] = 0
    return torch.from_numpy(images), torch.from_numpy(rng.integers(0, CLASSES, n))


def training_chain(network: nn.Module, shape: Shape, hyper: Hyper = ADAM, **settings: object) -> Chain:
    return Chain(network, shape, batch_size=BATCH, training=hyper, **settings)  # type: ignore[arg-type]


def builds_here() -> list[str]:
    """Those that were compiled and that this processor can run."""
    plain = _open("plain")
    return [] if plain is None else [b for b in BUILDS[plain.engine_first_build() :] if _open(b) is not None]
