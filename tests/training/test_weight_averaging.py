import numpy as np
import pytest
import torch
from torch import nn

from misread.models.layer_specs import BatchNormalization, Dense, Flatten
from misread.models.network import build_network
from misread.training.batches import Examples
from misread.training.callbacks import StopEarly, drive
from misread.training.choose_backend import make_backend
from misread.training.events import EpochEnded
from misread.training.fit import fit
from misread.training.randomness import Purpose, generator
from misread.training.recipe import EarlyStopping, Loss, Recipe, WeightAveraging
from misread.training.session import TrainState, WeightAverage
from misread.training.weight_averaging import steps_until, update_steps
from samples import blocks

SPARSE = Loss(name="sparse_categorical_crossentropy")
CPU = torch.device("cpu")
LAYERS = (Flatten(), Dense(units=5), BatchNormalization(), Dense(units="classes"))


def network(layers: tuple = LAYERS) -> nn.Module:
    torch.manual_seed(0)
    return build_network(layers, (8, 8, 1), 4)


def floats(network: nn.Module) -> dict[str, np.ndarray]:
    return {k: v.double().numpy().copy() for k, v in network.state_dict().items() if v.is_floating_point()}


def test_the_average_is_the_mean_of_weights_and_moving_statistics() -> None:
    draws = torch.Generator().manual_seed(1)
    average, states = WeightAverage(), []
    for count in range(12):
        weights = {
            name: torch.randn(tensor.shape, generator=draws) if tensor.is_floating_point() else torch.tensor(count)
            for name, tensor in network().state_dict().items()
        }
        states.append({name: tensor.double().numpy().copy() for name, tensor in weights.items()})
        average.update(weights)
    assert any("running_var" in name for name in states[0])
    for name, value in average.mean.items():
        expected = np.mean([s[name] for s in states], axis=0) if value.is_floating_point() else 11
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("last", [0.001, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 50, 99, 4690])
def test_updates_are_even_over_the_last_share_and_end_with_the_last_step(last: float, steps: int) -> None:
    due = update_steps(WeightAveraging(last=last), steps)
    assert due[-1] == steps
    assert 1 <= due[0] > steps - max(1, round(last * steps))
    assert len(due) == max(1, round(last * steps)) or 50 <= len(due) < 100
    done, stops = 0, []
    while (until := steps_until(due, done)) is not None:
        assert until > 0
        done += until
        stops.append(done)
    assert stops == list(due)
    assert len(update_steps(None, steps)) == 0


def trained(layers: tuple, last: float | None) -> list[tuple[dict, dict[str, np.ndarray]]]:
    """Each epoch's row and weights; at the end the finished network's weights."""
    averaging = None if last is None else WeightAveraging(last=last)
    recipe = Recipe(epochs=3, batch_size=32, layers=layers, loss=SPARSE, weight_averaging=averaging)
    backend, state = make_backend(network(layers), (8, 8, 1), CPU, recipe), TrainState(0)
    events = fit(backend, recipe, Examples.on(CPU, *blocks(200)), Examples.on(CPU, *blocks(60, seed=1)), state)
    epochs = [(dict(e.row), as_arrays(e.weights)) for e in events if isinstance(e, EpochEnded)]
    return [*epochs, ({}, as_arrays(state.final_weights()[0]))]


def as_arrays(weights: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {k: v.double().numpy().copy() for k, v in weights.items() if v.is_floating_point()}


KNOWN = (Flatten(), Dense(units=16, activation="relu"), Dense(units="classes"))
FOR_TORCH = (Flatten(), Dense(units=16, activation="tanh"), Dense(units="classes"))


@pytest.mark.parametrize("layers", [KNOWN, FOR_TORCH])
@pytest.mark.parametrize("last", [0.5, 1.0])
def test_a_training_ends_with_the_mean_of_a_plain_loops_last_weights(layers: tuple, last: float) -> None:
    net = network(layers)
    data = Examples.on(torch.device("cpu"), *blocks(200))
    optimizer = torch.optim.Adam(net.parameters(), 0.001, eps=1e-7)
    states = []
    for epoch in range(3):
        for rows in torch.randperm(200, generator=generator(0, Purpose.ORDER, epoch)).split(32):
            loss = nn.functional.cross_entropy(net(data.images[rows].permute(0, 3, 1, 2) / 255), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            states.append(floats(net))
    *epochs, (_, final) = trained(layers, last)
    for count, (_, weights) in enumerate(epochs, start=1):  # 7 steps an epoch, 21 in all
        passed = states[21 - round(21 * last) : 7 * count] or [states[7 * count - 1]]  # no mean yet: the last weights
        for name, value in weights.items():
            np.testing.assert_allclose(value, np.mean([s[name] for s in passed], axis=0), atol=1e-5)
    for name, value in final.items():
        np.testing.assert_allclose(value, np.mean([s[name] for s in states[-round(21 * last) :]], axis=0), atol=1e-5)


@pytest.mark.parametrize("layers", [KNOWN, FOR_TORCH])
def test_averaging_does_not_change_the_training(layers: tuple) -> None:
    plain, averaged = trained(layers, None), trained(layers, 0.1)  # the mean begins in the last epoch
    for (row, weights), (same, same_weights) in zip(plain[:2], averaged[:2], strict=True):
        assert {k: v for k, v in row.items() if k != "seconds"} == {k: v for k, v in same.items() if k != "seconds"}
        assert all(np.array_equal(weights[k], same_weights[k]) for k in weights)
    assert plain[2][0]["loss"] == averaged[2][0]["loss"]
    assert plain[2][0]["val_loss"] != averaged[2][0]["val_loss"]


def test_early_stopping_keeps_the_weights_it_validated() -> None:
    recipe = Recipe(epochs=2, layers=KNOWN, loss=SPARSE, weight_averaging=WeightAveraging(last=1.0))
    data = Examples.on(CPU, *blocks(64))
    net, state = network(KNOWN), TrainState(0)
    events = fit(make_backend(net, (8, 8, 1), CPU, recipe), recipe, data, data, state)
    drive(events, state, [StopEarly(EarlyStopping(monitor="val_loss", patience=9))])
    net.load_state_dict(state.final_weights()[0])
    logits = net(data.images.permute(0, 3, 1, 2) / 255)
    loss = nn.functional.cross_entropy(logits, data.labels).item()
    assert loss == pytest.approx(min(row["val_loss"] for row in state.history), rel=1e-4)
