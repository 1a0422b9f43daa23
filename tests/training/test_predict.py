"""Features, and predictions by networks that are made of others."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from misread.analysis.thumbnails import SIDE, thumbnail_blocks, thumbnails
from misread.models.layer_specs import (
    ActivationLayer,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPooling2D,
)
from misread.models.network import build_network, network_logits, to_input
from misread.training.predict import Predictor

CPU = torch.device("cpu")


CPU = torch.device("cpu")


def images_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 1), dtype=np.uint8)


def test_features_are_the_input_of_the_last_dense_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [Flatten(), Dense(units=7, activation="relu"), Dropout(rate=0.5), Dense(units="classes")]
    network, images = build_network(layers, (6, 6, 1), 3).train(), images_of(25)
    monkeypatch.setattr("misread.training.predict.FEATURES_BLOCK", 10)
    blocks = list(Predictor(network, images.shape[1:], CPU).feature_blocks(images))
    assert [tuple(b.shape) for b in blocks] == [(10, 7), (10, 7), (5, 7)]
    hidden = network[1](torch.tensor(images).flatten(1).float() / 255)  # dropout does nothing in evaluation
    assert torch.cat(blocks).numpy() == pytest.approx(hidden.detach().numpy(), abs=1e-6)
    assert network.training  # as it was


@pytest.mark.parametrize("kernels", [True, False])
def test_features_of_a_cnn_are_the_same_by_kernels_and_by_torch(monkeypatch: pytest.MonkeyPatch, kernels: bool) -> None:
    layers = [
        Conv2D(filters=5, kernel_size=3, activation="relu"), MaxPooling2D(), Flatten(),
        Dense(units=7, use_bias=False), BatchNormalization(), ActivationLayer(activation="relu"),
        Dense(units="classes"),
    ]  # fmt: skip
    if not kernels:
        monkeypatch.setattr("misread.engine.bare_chain.load_library", lambda: None)
    network, images = build_network(layers, (6, 6, 1), 3), images_of(300)
    with torch.no_grad():
        hidden = network[:-1].eval()(to_input(torch.tensor(images)))
    assert Predictor(network, images.shape[1:], CPU).features(images).numpy() == pytest.approx(hidden.numpy(), abs=1e-5)


class Foreign(nn.Module):
    """A module whose last layer is defined first, and which squeezes between."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.squeeze = nn.Linear(5, 3), nn.Linear(36, 5), nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x.flatten(1))
        return self.head(x * self.squeeze(x).sigmoid())


def test_features_of_a_module_from_python_are_the_input_of_its_last_linear_layer() -> None:
    network, images = Foreign(), images_of(4)
    found = Predictor(network, images.shape[1:], CPU).features(images)
    assert found.shape == (4, 5)
    logits = network_logits(network, torch.tensor(images))
    assert network.head(found).detach().numpy() == pytest.approx(logits.detach().numpy(), abs=1e-5)


def test_without_a_final_linear_layer_the_features_are_the_logits() -> None:
    network, images = nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten()), images_of(4)
    logits = network_logits(network, torch.tensor(images))
    assert Predictor(network, images.shape[1:], CPU).features(images).numpy() == pytest.approx(
        logits.detach().numpy(), abs=1e-6
    )


# thumbnails


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (32, 20, 3), (37, 5, 1), (1, 3, 1)])
def test_thumbnails_correlate_as_numpy_says(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, *shape), dtype=np.uint8)
    found = thumbnails(images)
    small = images.astype(np.float64)
    height, width = (int(np.ceil(s / np.ceil(s / SIDE))) for s in shape[:2])
    if shape[0] % height == 0 and shape[1] % width == 0:  # equal areas: their means by hand
        small = small.reshape(6, height, shape[0] // height, width, shape[1] // width, shape[2]).mean(axis=(2, 4))
        assert found @ found.T == pytest.approx(np.corrcoef(small.reshape(6, -1)), abs=1e-5)
    assert found.shape == (6, height * width * shape[2])
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert np.concatenate(list(thumbnail_blocks(images))) == pytest.approx(found)


def test_a_picture_of_one_colour_correlates_with_no_other() -> None:
    images = np.stack([np.full((28, 28, 1), v, np.uint8) for v in (0, 7, 255)])
    assert not thumbnails(images).any()


def test_a_copy_saved_as_jpeg_brightened_or_with_a_dead_pixel_has_nearly_the_same_thumbnail(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(60, 200, (1, 4, 4), dtype=np.uint8)
    image = np.asarray(Image.fromarray(rough[0]).resize((28, 28), Image.Resampling.BICUBIC))
    Image.fromarray(image).save(f"{tmp_path}/copy.jpg", quality=75)
    compressed = np.asarray(Image.open(f"{tmp_path}/copy.jpg"))
    brighter, dead = (image * 0.8 + 30).astype(np.uint8), image.copy()
    dead[3, 3] = 0
    other = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    found = thumbnails(np.stack([image, compressed, brighter, dead, other])[..., None])
    assert (found[1:4] @ found[0] > 0.998).all()
    assert found[4] @ found[0] < 0.5
