"""GELU and max-pooling by the kernels, beside PyTorch's in double precision, and which calls PyTorch keeps."""

import ctypes
import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_cases import LIBRARY
from torch import Tensor

from misread.engine import kernel_calls, kernel_layers
from misread.engine.kernel_layers import KernelLayers
from misread.engine.library import Images
from misread.models.layer_specs import (
    ActivationLayer,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from misread.models.layers import MaxPooling2D as MaxPooling
from misread.models.network import build_network
from misread.training.device import using_threads

pytestmark = pytest.mark.skipif(
    LIBRARY is None or kernel_calls.parallel() is None, reason="no compiled kernels, or PyTorch without GCC's OpenMP"
)

# images, channels, height, width: odd sides, channels that fill vectors or not, fewer windows than threads
SHAPES = [(3, 8, 6, 4), (2, 5, 7, 9), (1, 3, 2, 2), (1, 1, 3, 2), (5, 16, 3, 3), (2, 33, 5, 2), (2, 20, 8, 15)]
THREADS = [1, 2, 3]


def pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, (2, 2), (2, 2))


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def normal(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return last(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def with_gradient(layer: Callable[[Tensor], Tensor], x: Tensor, kernels: bool, gradient: Tensor | None = None) -> list:
    """The layer's output and the gradient by x from one of the output; of ones if it is None."""
    x = x.clone().requires_grad_()
    with KernelLayers() if kernels else nullcontext():
        y = layer(x)
    assert (type(y.grad_fn).__name__ in ("_GELUBackward", "_MaxPoolingBackward")) == kernels
    y.backward(torch.ones_like(y) if gradient is None else gradient)
    assert x.grad is not None
    return [y.detach(), x.grad]


def images_of(numbers: Tensor) -> Tensor:
    """(N,) -> (1, 1, 1, N), padded with zeros to more than whole vectors."""
    return F.pad(numbers, (0, 3)).view(1, 1, 1, -1)


@pytest.mark.usefixtures("build")
def test_gelu_is_that_of_double_precision_to_the_last_digits() -> None:
    x = images_of(torch.linspace(-15, 15, 100_000))
    (y, by_x), (exact, exact_by_x) = with_gradient(F.gelu, x, True), with_gradient(F.gelu, x.double(), False)
    np.testing.assert_allclose(y, exact, rtol=3e-7, atol=3e-8)
    np.testing.assert_allclose(by_x, exact_by_x, rtol=0, atol=3e-7)


@pytest.mark.usefixtures("build")
def test_gelu_of_tiny_huge_and_no_numbers_is_pytorchs() -> None:
    sizes = torch.tensor([0.0, 1e-45, 1e-38, 1e-30, 1e-10, 20, 1e10, 2e19, 3e38, math.inf])
    x = images_of(torch.cat([sizes, -sizes, torch.tensor([math.nan])]))
    for ours, theirs in zip(with_gradient(F.gelu, x, True), with_gradient(F.gelu, x, False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=3e-7, atol=1.2e-38, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.usefixtures("build")
def test_gelu_of_every_shape_is_pytorchs(shape: tuple[int, ...], threads: int) -> None:
    x, gradient = normal(shape), normal(shape, 1)
    with using_threads(threads):
        ours = with_gradient(F.gelu, x, True, gradient)
    for a, b in zip(ours, with_gradient(F.gelu, x, False, gradient), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        assert a.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("build")
def test_gelu_of_a_number_has_the_same_bits_anywhere_and_by_any_number_of_threads() -> None:
    x, gradient = normal((3, 7, 5, 9)), normal((3, 7, 5, 9), 1)
    whole = with_gradient(F.gelu, x, True, gradient)
    with using_threads(3):
        assert all(map(torch.equal, whole, with_gradient(F.gelu, x, True, gradient)))
    part = with_gradient(F.gelu, last(x[1:2]), True, last(gradient[1:2]))
    assert all(torch.equal(a[1:2], b) for a, b in zip(whole, part, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.usefixtures("build")
def test_max_pooling_and_its_gradient_are_pytorchs(shape: tuple[int, ...], threads: int) -> None:
    """Of 3 different numbers, so that most windows have several that are the largest."""
    x = normal(shape).mul_(2).clamp_(-1, 1).round_()
    gradient = normal((*shape[:2], shape[2] // 2, shape[3] // 2), 1)
    with using_threads(threads):
        ours = with_gradient(pool, x, True, gradient)
    assert all(map(torch.equal, ours, with_gradient(pool, x, False, gradient)))


@pytest.mark.usefixtures("build")
def test_max_pooling_of_nan_and_infinities_is_pytorchs() -> None:
    some = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-30, 3e38])
    x = last(some[torch.randint(len(some), (40, 8, 4, 4), generator=torch.Generator().manual_seed(0))])
    (y, by_x), (plain, plain_by_x) = with_gradient(pool, x, True), with_gradient(pool, x, False)
    np.testing.assert_array_equal(y, plain)
    assert torch.equal(by_x, plain_by_x)


@pytest.mark.usefixtures("build")
def test_max_pooling_with_keras_padding_is_pytorchs() -> None:
    layer, x, gradient = MaxPooling((7, 5), (2, 2), (2, 2), "same"), normal((3, 12, 7, 5)), normal((3, 12, 4, 3), 1)
    ours = with_gradient(layer, x, True, gradient)
    assert all(map(torch.equal, ours, with_gradient(layer, x, False, gradient)))


@pytest.mark.usefixtures("build")
def test_gradients_of_any_layout_give_the_same_bits() -> None:
    x, gradient = normal((2, 12, 6, 6)), normal((2, 12, 6, 6), 1)
    for layer, g in ((F.gelu, gradient), (pool, gradient[:, :, ::2, ::2])):
        plain = with_gradient(layer, x, True, last(g))
        assert all(map(torch.equal, plain, with_gradient(layer, x, True, g.contiguous())))
        assert all(map(torch.equal, plain, with_gradient(layer, x, True, g.repeat(1, 1, 1, 2)[..., : g.shape[3]])))


@pytest.mark.usefixtures("build")
def test_predictions_have_the_bits_of_a_training() -> None:
    x = normal((2, 12, 6, 6))
    for layer in (F.gelu, pool):
        with torch.inference_mode(), KernelLayers():
            predicted = layer(x)
        assert torch.equal(predicted, with_gradient(layer, x, True)[0])


def test_nothing_is_written_beside_the_results(build: ctypes.CDLL) -> None:
    """5 channels are not a whole vector; the last row and column of the images are in no window."""
    x, shape = torch.randn(1, 3, 5, 5), Images(1, 3, 5, 5, 1)
    around = [torch.full((3, 75), 7.0), torch.full((3, 10), 7.0), torch.full((3, 75), 7.0)]
    gelu, pooled, by_x = around
    chosen = torch.full((3, 10), 7, dtype=torch.uint8)
    assert build.gelu_run(shape, x.data_ptr(), gelu[1].data_ptr(), None) == 0
    assert build.max_pooling_run(shape, x.data_ptr(), pooled[1].data_ptr(), chosen[1].data_ptr(), None) == 0
    assert build.max_pooling_gradient(shape, pooled[1].data_ptr(), chosen[1].data_ptr(), by_x[1].data_ptr(), None) == 0
    for array in (*around, chosen):
        assert (array[::2] == 7).all()
        assert (array[1] != 7).all()


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "windows of 3x3": lambda x: F.max_pool2d(x, (3, 3), (3, 3)),
    "strides of 1": lambda x: F.max_pool2d(x, (2, 2), (1, 1)),
    "pooling with padding": lambda x: F.max_pool2d(x, (2, 2), (2, 2), padding=1),
    "pooling with holes": lambda x: F.max_pool2d(x, (2, 2), (2, 2), dilation=2),
    "pooling upwards": lambda x: F.max_pool2d(x, (2, 2), (2, 2), ceil_mode=True),
    "pooling with places": lambda x: F.max_pool2d(x, (2, 2), (2, 2), return_indices=True)[0],
    "gelu in double precision": lambda x: F.gelu(x.double()),
    "pooling in double precision": lambda x: pool(x.double()),
    "gelu in PyTorch's order": lambda x: F.gelu(x.contiguous()),
    "pooling in PyTorch's order": lambda x: pool(x.contiguous()),
    "gelu of rows": lambda x: F.gelu(x.flatten(1)),
    "pooling of one image": lambda x: pool(x[0]),
    "gelu of nothing": lambda x: F.gelu(x[:0]),
    "pooling of nothing": lambda x: pool(x[:0]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_pytorch_computes_the_other_calls(name: str) -> None:
    x = normal((2, 8, 7, 7))
    alone = with_gradient(OTHERS[name], x, False)
    with KernelLayers():
        assert all(map(torch.equal, alone, with_gradient(OTHERS[name], x, False)))


def test_an_image_of_one_row_is_left_to_pytorch_which_refuses_it() -> None:
    how = {"stride": (2, 2), "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
    assert kernel_layers._pools(normal((2, 8, 2, 6)), (2, 2), **how)
    assert not kernel_layers._pools(normal((2, 8, 1, 6)), (2, 2), **how)


def test_a_network_trains_as_with_pytorch_alone() -> None:
    layers = (
        Conv2D(filters=8, kernel_size=3, padding="same", use_bias=False),
        MaxPooling2D(padding="same"),
        BatchNormalization(),
        ActivationLayer(activation="gelu"),
        Conv2D(filters=12, kernel_size=3, padding="same", use_bias=False),
        MaxPooling2D(),
        ActivationLayer(activation="gelu"),
        GlobalMaxPooling2D(),
        Dense(units="classes"),
    )

    def train(kernels: bool) -> list[Tensor]:
        torch.manual_seed(0)
        network = build_network(layers, (11, 9, 3), 5)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        losses = []
        for step in range(8):
            with KernelLayers() if kernels else nullcontext():
                loss = F.cross_entropy(network(normal((16, 3, 11, 9), step)), torch.arange(16) % 5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [torch.stack(losses), *(parameter.detach() for parameter in network.parameters())]

    ours = train(True)
    assert all(map(torch.equal, ours, train(True)))
    for a, b in zip(ours, train(False), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 3, 3, 4, 1), "the number of images must be from 1 to 2147483647, not 0"),
        ((2, 1, 3, 4, 1), "height must be from 2 to 2147483647, not 1"),
        ((2, 3, 1, 4, 1), "width must be from 2 to 2147483647, not 1"),
        ((2, 3, 3, 0, 1), "channels must be from 1"),
        ((2, 3, 3, 4, 0), "parts must be from 1 to 64, not 0"),
    ],
)
def test_bad_sizes_are_refused(build: ctypes.CDLL, sizes: tuple[int, ...], message: str) -> None:
    for status in (
        build.max_pooling_run(Images(*sizes), None, None, None, None),
        build.max_pooling_gradient(Images(*sizes), None, None, None, None),
    ):
        assert status == 1
        assert message in build.engine_error().decode()
    bad = Images(*(0 if size < 2 else size for size in sizes))
    assert build.gelu_run(bad, None, None, None) == 1
    assert build.gelu_gradient(bad, None, None, None, None) == 1
    with pytest.raises(ValueError, match=message):
        kernel_calls.call("max_pooling_run", Images(*sizes), None, None, None)
