"""Keras's semantics, against values computed by hand and against slow plain versions."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from misread.models import layer_specs as specs
from misread.models import layers
from misread.models.network import build_network, to_input


def network(*layer_list: specs.LayerSpec, shape: tuple[int, int, int] = (5, 5, 1), classes: int = 3) -> torch.nn.Module:
    tail = (specs.Flatten(), specs.Dense(units="classes"))
    return build_network((*layer_list, *tail), shape, classes)


def plain_windows(image: np.ndarray, kernel: tuple[int, int], strides: tuple[int, int], padding: str) -> list[list]:
    """Every window of (H, W) as a list of (value, inside) pairs, the way Keras documents `same` and `valid`."""
    height, width = image.shape
    if padding == "valid":
        tops = range(0, height - kernel[0] + 1, strides[0])
        lefts = range(0, width - kernel[1] + 1, strides[1])
    else:
        need = [
            max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in zip(image.shape, kernel, strides, strict=True)
        ]
        tops = range(-(need[0] // 2), -(need[0] // 2) + math.ceil(height / strides[0]) * strides[0], strides[0])
        lefts = range(-(need[1] // 2), -(need[1] // 2) + math.ceil(width / strides[1]) * strides[1], strides[1])
    windows = []
    for top in tops:
        row = []
        for left in lefts:
            cells = []
            for y in range(top, top + kernel[0]):
                for x in range(left, left + kernel[1]):
                    inside = 0 <= y < height and 0 <= x < width
                    cells.append((float(image[y, x]) if inside else 0.0, inside))
            row.append(cells)
        windows.append(row)
    return windows


def test_same_padding_puts_the_odd_pixel_at_the_bottom_right() -> None:
    """A 2x2 kernel of ones over a 2x2 image: Keras pads below and to the right only."""
    conv = layers.Conv2D(1, (2, 2), 1, (2, 2), (1, 1), "same", "linear", True)
    torch.nn.init.ones_(conv.weight)
    out = conv(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert out.tolist() == [[[[10.0, 6.0], [7.0, 4.0]]]]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (5, 2), (1, 4)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 2)])
def test_convolution_and_pooling_equal_the_plain_versions(
    padding: str, kernel: tuple[int, int], strides: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(7, 6)) - 5  # below zero, so that padding with zeros would win a maximum
    x = torch.tensor(image, dtype=torch.float32)[None, None]
    windows = plain_windows(image, kernel, strides, padding)
    conv = layers.Conv2D(1, (7, 6), 1, kernel, strides, padding, "linear", True)
    weights = conv.weight.detach().numpy().ravel()
    expected = [[sum(w * v for w, (v, _) in zip(weights, cells, strict=True)) for cells in row] for row in windows]
    np.testing.assert_allclose(conv(x).detach()[0, 0], expected, rtol=1e-4)
    pool = layers.MaxPooling2D((7, 6), kernel, strides, padding)
    expected = [[max(v for v, inside in cells if inside) for cells in row] for row in windows]
    np.testing.assert_allclose(pool(x)[0, 0], expected, rtol=1e-5)
    mean = layers.AveragePooling2D((7, 6), kernel, strides, padding)
    expected = [[np.mean([v for v, inside in cells if inside]) for cells in row] for row in windows]
    np.testing.assert_allclose(mean(x)[0, 0], expected, rtol=1e-5)


def test_flatten_is_channels_last() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 3, 2)
    flat = layers.Flatten()(to_input(torch.tensor(image)) * 255)
    assert flat.round().int().tolist() == [list(range(12))]


@pytest.mark.parametrize(
    ("module", "fan_in", "fan_out"),
    [
        (layers.Dense(300, 200, "relu", True), 300, 200),
        (layers.Conv2D(16, (9, 9), 24, (5, 3), (1, 1), "same", "relu", True), 5 * 3 * 16, 5 * 3 * 24),
    ],
)
def test_weights_are_glorot_uniform_and_biases_zero(module: torch.nn.Linear, fan_in: int, fan_out: int) -> None:
    limit = math.sqrt(6 / (fan_in + fan_out))
    weights = module.weight.detach()
    assert weights.abs().max() <= limit
    assert weights.abs().max() > 0.99 * limit
    assert weights.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    assert not module.bias.any()


def test_dropout_is_inverted_and_off_when_predicting() -> None:
    net = network(specs.Dropout(rate=0.25), shape=(50, 50, 1))
    drop = net[0]
    torch.manual_seed(0)
    out = drop.train()(torch.ones(40, 1, 50, 50))
    np.testing.assert_allclose(out.unique(), [0, 4 / 3], rtol=1e-6)
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert (drop.eval()(torch.ones(3)) == 1).all()


def test_batch_normalization_updates_its_averages_as_keras_does() -> None:
    """Keras's formulas: moving = moving * momentum + batch * (1 - momentum), with the biased variance."""
    norm = layers.BatchNormalization(2, momentum=0.9, epsilon=1e-3).train()
    x = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1
    out = norm(x).detach()
    values = x.permute(1, 0, 2, 3).reshape(2, -1).double().numpy()
    mean, variance = values.mean(axis=1), values.var(axis=1)
    expected = (values - mean[:, None]) / np.sqrt(variance[:, None] + 1e-3)
    np.testing.assert_allclose(out.permute(1, 0, 2, 3).reshape(2, -1), expected, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * variance, rtol=1e-5)
    np.testing.assert_allclose(norm.eval()(x).detach(), nn.BatchNorm2d.forward(norm, x).detach(), rtol=1e-5)


def test_batch_normalization_has_torchs_gradients() -> None:
    ours, theirs = layers.BatchNormalization(3, momentum=0.9, epsilon=1e-3), nn.BatchNorm1d(3, eps=1e-3)
    grads = []
    for norm in (ours, theirs):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        norm.train()(x).pow(3).sum().backward()
        grads.append((x.grad, norm.weight.grad, norm.bias.grad))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("linear", lambda x: x),
        ("relu", lambda x: max(x, 0)),
        ("leaky_relu", lambda x: x if x > 0 else 0.2 * x),
        ("tanh", math.tanh),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("gelu", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
    ],
)
def test_activations_are_their_formulas(name: str, plain: object) -> None:
    xs = [-2.0, -0.5, 0.0, 0.7, 3.0]
    out = layers.ACTIVATIONS[name](torch.tensor(xs))
    np.testing.assert_allclose(out, [plain(x) for x in xs], rtol=1e-5, atol=1e-7)  # type: ignore[operator]


def test_softmax_in_the_middle_sums_to_one_over_channels() -> None:
    net = network(specs.Conv2D(filters=4, kernel_size=3), specs.ActivationLayer(activation="softmax"))
    hidden = net[1](net[0](torch.randn(2, 1, 5, 5)))
    np.testing.assert_allclose(hidden.sum(dim=1).detach(), np.ones((2, 3, 3)), rtol=1e-5)


def test_pixels_are_scaled_in_one_place() -> None:
    image = torch.tensor([[[[0], [255]], [[51], [102]]]], dtype=torch.uint8)
    assert to_input(image).tolist() == [[[[0.0, 1.0], [pytest.approx(0.2), pytest.approx(0.4)]]]]
