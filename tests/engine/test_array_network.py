"""A network from arrays alone: it is the same network as the module's, and gives the same probabilities."""

import math
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from engine_cases import CLASSES, LIBRARY, NETWORKS, RELU, build, conv, dense, network_of, pictures

from misread.engine.array_network import ArrayNetwork, softmax
from misread.engine.chain import _pieces
from misread.engine.kernel_specs import UnknownNetwork, pieces_of, read_pieces
from misread.errors import RecipeError
from misread.models import layer_specs as specs
from misread.models.layer_specs import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from misread.models.network import network_logits
from misread.models.shapes import place_layers
from misread.training.recipe import load_recipe, recipe_names

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no compiled kernels")

SHAPE = (9, 11, 1)
CLASSIFY = Dense(units="classes")
UNKNOWN = {
    "no dense end": (Flatten(), dense(5)),
    "strides": (Conv2D(filters=3, kernel_size=3, strides=2, activation="relu"), Flatten(), CLASSIFY),
    "pool of 3": (conv(3), MaxPooling2D(pool_size=3), Flatten(), CLASSIFY),
    "padded pool": (conv(3), MaxPooling2D(padding="same"), Flatten(), CLASSIFY),
    "gelu": (Flatten(), Dense(units=4, activation="gelu"), CLASSIFY),
    "linear": (Flatten(), Dense(units=4), CLASSIFY),
    "no bias": (Flatten(), Dense(units=4, use_bias=False, activation="relu"), CLASSIFY),
    "linear convolution": (Conv2D(filters=3, kernel_size=3), Flatten(), CLASSIFY),
    "mean": (conv(3), specs.GlobalAveragePooling2D(), CLASSIFY),
    "residual": (conv(3), specs.Residual(layers=(conv(3),)), Flatten(), CLASSIFY),
    "activation first": (RELU, Flatten(), CLASSIFY),
    "dropout first": (Flatten(), Dropout(rate=0.5), CLASSIFY),
    "dropout that rounds to 1": (Flatten(), dense(4), Dropout(rate=1 - 1e-9), CLASSIFY),
    "norm without relu": (Flatten(), Dense(units=4, use_bias=False), specs.BatchNormalization(), CLASSIFY),
}


def read(pieces: list[object]) -> tuple[object, ...]:
    """What the kernels are told, or why they cannot run it."""
    try:
        told, weighted = read_pieces(pieces, SHAPE)  # type: ignore[arg-type]
    except UnknownNetwork as unknown:
        return (str(unknown),)
    return [bytes(spec) for spec in told], weighted


@pytest.mark.parametrize("name", [*UNKNOWN, *(n for n, (_, shape) in NETWORKS.items() if shape == SHAPE), "recipes"])
def test_layers_of_a_recipe_are_read_as_those_of_its_module(name: str) -> None:
    lists = [load_recipe(recipe).layers for recipe in recipe_names()] if name == "recipes" else []
    for layers in lists or [UNKNOWN.get(name) or NETWORKS[name][0]]:
        try:
            placed = place_layers(layers, SHAPE, CLASSES)
        except RecipeError:
            continue  # a recipe for larger images
        found = read(pieces_of(placed))  # type: ignore[arg-type]
        assert found == read(_pieces(network_of(layers, SHAPE)))  # type: ignore[arg-type]
        assert (len(found) == 1) == (name in UNKNOWN) or name == "recipes"


def arrays_of(network: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_are_those_of_pytorch(name: str) -> None:
    network, shape = build(name)
    images, _ = pictures(70, shape)
    found = ArrayNetwork(NETWORKS[name][0], shape, CLASSES, arrays_of(network), 1).probs(images.numpy())
    expected = network_logits(network.eval(), images).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
    assert (found.dtype, found.shape) == (np.float32, (70, CLASSES))


BAD: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "missing": lambda w: w.pop("dense.bias"),
    "one more": lambda w: w.update({"dense_2.bias": np.zeros(5, np.float32)}),
    "another shape": lambda w: w.update({"dense.weight": w["dense.weight"].T.copy()}),
    "another dtype": lambda w: w.update({"dense.bias": w["dense.bias"].astype(np.float64)}),
}


@pytest.mark.parametrize("name", BAD)
def test_weights_of_another_network_are_refused(name: str) -> None:
    network, shape = build("mlp 20")
    weights = arrays_of(network)
    BAD[name](weights)
    with pytest.raises(UnknownNetwork, match="the weights are of another network"):
        ArrayNetwork(NETWORKS["mlp 20"][0], shape, CLASSES, weights, 1)


@pytest.mark.parametrize(
    "images", [np.zeros((3, 9, 11, 1)), np.zeros((3, 11, 9, 1), np.uint8)], ids=["float", "turned"]
)
def test_images_that_the_kernels_would_read_beyond_are_refused(images: np.ndarray) -> None:
    network, shape = build("mlp 20")
    with pytest.raises(ValueError, match="images must be uint8"):
        ArrayNetwork(NETWORKS["mlp 20"][0], shape, CLASSES, arrays_of(network), 1).probs(images)


def exact_softmax(logits: np.ndarray) -> np.ndarray:
    """Rounded once, from sixty digits."""
    with localcontext() as context:
        context.prec = 60
        powers = [Decimal(float(logit)).exp() for logit in logits]
        return np.array([nearest_float32(power / sum(powers)) for power in powers], np.float32)


def nearest_float32(value: Decimal) -> np.float32:
    near = np.float32(float(value))
    candidates = [np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(2))]
    return min(candidates, key=lambda candidate: abs(Fraction(value) - Fraction(float(candidate))))


def test_the_softmax_is_the_exact_one_rounded_once() -> None:
    """So it does not depend on the processor."""
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(200, 7)) * rng.choice([0.01, 1, 5, 20], size=(200, 1))).astype(np.float32)
    np.testing.assert_array_equal(softmax(logits), np.stack([exact_softmax(row) for row in logits]))


def test_the_softmax_of_logits_beyond_all_bounds() -> None:
    large, inf, nan = np.float32(3e38), math.inf, math.nan
    logits = np.array([[large, -large, 0], [-inf, 0, 0], [0, -100, -1000], [nan, 0, 1], [inf, 0, 1]], np.float32)
    found = softmax(logits)
    np.testing.assert_array_equal(found[:2], np.float32([[1, 0, 0], [0, 0.5, 0.5]]))
    assert found[2] == pytest.approx([1, math.exp(-100), 0], rel=1e-5)
    assert np.isnan(found[3:]).all()


def test_it_predicts_without_pytorch() -> None:
    code = (
        "import sys, numpy as np; from misread.engine.array_network import ArrayNetwork\n"
        "from misread.models.layer_specs import Dense, Flatten\n"
        "weights = {'dense.weight': np.eye(4, dtype=np.float32)[:2] * 255, 'dense.bias': np.zeros(2, np.float32)}\n"
        "network = ArrayNetwork((Flatten(), Dense(units=2)), (2, 2, 1), 2, weights, 1)\n"
        "print(network.probs(np.array([[[[0], [1]], [[0], [0]]]], np.uint8)).round(4), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[0.2689 0.7311]] False\n"  # 1 / (1 + e)
