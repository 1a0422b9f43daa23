"""Dense layers whose inputs have few zeros, as those of photographs, and batches that mix them with black images."""

import copy

import numpy as np
import pytest
import torch
from engine_cases import (
    BATCH,
    CLASSES,
    CLASSIFY,
    LIBRARY,
    NETWORKS,
    Shape,
    build,
    builds_here,
    dense,
    network_of,
    photographs,
    training_chain,
)
from test_chain import CLOSE, assert_same_state, distance, named_grads, predict_by_torch, train_plainly
from torch import Tensor

from misread.engine import bare_chain
from misread.engine.chain import FIRST_MOMENTS, SECOND_MOMENTS, Chain
from misread.engine.library import Hyper, _open
from misread.models.layer_specs import Flatten
from misread.models.network import Network, to_input
from misread.training.device import using_threads

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no compiled kernels")
HAS_BF16 = LIBRARY is not None and bool(LIBRARY.engine_has_bf16())
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="no bf16 products on this processor")
DENSE_FIRST = [name for name in NETWORKS if name.startswith(("softmax", "mlp"))]


def all_densities(n: int, shape: Shape) -> Tensor:
    """(n, H, W, C) from black to without a zero, in no order."""
    rng = np.random.default_rng(2)
    images = photographs(n, shape)[0].numpy()
    black = rng.random(images.shape) < rng.permutation(np.linspace(0, 1, n)).reshape(n, 1, 1, 1)
    return torch.from_numpy(np.where(black, 0, images).astype(np.uint8))


