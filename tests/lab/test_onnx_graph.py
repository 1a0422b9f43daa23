"""Networks written as ONNX graphs, run by ONNX Runtime, beside the same networks in PyTorch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from misread.lab.onnx_graph import classifier_graph, is_writable
from misread.models import layer_specs as specs
from misread.models.ensemble import Ensemble
from misread.models.network import Network, build_network, network_logits
from misread.models.views import MeanOverViews

CLASSES = 3
END = (specs.Flatten(), specs.Dense(units="classes"))
ACTIVATIONS = specs.Activation.__args__  # type: ignore[attr-defined]

NETWORKS: dict[str, list[Any]] = {
    "dense": [specs.Flatten(), specs.Dense(units=7, activation="relu"), specs.Dense(units="classes", use_bias=False)],
    "softmax at the end": [specs.Flatten(), specs.Dense(units="classes", activation="softmax")],
    "valid convolution": [specs.Conv2D(filters=4, kernel_size=(2, 3)), *END],
    "same convolution": [specs.Conv2D(filters=4, kernel_size=3, padding="same"), *END],
    "uneven padding": [specs.Conv2D(filters=4, kernel_size=(2, 4), padding="same", use_bias=False), *END],
    "strides": [specs.Conv2D(filters=4, kernel_size=3, strides=(2, 3), padding="same"), *END],
    "whitening": [specs.Whitening(filters=6, kernel_size=2, strides=2, activation="relu"), *END],
    "max pooling": [specs.MaxPooling2D(pool_size=(2, 3)), *END],
    "padded max pooling": [specs.MaxPooling2D(pool_size=3, strides=2, padding="same"), *END],
    "average pooling": [specs.AveragePooling2D(), *END],
    "padded average pooling": [specs.AveragePooling2D(pool_size=(4, 3), strides=(3, 2), padding="same"), *END],
    "global average": [specs.Conv2D(filters=5, kernel_size=3), specs.GlobalAveragePooling2D(), END[1]],
    "global max": [specs.Conv2D(filters=5, kernel_size=3), specs.GlobalMaxPooling2D(), END[1]],
    "normalisation of images": [specs.BatchNormalization(epsilon=0.1), *END],
    "normalisation of numbers": [specs.Flatten(), specs.BatchNormalization(), END[1]],
    "dropout": [specs.Dropout(rate=0.5), *END],
    "residual": [
        specs.Conv2D(filters=4, kernel_size=3),
        specs.Residual(
            layers=(
                specs.Conv2D(filters=4, kernel_size=3, padding="same", activation="tanh"),
                specs.Residual(layers=(specs.BatchNormalization(), specs.ActivationLayer(activation="gelu"))),
            )
        ),
        *END,
    ],
    **{f"layer of {name}": [specs.ActivationLayer(activation=name), *END] for name in ACTIVATIONS},
    **{
        f"convolution with {name}": [specs.Conv2D(filters=4, kernel_size=3, activation=name), *END]
        for name in ACTIVATIONS
    },
}


def network(layers: Any, shape: tuple[int, int, int] = (9, 8, 2), seed: int = 0) -> Network:
    """With random weights and moving averages everywhere, so that none can be left out unnoticed."""
    torch.manual_seed(seed)
    built = build_network(layers, shape, CLASSES)
    for name, values in built.state_dict().items():
        if values.is_floating_point():
            values.copy_(torch.rand_like(values) * 0.5 + 0.1 if name.endswith("var") else torch.randn_like(values) / 6)
    return built.eval()


def pictures(n: int, shape: tuple[int, int, int] = (9, 8, 2)) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def check(
    module: nn.Module, shape: tuple[int, int, int] = (9, 8, 2), counts: tuple[int, ...] = (5,)
) -> onnx.ModelProto:
    model = classifier_graph(module.eval(), shape, CLASSES)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for n in counts:
        images = pictures(n, shape)
        with torch.inference_mode():
            expected = network_logits(module, torch.from_numpy(images)).softmax(dim=1).numpy()
        assert np.ptp(expected, axis=0).max() > 1e-3  # predictions that are all the same would show nothing
        np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=2e-6)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_computes_what_it_does_in_torch(name: str) -> None:
    check(network(NETWORKS[name]))


def test_every_type_of_layer_is_tried() -> None:
    tried = {type(layer) for layers in NETWORKS.values() for layer in layers}
    assert tried == set(specs.LayerSpec.__origin__.__args__)  # type: ignore[attr-defined]


CONVOLUTIONAL = [
    specs.Conv2D(filters=4, kernel_size=3, activation="relu"), specs.GlobalMaxPooling2D(), specs.Dense(units="classes")
]  # fmt: skip


def test_a_graph_takes_any_number_of_images() -> None:
    check(network(CONVOLUTIONAL), counts=(2, 3, 64))


def test_members_are_averaged() -> None:
    members = [network(CONVOLUTIONAL, seed=seed) for seed in range(3)]
    model = check(Ensemble(members))
    assert "members.2.conv2d.weight" in [weights.name for weights in model.graph.initializer]


@pytest.mark.parametrize(("shift", "flip"), [(1, False), (0, True), (2, True)])
def test_views_are_averaged_by_one_copy_of_the_network(shift: int, flip: bool) -> None:
    model = check(MeanOverViews(network(CONVOLUTIONAL), shift, flip), counts=(2, 5))
    assert [node.op_type for node in model.graph.node].count("Conv") == 1


def test_views_of_members_are_averaged() -> None:
    members = Ensemble([network(NETWORKS["dense"], seed=seed) for seed in range(2)])
    check(MeanOverViews(members, 1, True), counts=(4,))


def test_other_networks_are_not_written() -> None:
    assert is_writable(MeanOverViews(Ensemble([network(CONVOLUTIONAL)]), 1, False))
    assert not is_writable(Ensemble([network(CONVOLUTIONAL), nn.Sequential(nn.Flatten())]))
