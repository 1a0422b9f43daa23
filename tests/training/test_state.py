"""A training that is interrupted after any step ends as one that never was: bit for bit, on both backends."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from misread.engine.library import load_library
from misread.errors import RunError
from misread.models.layer_specs import (
    ActivationLayer,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalMaxPooling2D,
    LayerSpec,
    MaxPooling2D,
    Residual,
    Whitening,
)
from misread.training.backend import Backend
from misread.training.batches import Examples
from misread.training.callbacks import recipe_callbacks
from misread.training.choose_backend import make_backend
from misread.training.device import using_threads
from misread.training.events import Event, StepsDone
from misread.training.fit import fit_members
from misread.training.networks import members, recipe_network
from misread.training.recipe import Loss, Recipe
from misread.training.session import TrainState
from misread.training.state_file import read_state, state_bytes
from samples import blocks

CPU = torch.device("cpu")
RELU = ActivationLayer(activation="relu")


def cnn(activation: str) -> tuple[LayerSpec, ...]:
    act = ActivationLayer(activation=activation)
    return (
        Conv2D(filters=4, kernel_size=3, use_bias=False), MaxPooling2D(), BatchNormalization(), act, Flatten(),
        Dense(units=12, use_bias=False), BatchNormalization(), act, Dropout(rate=0.3), Dense(units="classes"),
    )  # fmt: skip


EVERYTHING = {
    "augmentation": {"shift": 0.1, "rotation": 10, "elastic": 0.02, "erasing": 0.3},
    "weight_averaging": {"last": 0.5},
    "schedule": {"name": "one-cycle"},
}
CONV = (Conv2D(filters=4, kernel_size=3, padding="same", use_bias=False), BatchNormalization(), RELU)
PHOTOGRAPHS = {
    "layers": (Whitening(filters=4), *CONV, Residual(layers=CONV), GlobalMaxPooling2D(), Dense(units="classes")),
    "optimizer": {"name": "muon"},
    "image_scales": (0.5, 1.0),
    "augmentation": {"shift": 0.15, "flip": True},
    "weight_averaging": {"last": 0.5},
}
BY_KERNELS = {"layers": cnn("relu")}
BY_TORCH = {"layers": cnn("tanh")}
TRAININGS: dict[str, dict[str, object]] = {
    "kernels": {**BY_KERNELS, **EVERYTHING},
    "kernels, mixed": {**BY_KERNELS, **EVERYTHING, "precision": "mixed"},
    "kernels, early stopping": {**BY_KERNELS, "epochs": 9, "early_stopping": {"patience": 1},
                                "optimizer": {"name": "adamw", "learning_rate": 0.1}},
    "kernels, ensemble": {**BY_KERNELS, **EVERYTHING, "members": 2, "epochs": 2},
    "kernels, balanced classes": {**BY_KERNELS, **EVERYTHING, "class_balance": 1.0},
    "torch": {**BY_TORCH, **EVERYTHING},
    "torch, momentum": {**BY_TORCH, "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
    "torch, rmsprop": {**BY_TORCH, "optimizer": {"name": "rmsprop", "momentum": 0.5, "centered": True}},
    "torch, early stopping": {**BY_TORCH, "epochs": 9, "early_stopping": {"patience": 1},
                              "optimizer": {"name": "adam", "learning_rate": 0.3}},
    "torch, photographs": PHOTOGRAPHS,
    "torch, photographs, mixed": {**PHOTOGRAPHS, "precision": "mixed", "members": 2},
    "torch, ensemble": {**BY_TORCH, **EVERYTHING, "members": 2, "epochs": 2},
    "torch, balanced classes": {**BY_TORCH, "class_balance": 0.5, "members": 2, "epochs": 2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small lose time to a second thread."""
    with using_threads(1):
        yield


def recipe_of(name: str) -> Recipe:
    loss = Loss(name="sparse_categorical_crossentropy")
    return Recipe.model_validate({"epochs": 3, "batch_size": 16, "loss": loss, "seed": 5, **TRAININGS[name]})