@pytest.mark.parametrize("build_name", builds_here())
@pytest.mark.parametrize("name", [*DENSE_FIRST, "conv pool, colour", "norms"])
@pytest.mark.parametrize(("n", "threads"), [(2 * BATCH + 13, 1), (2 * BATCH + 1, 2), (BATCH + 6, 3)])
def test_every_build_trains_on_photographs_as_torch_optim(
    monkeypatch: pytest.MonkeyPatch, n: int, threads: int, name: str, build_name: str
) -> None:
    library = _open(build_name)
    monkeypatch.setattr(bare_chain, "load_library", lambda: library)
    network, shape = build(name)
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    images, labels = photographs(n, shape)
    rates = [0.01, 0.004, 0.002][: -(-n // BATCH)]
    torch.testing.assert_close(Chain(network, shape).predict(images), predict_by_torch(network, images), **CLOSE)
    with using_threads(threads):
        chain = training_chain(network, shape)
    losses, _ = chain.train(images, labels, torch.arange(n), rates, 0)
    expected, _, _ = train_plainly(plain, images, labels, rates)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    network.load_state_dict(chain.weights())
    assert_same_state(network, plain, before, within=1e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_black_batches_between_photographs_follow_torch_optim(threads: int) -> None:
    network, shape = build("mlp 100 33 7")
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    images, labels = photographs(4 * BATCH, shape)
    images[BATCH : 2 * BATCH] = 0  # a whole batch
    images[2 * BATCH + 1 :: 3] = 0  # and some of the others
    images[3 * BATCH :, :5] = 0  # some inputs of one
    with using_threads(threads):
        chain = training_chain(network, shape)
    losses, _ = chain.train(images, labels, torch.arange(4 * BATCH), [0.01] * 4, 0)
    expected, _, _ = train_plainly(plain, images, labels, [0.01] * 4)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    network.load_state_dict(chain.weights())
    assert_same_state(network, plain, before, within=1e-3)


def in_bf16(x: Tensor) -> Tensor:
    return x.bfloat16().double()


@needs_bf16
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [BATCH, BATCH - 3, 1])
@pytest.mark.parametrize("shape", [(9, 11, 3), (9, 11, 1), (3, 43, 1)])  # odd numbers of inputs, just above two blocks
def test_mixed_products_are_those_of_factors_rounded_to_bf16(shape: Shape, n: int, threads: int) -> None:
    """Forward and in the weights' gradient, where no pixel is black; sums, biases and the loss are float32."""
    network = network_of((Flatten(), CLASSIFY), shape)
    weight, bias = (p.detach().double() for p in network.parameters())
    images, labels = photographs(n, shape, zeros=0.0)
    with using_threads(threads):
        chain = training_chain(network, shape, mixed=True)
    x = to_input(images).movedim(1, -1).reshape(n, -1)
    logits = in_bf16(x) @ in_bf16(weight).T + bias
    torch.testing.assert_close(chain.predict(images).double(), logits, **CLOSE)
    losses, _ = chain.train(images, labels, torch.arange(n), [0.01], 0)
    g = (logits.softmax(1) - torch.eye(CLASSES)[labels]) / n
    assert losses[0] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    weight_gradient, bias_gradient = named_grads(chain, 0.9)
    # a factor at the edge between two bf16 numbers may fall to either side
    assert distance(weight_gradient, in_bf16(g).T @ in_bf16(x)) < 1e-3
    assert distance(bias_gradient, g.sum(0)) < 1e-5


@needs_bf16
@pytest.mark.parametrize("name", ["mlp 100 33 7", "mlp 200", "conv pool, colour", "norms"])
def test_mixed_on_photographs_is_float32_to_the_rounding_of_bf16(name: str) -> None:
    images, labels = photographs(BATCH, NETWORKS[name][1])
    grads, losses = [], []
    for mixed in (False, True):
        network, shape = build(name)
        chain = training_chain(network, shape, mixed=mixed)
        losses.append(chain.train(images, labels, torch.arange(BATCH), [0.01], 0)[0][0])
        grads.append(torch.cat([g.ravel() for g in named_grads(chain, 0.9)]))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert 1e-6 < distance(grads[1], grads[0]) < 0.1


@pytest.mark.parametrize("mixed", [False, True] if HAS_BF16 else [False])
@pytest.mark.parametrize("name", [*DENSE_FIRST, "conv pool, colour"])
def test_logits_do_not_depend_on_how_many_zeros_the_images_beside_have(name: str, mixed: bool) -> None:
    network, shape = build(name)
    images = all_densities(33, shape)
    logits = Chain(network, shape, mixed=mixed).predict(images)
    for batch_size, threads in ((1, 1), (7, 1), (16, 2), (33, 3)):
        with using_threads(threads):
            other = Chain(network, shape, batch_size=batch_size, mixed=mixed)
        assert torch.equal(other.predict(images), logits)
        assert torch.equal(other.predict(images.flip(0)).flip(0), logits)
    if mixed:
        torch.testing.assert_close(logits, predict_by_torch(network, images), rtol=0.05, atol=0.05)
    else:
        torch.testing.assert_close(logits, predict_by_torch(network, images), **CLOSE)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("mixed", [False, True] if HAS_BF16 else [False])
def test_a_training_resumed_between_photographs_and_black_images_is_the_uninterrupted_one(
    mixed: bool, threads: int
) -> None:
    network = network_of((Flatten(), dense(100), CLASSIFY), (9, 11, 3))
    images = torch.cat([photographs(BATCH, (9, 11, 3))[0], all_densities(3 * BATCH + 5, (9, 11, 3))])
    labels = torch.arange(len(images)) % CLASSES
    rates = [0.01] * 5

    def chain_of(source: Network) -> Chain:
        with using_threads(threads):
            return training_chain(copy.deepcopy(source), (9, 11, 3), Hyper(0.9, 0.999, 1e-7, 0.0, 0.0), mixed=mixed)

    whole = chain_of(network)
    losses, _ = whole.train(images, labels, torch.arange(len(images)), rates, 0)
    first = chain_of(network)
    done = 3 * BATCH
    first_losses, _ = first.train(images, labels, torch.arange(done), rates[:3], 0)
    second = chain_of(network)
    second.load_weights(first.weights())
    for which in (FIRST_MOMENTS, SECOND_MOMENTS):
        second.load_moments(which, first.moments(which))
    second_losses, _ = second.train(images, labels, torch.arange(done, len(images)), rates[3:], 3)
    assert losses.tolist() == [*first_losses, *second_losses]
    for ours, theirs in zip(second.weights().values(), whole.weights().values(), strict=True):
        assert torch.equal(ours, theirs)
