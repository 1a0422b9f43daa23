import numpy as np
import pytest
import torch
from torch import nn

from misread.models.layer_specs import BatchNormalization, Dense, Flatten
from misread.models.network import build_network
from misread.training.weight_averaging import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network((Flatten(), Dense(units=5), BatchNormalization(), Dense(units="classes")), (3, 3, 1), 2)


def wander(network: nn.Module, average: WeightAverage, steps: int) -> list[dict[str, np.ndarray]]:
    """Move all weights and statistics at random, with an update after each move. Every state passed through."""
    generator = torch.Generator().manual_seed(1)
    states = []
    for _ in range(steps):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor += torch.randn(tensor.shape, generator=generator)
        average.update()
        states.append({k: v.copy() for k, v in floats(network).items()})
    return states


def floats(network: nn.Module) -> dict[str, np.ndarray]:
    return {k: v.double().numpy() for k, v in network.state_dict().items() if v.is_floating_point()}


def test_with_decay_one_it_is_the_plain_mean_of_all_updates() -> None:
    net = network()
    average = WeightAverage(net, decay=1.0)
    states = wander(net, average, 12)
    with average.averaged():
        for name, value in floats(net).items():
            np.testing.assert_allclose(value, np.mean([s[name] for s in states], axis=0), atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_it_is_a_plain_mean_first_then_exponential(decay: float) -> None:
    net = network()
    average = WeightAverage(net, decay)
    states = wander(net, average, 30)
    expected: dict[str, np.ndarray] = {}
    for count, state in enumerate(states, start=1):
        keep = min(decay, (count - 1) / count)
        expected = {k: keep * expected.get(k, 0.0) + (1 - keep) * v for k, v in state.items()}
    with average.averaged():
        for name, value in floats(net).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_the_network_has_its_own_weights_again_after_a_look_at_the_average() -> None:
    net = network()
    average = WeightAverage(net, 0.9)
    wander(net, average, 3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    places = [p.data_ptr() for p in net.parameters()]
    with average.averaged():
        assert not torch.equal(net.state_dict()["dense.weight"], before["dense.weight"])
    with pytest.raises(ZeroDivisionError), average.averaged():
        raise ZeroDivisionError
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert places == [p.data_ptr() for p in net.parameters()]  # whoever holds the tensors still holds the weights


def test_without_an_update_the_network_keeps_what_it_has() -> None:
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    WeightAverage(net, 0.9).swap()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_tensor_that_two_parts_share_is_averaged_once() -> None:
    first = nn.Linear(3, 3)
    net = nn.Sequential(first, nn.ReLU(), first)
    average = WeightAverage(net, 1.0)
    for value in (1.0, 3.0):
        nn.init.constant_(first.weight, value)
        average.update()
    average.swap()
    assert net[2].weight.unique().tolist() == [2.0]