def begin(recipe: Recipe, state: TrainState) -> tuple[Iterator[Event], list[str]]:
    """The events of a training from this state on, a step each, and which backends it used."""
    images, labels = blocks(60)
    kept = (labels < 2) | (np.arange(60) < 20)  # 15, 15, 5 and 5 images of the classes
    networks, used = members(recipe_network(recipe, (8, 8, 1), 4, images[kept])), []
    train, val = Examples.on(CPU, images[kept], labels[kept]), Examples.on(CPU, *blocks(20, seed=1))

    def backend_of(member: int, seed: int) -> Backend:
        backend = make_backend(networks[member], (8, 8, 1), CPU, recipe, seed)
        used.append(backend.capabilities.name)
        return backend

    return fit_members(backend_of, recipe, train, val, state, tick_seconds=0.0), used


def handle(event: Event, recipe: Recipe) -> None:
    if not isinstance(event, StepsDone):
        for callback in recipe_callbacks(recipe):
            callback.on_epoch_end(event)


def outcome(state: TrainState) -> list[object]:
    """Everything that a run keeps, without seconds."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in state.history]
    best = (state.best.epoch, state.best.value) if state.best else None
    return [rows, best, state.stopped, state.target_reached]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_interrupted_after_every_step_ends_as_one_without_interruption(name: str) -> None:
    recipe = recipe_of(name)
    if name.startswith("kernels") and load_library() is None:
        pytest.skip("misread was installed without a C++ compiler")
    whole = TrainState(recipe.member_seed(0))
    events, used = begin(recipe, whole)
    checkpoints = []
    for event in events:
        handle(event, recipe)
        whole.capture(event.backend)
        checkpoints.append(state_bytes(whole))
    assert set(used) == {name.partition(",")[0]}
    assert len(checkpoints) >= recipe.members * 2 * 3  # three steps an epoch
    for number, contents in enumerate(checkpoints):
        state = read_state(contents, "checkpoint")
        for event in begin(recipe, state)[0]:
            handle(event, recipe)
        assert outcome(state) == outcome(whole), number
        for ours, theirs in zip(state.final_weights(), whole.final_weights(), strict=True):
            assert sorted(ours) == sorted(theirs)
            for key, tensor in theirs.items():
                assert torch.equal(ours[key], tensor), (number, key)


def test_a_module_with_random_numbers_resumes_exactly() -> None:
    """Whatever a network draws from torch's generator begins at the step's key."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(64, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return self.dense(x + 0.5 * torch.randn_like(x) if self.training else x)

    recipe = Recipe(epochs=2, batch_size=16, loss=Loss(name="sparse_categorical_crossentropy"))
    data = Examples.on(CPU, *blocks(40))

    def train(state: TrainState) -> Iterator[Event]:
        torch.manual_seed(0)
        backend = make_backend(Noisy(), (8, 8, 1), CPU, recipe, 3)
        torch.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()) % 1000)  # wherever it stands
        return fit_members(lambda *_: backend, recipe, data, data, state, tick_seconds=0.0)

    whole = TrainState(3)
    checkpoints = []
    for event in train(whole):
        whole.capture(event.backend)
        checkpoints.append(state_bytes(whole))
    for contents in checkpoints:
        state = read_state(contents, "checkpoint")
        for _ in train(state):
            torch.rand(7)  # what others draw in between
        assert all(torch.equal(state.final_weights()[0][k], v) for k, v in whole.final_weights()[0].items())


def small_state() -> bytes:
    recipe = recipe_of("torch")
    state = TrainState(0)
    event = next(begin(recipe, state)[0])
    state.capture(event.backend)
    return state_bytes(state)


def test_a_checkpoint_restores_the_same_state() -> None:
    contents = small_state()
    assert state_bytes(read_state(contents, "here")) == contents


@pytest.mark.parametrize("place", [20, 200, -5, -2000])
def test_a_damaged_checkpoint_is_detected(place: int) -> None:
    contents = bytearray(small_state())
    contents[place] ^= 1
    with pytest.raises(RunError, match="The checkpoint here is damaged"):
        read_state(bytes(contents), "here")
    with pytest.raises(RunError, match="The checkpoint here is damaged"):
        read_state(small_state()[:place], "here")
