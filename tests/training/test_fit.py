import copy
import math
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from misread.errors import RecipeError, TrainingError
from misread.models.layer_specs import BatchNormalization, Dense, Dropout, Flatten
from misread.models.network import build_network
from misread.training.batches import Examples
from misread.training.callbacks import Callback, StopEarly, drive
from misread.training.choose_backend import make_backend
from misread.training.events import EpochEnded, Event, StepsDone
from misread.training.fit import fit
from misread.training.losses import cross_entropy, make_targets, resolve_loss
from misread.training.randomness import Purpose, generator
from misread.training.recipe import Adam, EarlyStopping, Loss, Recipe
from misread.training.session import TrainState
from samples import blocks

CPU = torch.device("cpu")
LAYERS = (Flatten(), Dense(units=16, activation="relu"), Dropout(rate=0.2), Dense(units="classes"))
SPARSE = Loss(name="sparse_categorical_crossentropy")


def examples(n: int, seed: int = 0) -> Examples:
    return Examples.on(CPU, *blocks(n, seed=seed))


def recipe(**settings: object) -> Recipe:
    values = {"epochs": 3, "batch_size": 32, "layers": LAYERS, "loss": SPARSE, **settings}
    return Recipe.model_validate(values)


def fresh(seed: int = 0, layers: tuple = LAYERS) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(layers, (8, 8, 1), 4)


def events_of(
    network: nn.Module, spec: Recipe, n: int = 200, tick_seconds: float | None = None
) -> tuple[Iterator[Event], TrainState]:
    state = TrainState(spec.seed)
    backend = make_backend(network, (8, 8, 1), CPU, spec, spec.seed)
    return fit(backend, spec, examples(n), examples(60, seed=1), state, tick_seconds), state


def run(network: nn.Module, spec: Recipe, n: int = 200) -> TrainState:
    """The state after a whole training; the network has the final weights then."""
    events, state = events_of(network, spec, n)
    drive(events, state, [])
    network.load_state_dict(state.final_weights()[0])
    return state


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    finals = []
    for seed in (5, 5, 6):
        network = fresh(0)
        run(network, recipe(seed=seed))
        finals.append(torch.cat([p.detach().ravel() for p in network.parameters()]))
    assert torch.equal(finals[0], finals[1])
    assert not torch.equal(finals[0], finals[2])


