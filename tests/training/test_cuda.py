"""Training on a CUDA device: a replayed graph takes the same steps as PyTorch one by one."""

from typing import Any

import pytest
import torch

from misread.models.layer_specs import (
    ActivationLayer,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalMaxPooling2D,
    MaxPooling2D,
    Whitening,
)
from misread.training import cuda_graph
from misread.training.batches import Examples
from misread.training.fit import fit
from misread.training.networks import recipe_network
from misread.training.recipe import Recipe
from misread.training.session import INTERRUPTED, TrainState
from misread.training.torch_backend import TorchBackend
from samples import blocks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

MLP = (Flatten(), Dense(units=32, activation="relu"), Dropout(rate=0.2), Dense(units="classes"))
CNN = (
    Conv2D(filters=8, kernel_size=3, use_bias=False), MaxPooling2D(), BatchNormalization(),
    ActivationLayer(activation="relu"), Flatten(), Dense(units=16, activation="relu"), Dropout(rate=0.3),
    Dense(units="classes"),
)  # fmt: skip
GROWING = (
    Whitening(filters=8, kernel_size=2, activation="relu"), Conv2D(filters=8, kernel_size=3, use_bias=False),
    BatchNormalization(), ActivationLayer(activation="relu"), GlobalMaxPooling2D(), Dense(units="classes"),
)  # fmt: skip
TRAININGS: dict[str, dict[str, Any]] = {
    "mlp, adam": {"layers": MLP},
    "cnn, no dropout": {"layers": (*CNN[:6], CNN[-1]), "optimizer": {"name": "sgd", "momentum": 0.9}},
    "cnn, adamw": {"layers": CNN, "optimizer": {"name": "adamw"}, "loss": {"label_smoothing": 0.1}},
    "cnn, momentum": {"layers": CNN, "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
    "cnn, gradient descent": {"layers": CNN, "optimizer": {"name": "sgd"}},
    "cnn, augmented": {
        "layers": CNN,
        "augmentation": {"shift": 0.1, "rotation": 10},
        "schedule": {"name": "one-cycle"},
    },
    "muon, growing": {
        "layers": GROWING,
        "optimizer": {"name": "muon"},
        "image_scales": [0.75, 1.0],
        "augmentation": {"flip": True},
    },
    "cnn, averaged": {"layers": CNN, "weight_averaging": {"last": 0.5}},
}


def train(name: str, device: str, state: TrainState | None = None, steps: int | None = None) -> dict[str, torch.Tensor]:
    values = {"epochs": 3, "batch_size": 16, **TRAININGS[name]}
    values["loss"] = {"name": "sparse_categorical_crossentropy", **values.get("loss", {})}
    recipe = Recipe.model_validate(values)
    images, labels = blocks(16 * 200 + 5)  # a short batch ends each epoch
    where = torch.device(device)
    network = recipe_network(recipe, images.shape[1:], 4, images).to(where)
    backend = TorchBackend(network, where, recipe, recipe.seed)
    train, val = (Examples.on(where, images[part], labels[part]) for part in (slice(None), slice(0, 64)))
    state = TrainState(recipe.seed) if state is None else state
    assert (backend.graphed_steps is not None) == (device == "cuda")
    for event in fit(backend, recipe, train, val, state, None if steps is None else 0):
        if steps is not None and state.epoch * 201 + state.step >= steps:
            event.state.stop(INTERRUPTED)
    assert backend.graphed_steps is None or not backend.graphed_steps.problem
    return {name: tensor.cpu() for name, tensor in state.final_weights()[0].items()}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_graph_takes_the_same_steps_as_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = train(name, "cuda")
    monkeypatch.setattr(cuda_graph, "WARM_UP_STEPS", 10**9)
    alone = train(name, "cuda")
    for key, tensor in replayed.items():
        torch.testing.assert_close(tensor, alone[key], rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


def test_a_cuda_training_equals_the_cpus() -> None:
    with torch.backends.cudnn.flags(allow_tf32=False):
        on_gpu = train("cnn, no dropout", "cuda", steps=40)
    on_cpu = train("cnn, no dropout", "cpu", steps=40)
    for key, tensor in on_gpu.items():
        torch.testing.assert_close(tensor, on_cpu[key], rtol=1e-3, atol=1e-4)


def test_a_resumed_cuda_training_goes_on_as_if_it_had_not_stopped() -> None:
    name = "cnn, momentum"
    whole = train(name, "cuda")
    state = TrainState(0)
    train(name, "cuda", state, steps=150)
    assert 0 < state.epoch * 201 + state.step < 603
    state.stopped = ""
    resumed = train(name, "cuda", state)
    for key, tensor in resumed.items():
        torch.testing.assert_close(tensor, whole[key], rtol=1e-3, atol=1e-4)
