"""A training that goes on in a new chain is the one that was never interrupted, bit for bit."""

import copy

import pytest
import torch
from engine_cases import CLASSIFY, LIBRARY, NETWORKS, Shape, conv, dense, network_of, pictures
from torch import Tensor, nn

from misread.engine.chain import FIRST_MOMENTS, SECOND_MOMENTS, Chain
from misread.engine.library import Hyper
from misread.models import layer_specs as specs
from misread.models.layer_specs import Dropout, Flatten, MaxPooling2D
from misread.training.device import using_threads

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no compiled kernels")

DROPPING = (
    conv(10), MaxPooling2D(), Dropout(rate=0.25), Flatten(), dense(100), Dropout(rate=0.5), dense(20), CLASSIFY,
)  # fmt: skip
RESUMED: dict[str, tuple[tuple[specs.LayerSpec, ...], Shape]] = {**NETWORKS, "dropout": (DROPPING, (9, 11, 3))}
HYPER = Hyper(0.9, 0.999, 1e-7, 0.01, 0.1)
BATCH = 8
HAS_BF16 = LIBRARY is not None and bool(LIBRARY.engine_has_bf16())


def chain_of(network: nn.Module, shape: Shape, mixed: bool) -> Chain:
    return Chain(copy.deepcopy(network), shape, batch_size=BATCH, training=HYPER, mixed=mixed, dropout_key=7)


def state(chain: Chain) -> dict[str, Tensor]:
    parts = {"w": chain.weights(), "m": chain.moments(FIRST_MOMENTS), "v": chain.moments(SECOND_MOMENTS)}
    return {f"{part} {name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("mixed", [False, True] if HAS_BF16 else [False])
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(name: str, mixed: bool, threads: int) -> None:
    """Interrupted after an odd number of steps: the kernels turn the order of a layer's blocks with every step."""
    layers, shape = RESUMED[name]
    network = network_of(layers, shape)
    images, labels = pictures(40, shape)
    rows, rates = torch.arange(40).repeat(2)[: 5 * BATCH + 3], [0.01, 0.02, 0.01, 0.005, 0.01, 0.01]
    done = 3 * BATCH
    with using_threads(threads):
        whole = chain_of(network, shape, mixed)
        losses, right = whole.train(images, labels, rows, rates, 0)

        first = chain_of(network, shape, mixed)
        first_losses, first_right = first.train(images, labels, rows[:done].contiguous(), rates[:3], 0)
        first.predict(images)
        weights, moments = first.weights(), [first.moments(which) for which in (FIRST_MOMENTS, SECOND_MOMENTS)]

        with torch.no_grad():  # nothing of the new chain's own start may remain
            for tensor in network.state_dict().values():
                tensor.add_(1)
        second = chain_of(network, shape, mixed)
        second.load_weights(weights)
        second.load_moments(FIRST_MOMENTS, moments[0])
        second.load_moments(SECOND_MOMENTS, moments[1])
        second_losses, second_right = second.train(images, labels, rows[done:].contiguous(), rates[3:], 3)
    assert losses.tolist() == [*first_losses, *second_losses]
    assert right == first_right + second_right
    resumed = state(second)
    for key, tensor in state(whole).items():
        if not key.endswith("num_batches_tracked"):  # which the kernels do not count
            assert torch.equal(resumed[key], tensor), key
    assert torch.equal(second.predict(images), whole.predict(images))
