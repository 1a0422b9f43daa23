"""3x3 convolutions by the kernels, beside plain sums in double precision, and which convolutions PyTorch keeps."""

import ctypes
from collections import OrderedDict
from itertools import product

import numpy as np
import pytest
import torch
from engine_cases import LIBRARY
from torch import Tensor, nn

from misread.engine import convolutions, kernel_calls, kernel_layers
from misread.engine.kernel_layers import KernelLayers, has_known_convolutions, layers_build
from misread.engine.library import Convolution
from misread.models.layers import Residual
from misread.models.network import Network
from misread.training.device import using_threads

pytestmark = pytest.mark.skipif(
    LIBRARY is None or kernel_calls.parallel() is None, reason="no compiled kernels, or PyTorch without GCC's OpenMP"
)

# images, height, width, channels, filters: tiles of 2x2, 3x3 and 4x4, which the image fills or not; channels and
# filters that fill panels or not; more tiles than are transformed at a time; few images for the threads
CASES = [
    (3, 1, 1, 5, 7),
    (2, 2, 1, 16, 3),
    (70, 2, 2, 4, 33),
    (1, 3, 3, 1, 1),
    (2, 5, 6, 33, 17),
    (60, 3, 3, 20, 24),
    (2, 7, 8, 12, 32),
    (1, 1, 15, 48, 6),
    (9, 15, 13, 3, 40),
    (1, 4, 4, 130, 100),
]
# of the largest error, in units of the root mean square: float32 has 6e-8 in each of some hundred products
TOLERANCE = 1e-4


