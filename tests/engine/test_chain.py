"""The compiled kernels against plain autograd in float64 and torch.optim."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_cases import (
    ADAM,
    BATCH,
    CLASSES,
    CLASSIFY,
    LIBRARY,
    NETWORKS,
    Shape,
    build,
    builds_here,
    conv,
    dense,
    network_of,
    pictures,
    training_chain,
)
from torch import Tensor, nn

from misread.engine import bare_chain
from misread.engine.chain import FIRST_MOMENTS, Chain, UnknownNetwork
from misread.engine.library import Hyper, _open
from misread.models.layer_specs import Dropout, Flatten, MaxPooling2D
from misread.models.network import to_input
from misread.training.device import using_threads
from misread.training.torch_backend import TorchBackend

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no compiled kernels")


def predict_by_torch(network: nn.Module, images: Tensor) -> Tensor:
    return TorchBackend(network, torch.device("cpu")).logits(images)


class Masked(nn.Module):
    """Dropout by a mask that is given."""

    def __init__(self, rate: float, mask: Callable[[tuple[int, ...]], Tensor]) -> None:
        super().__init__()
        self.rate, self.mask = rate, mask

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask(tuple(x.shape)) / (1 - self.rate)


def train_plainly(
    network: nn.Module, images: Tensor, labels: Tensor, rates: Sequence[float], hyper: Hyper = ADAM
) -> tuple[list[float], int, list[Tensor]]:
    """Losses, how many were right, and the first step's gradients, in float64; the network is trained in place."""
    network.double().train()
    make = torch.optim.AdamW if hyper.weight_decay else torch.optim.Adam
    optimizer = make(
        network.parameters(), betas=(hyper.beta_1, hyper.beta_2), eps=hyper.epsilon, weight_decay=hyper.weight_decay
    )
    losses, right, first = [], 0, []
    for x, y, rate in zip(images.split(BATCH), labels.split(BATCH), rates, strict=True):
        logits = network(to_input(x).double())
        loss = F.cross_entropy(logits, y, label_smoothing=hyper.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        first = first or [p.grad.clone() for p in network.parameters()]
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
        right += int((logits.argmax(1) == y).sum())
    return losses, right, first


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Of what may be zero altogether; relative to the norm elsewhere."""
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-6))


def assert_same_state(network: nn.Module, plain: nn.Module, before: nn.Module, within: float) -> None:
    """The updates are the same, relative to their norm."""
    start = before.state_dict()
    theirs = plain.state_dict()
    for name, ours in network.state_dict().items():
        if ours.is_floating_point():
            moved, should = ours.double() - start[name].double(), theirs[name] - start[name].double()
            allowed = within * float(should.norm()) + 1e-7 * float(theirs[name].norm())
            assert float((moved - should).norm()) <= allowed, name


def named_grads(chain: Chain, beta_1: float) -> list[Tensor]:
    """In the order of the network's parameters, after the first step."""
    return [moment / (1 - beta_1) for moment in chain.moments(FIRST_MOMENTS).values()]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_that_of_plain_autograd_and_torch_optim(name: str, threads: int) -> None:
    network, shape = build(name)
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    images, labels = pictures(13, shape)
    with using_threads(threads):
        chain = training_chain(network, shape)
    losses, right = chain.train(images, labels, torch.arange(13), [0.01], 0)
    expected, expected_right, grads = train_plainly(plain, images, labels, [0.01])
    assert losses[0] == pytest.approx(expected[0], rel=1e-6)
    assert right == expected_right
    for ours, theirs in zip(named_grads(chain, 0.9), grads, strict=True):
        assert distance(ours, theirs) < 1e-5
    network.load_state_dict(chain.weights())
    assert_same_state(network, plain, before, within=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [3 * BATCH, 2 * BATCH + 7, 2 * BATCH + 1, 1])
@pytest.mark.parametrize("name", ["mlp 100 33 7", "conv valid conv same", "norms"])
def test_several_steps_in_one_call_follow_torch_optim(name: str, n: int, threads: int) -> None:
    """With a last batch that is short, down to one image, and rows in an order of their own."""
    network, shape = build(name)
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    images, labels = pictures(60, shape)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(1))[:n]
    rates = [0.01, 0.004, 0.002][: -(-n // BATCH)]
    with using_threads(threads):
        chain = training_chain(network, shape)
    losses, right = chain.train(images, labels, rows, rates, 0)
    expected, expected_right, _ = train_plainly(plain, images[rows], labels[rows], rates)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert right == expected_right
    network.load_state_dict(chain.weights())
    assert_same_state(network, plain, before, within=1e-3)


@pytest.mark.parametrize(
    "hyper",
    [
        Hyper(0.9, 0.999, 1e-4, 0.0, 0.1),
        Hyper(0.8, 0.9, 1e-4, 0.3, 0.0),
        Hyper(0.0, 0.99, 1e-3, 0.01, 0.25),
        Hyper(0.9, 0.999, 1e-7, 0.0, 0.0),
    ],
    ids=["label smoothing", "weight decay", "beta_1 of 0, both", "keras's epsilon"],
)
@pytest.mark.parametrize("name", ["mlp 20", "conv pool", "norms"])
def test_every_setting_of_adam_and_the_loss_is_followed(name: str, hyper: Hyper) -> None:
    network, shape = build(name)
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    images, labels = pictures(3 * BATCH, shape)
    chain = training_chain(network, shape, hyper)
    losses, _ = chain.train(images, labels, torch.arange(3 * BATCH), [0.01] * 3, 0)
    expected, _, _ = train_plainly(plain, images, labels, [0.01] * 3, hyper)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    network.load_state_dict(chain.weights())
    # with a tiny epsilon the step of a weight whose gradient is rounding alone has a sign by chance
    assert_same_state(network, plain, before, within=1e-3 if hyper.epsilon > 1e-6 else 0.02)


def test_calls_that_follow_one_another_are_as_one() -> None:
    images, labels = pictures(4 * BATCH, (9, 11, 1))
    finals = []
    for parts in ([4], [1, 3], [1, 1, 1, 1]):
        network, shape = build("conv pool")
        chain = training_chain(network, shape)
        rows = torch.arange(4 * BATCH)
        for part in parts:
            first_step = 4 - len(rows) // BATCH
            chain.train(images, labels, rows[: part * BATCH].contiguous(), [0.01] * part, first_step)
            rows = rows[part * BATCH :]
        finals.append(next(iter(chain.weights().values())))
    assert torch.equal(finals[0], finals[1])
    assert torch.equal(finals[0], finals[2])


def lowbias32(x: np.ndarray) -> np.ndarray:
    """Chris Wellons' hash of 32 bits, in its best known constants."""
    x = x.astype(np.uint32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
    return x ^ (x >> np.uint32(15))


def kept(seed: int, step: int, images: int, layer: int, inputs: int, rate: float) -> np.ndarray:
    """(images, inputs) bool: what the dropout behind a layer keeps."""
    with np.errstate(over="ignore"):
        key = lowbias32(lowbias32(np.array([seed])) + np.uint32(step))
        keys = lowbias32(key + np.arange(images, dtype=np.uint32) * np.uint32(64) + np.uint32(layer))
        drawn = lowbias32(keys[:, None] + np.arange(inputs, dtype=np.uint32))
    return drawn >= np.uint32(np.float32(rate).astype(float) * 2**32)


def flat_mask(seed: int, layer: int, rate: float) -> Callable[[tuple[int, ...]], Tensor]:
    """For layers in torch's order; the kernels number images' values channels last. The step counts by itself."""
    step = iter(range(100))

    def mask(shape: tuple[int, ...]) -> Tensor:
        last = (shape[0], *shape[2:], shape[1])
        values = kept(seed, next(step), shape[0], layer, int(np.prod(shape[1:])), rate)
        return torch.from_numpy(values.reshape(last)).movedim(-1, 1)

    return mask


BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))


@pytest.mark.parametrize("rate", [0.5, BELOW_1])
@pytest.mark.parametrize("threads", [1, 2])
def test_dropout_is_that_of_the_hash(threads: int, rate: float) -> None:
    layers = (
        conv(10), MaxPooling2D(), Dropout(rate=0.25), Flatten(), dense(100), Dropout(rate=rate), dense(20), CLASSIFY,
    )  # fmt: skip
    network = network_of(layers, (9, 11, 3))
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    for layer, (name, own) in enumerate((("dropout", 0.25), ("dropout_1", rate))):
        plain._modules[name] = Masked(own, flat_mask(7, layer, own))
    images, labels = pictures(2 * BATCH + 3, (9, 11, 3))
    with using_threads(threads):
        chain = training_chain(network, (9, 11, 3), dropout_key=7)
    rows = torch.arange(len(labels))
    losses, right = chain.train(images, labels, rows, [0.01] * 3, 0)
    expected, expected_right, _ = train_plainly(plain, images, labels, [0.01] * 3)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert right == expected_right
    network.load_state_dict(chain.weights())
    assert_same_state(network, plain, before, within=1e-3)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_each_step_image_and_layer_draws_for_itself(rate: float) -> None:
    masks = [kept(seed, step, 64, layer, 500, rate) for seed in (0, 1) for step in (0, 1) for layer in (0, 1)]
    spread = np.sqrt(rate * (1 - rate) / (64 * 500))
    for mask in masks:
        assert abs(mask.mean() - (1 - rate)) < 5 * spread
        assert abs(mask.mean(axis=0).std() - np.sqrt(rate * (1 - rate) / 64)) < 0.01  # no place is favoured
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.03
    assert np.abs(np.corrcoef(masks[0])[np.triu_indices(64, 1)]).max() < 0.25


@pytest.mark.skipif(LIBRARY is None or not LIBRARY.engine_has_bf16(), reason="no bf16 products on this processor")
@pytest.mark.parametrize("name", ["mlp 100 33 7", "conv pool, colour", "three convs", "norms"])
def test_mixed_is_float32_to_the_rounding_of_bf16(name: str) -> None:
    """bf16 has 8 significant bits; where a ReLU or a pooling then chooses otherwise, that adds to the rounding."""
    images, labels = pictures(BATCH, NETWORKS[name][1])
    steps = []
    for mixed in (False, True):
        network, shape = build(name)
        chain = training_chain(network, shape, mixed=mixed)
        losses, _ = chain.train(images, labels, torch.arange(BATCH), [0.01], 0)
        steps.append((losses[0], torch.cat([g.ravel() for g in named_grads(chain, 0.9)])))
        assert chain.mixed is mixed
    (loss, grads), (mixed_loss, mixed_grads) = steps
    assert mixed_loss == pytest.approx(loss, rel=0.01)
    assert 1e-6 < distance(mixed_grads, grads) < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_those_of_torch(name: str) -> None:
    network, shape = build(name)
    images, _ = pictures(33, shape)
    torch.testing.assert_close(Chain(network, shape).predict(images), predict_by_torch(network, images), **CLOSE)


CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("name", [name for name in NETWORKS if "conv" in name or name == "norms"])
def test_a_single_pixel_is_seen_by_every_layer_wherever_it_lies(name: str) -> None:
    """All that does not see it is taken from an image of zeros."""
    network, shape = build(name)
    places = [(y, x) for y in range(shape[0]) for x in range(shape[1])]
    images = torch.zeros(len(places), *shape, dtype=torch.uint8)
    for image, place in zip(images, places, strict=True):
        image[place] = 200
    torch.testing.assert_close(Chain(network, shape).predict(images), predict_by_torch(network, images), **CLOSE)


@pytest.mark.parametrize(("batch_size", "threads"), [(2, 3), (7, 4), (19, 2), (None, 3)])
def test_threads_predict_their_own_images_however_many_are_left_for_the_last_step(
    batch_size: int | None, threads: int
) -> None:
    network, shape = build("norms")
    images, _ = pictures(60, shape)
    expected = predict_by_torch(network, images)
    with using_threads(threads):
        chain = Chain(network, shape, batch_size=batch_size)
    for n in range(1, 61):
        torch.testing.assert_close(chain.predict(images[:n]), expected[:n], **CLOSE)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_is_predicted_alike_alone_and_among_others_bit_for_bit(name: str) -> None:
    network, shape = build(name)
    images, _ = pictures(33, shape)
    chain = Chain(network, shape)
    logits = chain.predict(images)
    for batch_size, threads in ((1, 1), (7, 1), (16, 2), (33, 3)):
        with using_threads(threads):
            other = Chain(network, shape, batch_size=batch_size)
        assert torch.equal(other.predict(images), logits)
    for cut in (1, 2, 17, 32):
        parts = torch.cat([chain.predict(images[:cut]), chain.predict(images[cut:])])
        assert torch.equal(parts, logits)
    for neighbours in (torch.zeros_like(images), torch.full_like(images, 255), images.flip(0)):
        neighbours = neighbours.clone()
        neighbours[5] = images[5]
        assert torch.equal(chain.predict(neighbours)[5], logits[5])
    assert chain.predict(images[:0]).shape == (0, CLASSES)


def test_a_chain_that_trains_predicts_between_steps_without_disturbing_them() -> None:
    images, labels = pictures(40, (9, 11, 3))
    finals = []
    for looks in (False, True):
        network, shape = build("norms")
        chain = training_chain(network, shape)
        for step, part in enumerate(torch.arange(40).split(BATCH)):
            chain.train(images, labels, part.contiguous(), [0.01], step)
            if looks:
                network.load_state_dict(chain.weights())
                torch.testing.assert_close(chain.predict(images), predict_by_torch(network, images), **CLOSE)
        network.load_state_dict(chain.weights())
        finals.append(torch.cat([p.detach().ravel() for p in network.parameters()]))
    assert torch.equal(*finals)


@pytest.mark.parametrize("build_name", builds_here())
@pytest.mark.parametrize("name", NETWORKS)
def test_every_build_predicts_and_trains_alike(monkeypatch: pytest.MonkeyPatch, name: str, build_name: str) -> None:
    library = _open(build_name)
    monkeypatch.setattr(bare_chain, "load_library", lambda: library)
    network, shape = build(name)
    before, plain = copy.deepcopy(network), copy.deepcopy(network)
    images, labels = pictures(BATCH + 3, shape)
    torch.testing.assert_close(Chain(network, shape).predict(images), predict_by_torch(network, images), **CLOSE)
    with using_threads(2):
        chain = training_chain(network, shape)
    losses, _ = chain.train(images, labels, torch.arange(BATCH + 3), [0.01] * 2, 0)
    expected, _, _ = train_plainly(plain, images, labels, [0.01] * 2)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    network.load_state_dict(chain.weights())
    assert_same_state(network, plain, before, within=1e-3)


def test_the_first_build_of_this_processor_is_the_one_that_is_used() -> None:
    first = _open(builds_here()[0])
    assert first is not None
    assert LIBRARY is not None
    assert LIBRARY._name == first._name


@pytest.mark.parametrize("name", ["mlp 20", "norms"])
def test_the_weights_are_the_networks_own_where_nothing_was_trained(name: str) -> None:
    network, shape = build(name)
    before = network.state_dict()
    after = training_chain(network, shape).weights()
    assert list(after) == list(before)
    for key, tensor in before.items():
        assert torch.equal(after[key], tensor), key


def test_images_taller_than_the_list_of_black_rows() -> None:
    """Beyond 512 rows black windows are no longer left out: the same numbers."""
    network = network_of((conv(3), MaxPooling2D(), Flatten(), CLASSIFY), (530, 3, 1))
    images, _ = pictures(2, (530, 3, 1))
    torch.testing.assert_close(
        Chain(network, (530, 3, 1)).predict(images), predict_by_torch(network, images), rtol=1e-4, atol=1e-4
    )


def test_a_batch_that_is_too_large_is_refused() -> None:
    network, shape = build("mlp 20")
    with pytest.raises(UnknownNetwork, match="65,536 images are more than the 65,535"):
        Chain(network, shape, batch_size=65_536)


NANS = {"usual": 0x7FC00000, "all bits": 0x7FFFFFFF, "negative": 0xFFFFFFFF}


@pytest.mark.parametrize("mixed", [False, True] if LIBRARY is not None and LIBRARY.engine_has_bf16() else [False])
@pytest.mark.parametrize("nan", NANS)
@pytest.mark.parametrize("name", ["mlp 20", "conv pool", "norms"])
def test_weights_that_are_not_numbers_are_seen_in_the_loss_and_the_logits(name: str, nan: str, mixed: bool) -> None:
    """ReLU and bf16 let NaN through: a training that diverged must not look healthy."""
    network, shape = build(name)
    with torch.no_grad():
        next(network.parameters())[0] = torch.from_numpy(np.array([NANS[nan]], np.uint32).view(np.float32))[0]
    images, labels = pictures(BATCH, shape)
    images[images == 0] = 1  # a product with an exact zero is left out, whatever the other factor
    assert Chain(network, shape, mixed=mixed).predict(images).isnan().all()
    losses, _ = training_chain(network, shape, mixed=mixed).train(images, labels, torch.arange(BATCH), [0.01], 0)
    assert np.isnan(losses).all()


@pytest.mark.parametrize("name", ["mlp 20", "conv pool"])
@pytest.mark.parametrize("shape", [(9, 11, 3), (12, 14, 1)])
def test_images_that_do_not_fit_the_weights_are_refused(name: str, shape: Shape) -> None:
    with pytest.raises(UnknownNetwork, match=r"takes [\d,]+ inputs, but gets [\d,]+ from these images"):
        Chain(build(name)[0], shape)