@pytest.mark.parametrize("n", [96, 97, 127])
def test_an_epoch_equals_a_plain_loop_with_torch_optim(n: int) -> None:
    """Order by the seed, the same batches, Adam each step, a short last batch: losses, metrics and weights."""
    layers = (Flatten(), Dense(units=16, activation="relu"), Dense(units="classes"))
    ours, theirs = fresh(0, layers), fresh(0, layers)
    data = examples(n)
    spec = recipe(epochs=2, layers=layers, seed=3)
    history = run(ours, spec, n).history
    optimizer = torch.optim.Adam(theirs.parameters(), 0.001, eps=1e-7)
    for epoch in range(2):
        total = right = 0.0
        for rows in torch.randperm(n, generator=generator(3, Purpose.ORDER, epoch)).split(32):
            x = data.images[rows].permute(0, 3, 1, 2) / 255
            logits = theirs(x)
            loss = nn.functional.cross_entropy(logits, data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            right += (logits.argmax(1) == data.labels[rows]).sum().item()
        assert history[epoch]["loss"] == pytest.approx(total / n, rel=1e-5)
        assert history[epoch]["accuracy"] == pytest.approx(right / n)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_separable_set_is_learned_and_the_history_shows_it() -> None:
    history = run(fresh(), recipe(epochs=12)).history
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert history[-1]["val_accuracy"] > 0.95
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert all(row["seconds"] > 0 for row in history)


def test_the_accuracy_so_far_is_that_of_the_epoch_at_its_end_also_with_a_short_batch() -> None:
    events, _ = events_of(fresh(), recipe(batch_size=64), n=200, tick_seconds=0)  # batches of 64, 64, 64 and 8
    so_far = 0.0
    for event in events:
        if isinstance(event, StepsDone):
            so_far = event.accuracy
        elif isinstance(event, EpochEnded):
            assert so_far == pytest.approx(event.row["accuracy"])


def test_top_k_counts_a_label_among_the_k_most_probable() -> None:
    history = run(fresh(), recipe(epochs=1, top_k=4)).history
    assert history[0]["val_top_k_accuracy"] == 1.0  # four classes
    history = run(fresh(), recipe(epochs=1, top_k=1)).history
    assert history[0]["val_top_k_accuracy"] == pytest.approx(history[0]["val_accuracy"])


def test_a_loss_that_is_not_finite_names_epoch_and_step() -> None:
    class BreaksAtStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = fresh(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            return self.inner(x) * (math.nan if self.calls == 9 else 1.0)

    # 200 images in batches of 32 are 7 steps: the 9th is the second step of epoch 2
    with pytest.raises(
        TrainingError, match=r"nan in epoch 2, step 2 .*\n.*optimizer.learning_rate=0.0001 \(now 0.001\)"
    ):
        run(BreaksAtStep(), recipe())


def test_weights_that_break_in_the_last_step_are_detected() -> None:
    class BreaksWhenValidating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = fresh()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) * (1.0 if self.training else math.inf)

    with pytest.raises(TrainingError, match=r"no longer finite: (nan|inf) in epoch 1, step 7"):
        run(BreaksWhenValidating(), recipe())


def test_batch_normalization_accepts_a_last_batch_of_one_image() -> None:
    layers = (Flatten(), Dense(units=8), BatchNormalization(), Dense(units="classes"))
    history = run(fresh(0, layers), recipe(layers=layers), n=33).history  # batches of 32 and 1
    assert all(math.isfinite(row["val_loss"]) for row in history)


def test_a_stop_after_an_epoch_keeps_that_epoch() -> None:
    events, state = events_of(fresh(), recipe())
    while not isinstance(next(events), EpochEnded):
        pass
    state.stop("enough")
    assert list(events) == []
    assert len(state.history) == 1
    assert state.stopped == "enough"


def test_a_training_can_run_step_by_step_and_stop_within_an_epoch() -> None:
    network = fresh()
    before = copy.deepcopy(network.state_dict())
    events, state = events_of(network, recipe(), tick_seconds=0.0)
    for step in range(1, 4):
        event = next(events)
        assert isinstance(event, StepsDone)
        assert (event.epoch, event.epochs, event.step, event.steps) == (1, 3, step, 7)
        assert event.loss == pytest.approx(float(state.losses.mean()))
        assert any(not torch.equal(before[k], v) for k, v in event.backend.weights().items())
    state.stop("enough")
    assert list(events) == []
    assert state.history == []
    weights = state.final_weights()[0]
    assert all(torch.equal(weights[k], v) for k, v in event.backend.weights().items())


def test_the_clock_does_not_count_the_time_of_callbacks() -> None:
    class Sleeps(Callback):
        def on_epoch_end(self, event: EpochEnded) -> None:
            time.sleep(0.5)

    events, state = events_of(fresh(), recipe())
    drive(events, state, [Sleeps()])
    assert state.clock.fit_seconds + state.clock.validate_seconds < 1.0
    assert sum(row["seconds"] for row in state.history) == pytest.approx(state.clock.fit_seconds)


def test_early_stopping_keeps_the_best_epochs_weights() -> None:
    state, stopped = TrainState(0), []
    callback = StopEarly(EarlyStopping(monitor="val_loss", patience=2))
    for epoch, val_loss in enumerate([3.0, 1.0, 2.0, 1.5, 0.5], start=1):
        row = {"epoch": epoch, "loss": 0, "accuracy": 0, "val_loss": val_loss, "val_accuracy": 0, "seconds": 1}
        backend = SimpleNamespace(weights=lambda epoch=epoch: {"w": torch.tensor(float(epoch))})
        callback.on_epoch_end(EpochEnded(state, backend, row, 9, torch.zeros(0)))  # type: ignore[arg-type]
        stopped.append(bool(state.stopped))
        state.stopped = ""
    assert stopped == [False, False, False, True, False]
    assert state.best is not None
    assert state.best.epoch == 5
    assert state.final_weights()[0]["w"].item() == 5


def test_the_first_of_equally_good_epochs_is_the_best() -> None:
    state = TrainState(0)
    callback = StopEarly(EarlyStopping(monitor="val_accuracy", patience=5))
    for epoch, accuracy in enumerate([0.5, 0.75, 0.75], start=1):
        row = {"epoch": epoch, "loss": 0, "accuracy": 0, "val_loss": 1, "val_accuracy": accuracy, "seconds": 1}
        backend = SimpleNamespace(weights=dict)
        callback.on_epoch_end(EpochEnded(state, backend, row, 9, torch.zeros(0)))  # type: ignore[arg-type]
    assert state.best is not None
    assert state.best.epoch == 2


# losses


def test_both_forms_of_the_loss_give_the_same_number_and_it_is_the_formula() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    sparse = cross_entropy(logits, make_targets(labels, SPARSE, 3), 0.0)
    one_hot = cross_entropy(logits, make_targets(labels, Loss(name="categorical_crossentropy"), 3), 0.0)
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    plain = -np.log(p[np.arange(6), labels]).mean()
    assert sparse.item() == pytest.approx(plain, rel=1e-5)
    assert one_hot.item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("name", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_label_smoothing_is_the_formula_of_keras(name: str) -> None:
    """Targets become onehot * (1 - s) + s / K."""
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 1, 0, 2, 2])
    smoothed = np.eye(4)[labels] * 0.9 + 0.1 / 4
    log_p = logits.double().log_softmax(1).numpy()
    loss = cross_entropy(logits, make_targets(labels, Loss(name=name), 4), 0.1)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(-(smoothed * log_p).sum(axis=1).mean(), rel=1e-5)


def test_the_loss_fits_the_form_of_the_labels() -> None:
    assert resolve_loss(Loss(), one_hot=False).name == "sparse_categorical_crossentropy"
    assert resolve_loss(Loss(), one_hot=True).name == "categorical_crossentropy"
    with pytest.raises(RecipeError, match=r"takes labels as one-hot rows \(N, K\), but the labels are whole numbers"):
        resolve_loss(Loss(name="categorical_crossentropy"), one_hot=False)
    with pytest.raises(RecipeError, match=r"takes labels as whole numbers \(N,\), but the labels are one-hot"):
        resolve_loss(SPARSE, one_hot=True)


def test_a_one_hot_training_gives_the_weights_of_a_sparse_one() -> None:
    finals = []
    for loss in (SPARSE, Loss(name="categorical_crossentropy")):
        network = fresh(0)
        run(network, recipe(loss=loss, optimizer=Adam(learning_rate=0.01)))
        finals.append(torch.cat([p.detach().ravel() for p in network.parameters()]))
    torch.testing.assert_close(finals[0], finals[1], rtol=1e-3, atol=1e-4)