def case(batch: int, height: int, width: int, channels: int, filters: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images with some zeros, weights, and a gradient."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn((batch, channels, height, width), generator=random).clamp_(min=-0.5)
    weight = torch.randn((filters, channels, 3, 3), generator=random)
    return x, weight, torch.randn((batch, filters, height, width), generator=random)


def by_kernels(x: Tensor, weight: Tensor, gradient: Tensor) -> list[Tensor]:
    """The convolution and the gradients by x and by the weights."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = convolutions.KernelConvolution.apply(x, weight)
    y.backward(gradient)
    assert x.grad is not None
    assert weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


def by_sums(x: Tensor, weight: Tensor, gradient: Tensor) -> list[np.ndarray]:
    """The same in double precision: for each of the nine weights, the image moved by a pixel or not."""
    images, weights, g = (t.double().numpy() for t in (x, weight, gradient))
    height, width = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y, by_padded, by_weights = np.zeros(g.shape), np.zeros(padded.shape), np.zeros(weights.shape)
    for i, j in product(range(3), range(3)):
        rows, columns = slice(i, i + height), slice(j, j + width)
        seen = padded[:, :, rows, columns]
        y += np.einsum("bchw,fc->bfhw", seen, weights[:, :, i, j])
        by_padded[:, :, rows, columns] += np.einsum("bfhw,fc->bchw", g, weights[:, :, i, j])
        by_weights[:, :, i, j] = np.einsum("bfhw,bchw->fc", g, seen)
    return [y, by_padded[:, :, 1:-1, 1:-1], by_weights]


@pytest.mark.parametrize("shape", CASES, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("build")
def test_a_convolution_and_its_gradients_are_the_plain_sums(shape: tuple, threads: int) -> None:
    x, weight, gradient = case(*shape)
    with using_threads(threads):
        found = by_kernels(x.contiguous(memory_format=torch.channels_last), weight, gradient)
    for ours, exact in zip(found, by_sums(x, weight, gradient), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=0, atol=TOLERANCE * np.sqrt(np.mean(np.square(exact))))


@pytest.mark.usefixtures("build")
def test_images_of_any_layout_give_the_same_bits() -> None:
    x, weight, gradient = case(3, 9, 5, 10, 20)
    last = torch.channels_last
    expected = by_kernels(x.contiguous(memory_format=last), weight, gradient.contiguous(memory_format=last))
    strided = by_kernels(x.repeat(1, 1, 2, 1)[:, :, :9], weight.transpose(2, 3).contiguous().transpose(2, 3), gradient)
    assert all(map(torch.equal, strided, expected))


@pytest.mark.usefixtures("build")
def test_an_image_has_the_same_bits_in_any_batch_and_by_any_number_of_threads() -> None:
    x, weight, gradient = case(13, 7, 7, 20, 40)
    y, by_x, _ = by_kernels(x, weight, gradient)
    with using_threads(3):
        again, by_x_again, _ = by_kernels(x, weight, gradient)
    part, by_part, _ = by_kernels(x[5:7], weight, gradient[5:7])
    assert torch.equal(y, again)
    assert torch.equal(by_x, by_x_again)
    assert torch.equal(y[5:7], part)
    assert torch.equal(by_x[5:7], by_part)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.usefixtures("build")
def test_the_gradient_of_the_weights_repeats_bit_for_bit(threads: int) -> None:
    arrays = case(60, 6, 6, 20, 40)
    with using_threads(threads):
        first, again = by_kernels(*arrays)[2], by_kernels(*arrays)[2]
    assert torch.equal(first, again)


@pytest.mark.usefixtures("build")
def test_nothing_is_written_beside_the_results() -> None:
    """The last vector of 5 filters, or of 5 channels, is not a whole one."""
    x, weight, gradient = case(2, 3, 3, 5, 5)
    whole = torch.full((3, 2, 3, 3, 5), 7.0)
    library, shape = kernel_calls.load_library(), Convolution(2, 3, 3, 5, 5, 1)
    assert library is not None
    floats = ctypes.c_int64()
    assert library.convolution_scratch(shape, ctypes.byref(floats)) == 0
    scratch, images = torch.empty(floats.value), x.movedim(1, -1).contiguous()
    arrays = (t.data_ptr() for t in (images, weight, whole[1], scratch))
    assert library.convolution_run(shape, *arrays, None) == 0
    assert (whole[0] == 7).all()
    assert (whole[2] == 7).all()
    np.testing.assert_allclose(whole[1].movedim(-1, 1), by_sums(x, weight, gradient)[0], atol=1e-4)


OTHERS: dict[str, dict[str, object]] = {
    "a bias": {"bias": True},
    "no padding": {"padding": 0},
    "strides": {"stride": 2},
    "holes": {"padding": 2, "dilation": 2},
    "groups": {"groups": 2},
    "5x5": {"kernel_size": 5, "padding": 2},
    "reflected borders": {"padding_mode": "reflect"},
    "double precision": {"dtype": torch.float64},
    "few channels": {"in_channels": 4},
    "few filters": {"out_channels": 4},
}


def layer(**changed: object) -> nn.Conv2d:
    settings = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": False}
    return nn.Conv2d(**{**settings, **changed})  # type: ignore[arg-type]


def in_network(layer: nn.Module) -> Network:
    return Network(OrderedDict(convolution=layer, activation=nn.ReLU()))


def images(channels: int = 8, count: int = 2) -> Tensor:
    return torch.rand(count, channels, 6, 6).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", OTHERS)
def test_pytorch_computes_the_other_convolutions(name: str) -> None:
    other = layer(**OTHERS[name])
    x = images(other.in_channels).to(other.weight.dtype)
    with KernelLayers():
        y = other(x)
    assert torch.equal(y, other(x))
    assert "KernelConvolution" not in y.grad_fn.name()
    assert not has_known_convolutions(in_network(other))


def test_a_known_layer_inside_another_is_computed_by_the_kernels_in_the_block_alone() -> None:
    network = in_network(Residual(layer()))
    assert has_known_convolutions(network)
    with KernelLayers():
        assert "KernelConvolution" in network[0][0](images()).grad_fn.name()
    assert "KernelConvolution" not in network[0][0](images()).grad_fn.name()


def test_a_module_from_python_that_relies_on_pytorchs_order_gets_it() -> None:
    own = nn.Sequential(layer())
    assert not has_known_convolutions(own)
    with KernelLayers():
        assert own(images().contiguous()).view(2, -1).shape == (2, 8 * 6 * 6)


def test_no_images_are_pytorchs() -> None:
    with KernelLayers():
        assert layer()(images(count=0)).shape == (0, 8, 6, 6)


def test_other_channels_than_the_weights_have_are_left_to_pytorch_which_refuses_them() -> None:
    one = layer()
    others = (one.weight, one.bias, one.stride, one.padding, one.dilation, one.groups)
    assert convolutions.takes(images(8), *others)
    assert not convolutions.takes(images(9), *others)


@pytest.mark.parametrize(
    ("build", "used"), [("avx512bf16", ""), ("avx512", ""), ("avx2", "avx2"), ("plain", ""), (None, "")]
)
def test_only_builds_that_were_measured_are_used(build: str | None, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_layers, "build_name", lambda: build)
    assert layers_build() == used


def test_without_pytorchs_threads_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_layers, "build_name", lambda: "avx2")
    monkeypatch.setattr(kernel_layers, "parallel", lambda: None)
    assert layers_build() == ""


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 3, 3, 4, 4, 1), "the number of images must be from 1 to 2147483647, not 0"),
        ((2, 0, 3, 4, 4, 1), "height must be from 1"),
        ((2, 3, -1, 4, 4, 1), "width must be from 1 to 2147483647, not -1"),
        ((2, 3, 3, 0, 4, 1), "channels must be from 1"),
        ((2, 3, 3, 4, 0, 1), "filters must be from 1"),
        ((2, 3, 3, 4, 4, 65), "parts must be from 1 to 64, not 65"),
        ((2, 3, 3, 4, 4, 1, 2), "turned must be from 0 to 1, not 2"),
    ],
)
def test_bad_sizes_are_refused(build: ctypes.CDLL, sizes: tuple[int, ...], message: str) -> None:
    shape, floats = Convolution(*sizes), ctypes.c_int64(-1)
    for status in (
        build.convolution_scratch(shape, ctypes.byref(floats)),
        build.convolution_run(shape, None, None, None, None, None),
        build.convolution_gradient(shape, None, None, None, None, None),
    ):
        assert status == 1
        assert message in build.engine_error().decode()
    assert floats.value == -1
