"""Which steps a network gets, and what is said of it."""

import json
from collections.abc import Sequence

import pytest
import torch
from torch import nn

import misread
from conftest import blocks
from misread import ImageSet
from misread.engine import chain
from misread.engine.library import _open, load_library
from misread.models import layer_specs as specs
from misread.models.layer_specs import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from misread.models.network import build_network
from misread.training import steps as steps_module
from misread.training.evaluate import predict_by_torch, predict_logits
from misread.training.recipe import SGD, Adam, AdamW, Loss, Recipe, RMSprop
from misread.training.steps import KernelSteps, Steps, TorchSteps, make_steps

compiled = pytest.mark.skipif(load_library() is None, reason="misread was installed without a C++ compiler")
SPARSE = Loss(name="sparse_categorical_crossentropy")
LAYERS = (Flatten(), Dense(units=16, activation="relu"), Dense(units="classes"))
CNN = (
    Conv2D(filters=6, kernel_size=3, use_bias=False),
    MaxPooling2D(),
    BatchNormalization(),
    specs.ActivationLayer(activation="relu"),
    Flatten(),
    Dense(units="classes"),
)
SMALL = [
    'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]',
    "validation.name=carve",
]


def network_of(layers: Sequence[specs.LayerSpec]) -> nn.Module:
    torch.manual_seed(0)
    return build_network(layers, (8, 8, 1), 4)


def data(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = blocks(n)
    return torch.from_numpy(images), torch.from_numpy(labels)


def steps_for(network: nn.Module, **settings: object) -> Steps:
    recipe = Recipe.model_validate({"batch_size": 16, "loss": SPARSE, **settings})
    return make_steps(network, recipe, data()[0], 4)


@compiled
@pytest.mark.parametrize("optimizer", [Adam(), AdamW()], ids=lambda o: o.name)
@pytest.mark.parametrize("layers", [LAYERS, CNN], ids=["mlp", "cnn"])
def test_the_networks_of_the_lesson_get_the_kernels(layers: tuple, optimizer: Adam | AdamW) -> None:
    steps = steps_for(network_of(layers), optimizer=optimizer)
    assert isinstance(steps, KernelSteps)
    assert (steps.used.name, steps.used.precision, steps.used.note) == ("kernels", "float32", "")


def conv(**settings: object) -> Conv2D:
    return Conv2D.model_validate({"filters": 4, "kernel_size": 3, "activation": "relu", **settings})


END = (Flatten(), Dense(units="classes"))
UNKNOWN: dict[str, tuple[tuple[specs.LayerSpec, ...], str]] = {
    "global pooling": (
        (conv(), specs.GlobalAveragePooling2D(), Dense(units="classes")), "no GlobalAveragePooling2D at this place",
    ),
    "average pooling": ((conv(), specs.AveragePooling2D(), *END), "no AveragePooling2D at this place"),
    "pooling of 3": ((conv(), MaxPooling2D(pool_size=3), *END), "max-pooling of 2x2 without padding"),
    "padded pooling": (
        (conv(kernel_size=2), MaxPooling2D(padding="same"), *END), "max-pooling of 2x2 without padding",
    ),
    "pooling twice": ((conv(), MaxPooling2D(), MaxPooling2D(), *END), "no MaxPooling2D at this place"),
    "strides": ((conv(strides=2), *END), "strides of 1, not (2, 2)"),
    "tanh": ((Flatten(), Dense(units=8, activation="tanh"), Dense(units="classes")), "ReLU, not tanh"),
    "gelu of its own": (
        (Flatten(), Dense(units=8), specs.ActivationLayer(activation="gelu"), Dense(units="classes")), "ReLU, not gelu",
    ),
    "linear dense": ((Flatten(), Dense(units=8), Dense(units="classes")), "dense layers with ReLU"),
    "linear conv": ((conv(activation="linear"), *END), "convolutions with ReLU"),
    "no bias": ((conv(use_bias=False), *END), "either a bias or a normalisation"),
    "bias and normalisation": (
        (conv(activation="linear"), BatchNormalization(), specs.ActivationLayer(activation="relu"), *END),
        "either a bias or a normalisation",
    ),
    "normalisation after ReLU": ((conv(), BatchNormalization(), *END), "no BatchNormalization at this place"),
    "normalisation alone": (
        (conv(activation="linear", use_bias=False), BatchNormalization(), *END), "normalisation with ReLU",
    ),
    "dropout of pixels": ((Flatten(), Dropout(rate=0.5), Dense(units="classes")), "no Dropout at this place"),
    "dropout between convolutions": ((conv(), Dropout(rate=0.5), conv(), *END), "no Dropout at this place"),
    "ReLU at the end": ((Flatten(), Dense(units="classes", activation="relu")), "end in a dense layer and a softmax"),
}  # fmt: skip


@compiled
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_network_that_the_kernels_do_not_know_is_trained_by_torch_and_it_is_said_why(name: str) -> None:
    layers, why = UNKNOWN[name]
    network = network_of(layers)
    steps = steps_for(network)
    assert isinstance(steps, TorchSteps)
    assert steps.used.name == "torch"
    assert steps.used.note.startswith("not by the kernels: ")
    assert why in steps.used.note
    images, labels = data()
    before = [p.detach().clone() for p in network.parameters()]
    losses, _ = steps.take(images, labels, torch.arange(40), [0.01] * 3)
    assert losses.shape == (3,)
    assert all(not torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))
    assert torch.equal(predict_logits(network, images), predict_by_torch(network, images))


@compiled
@pytest.mark.parametrize("optimizer", [SGD(), RMSprop()], ids=lambda o: o.name)
def test_other_optimizers_are_torchs(optimizer: SGD | RMSprop) -> None:
    used = steps_for(network_of(LAYERS), optimizer=optimizer).used
    assert used.note == f"not by the kernels: they know Adam and AdamW, not {optimizer.name}"


@compiled
def test_a_module_from_python_is_torchs() -> None:
    class Own(nn.Sequential):
        pass

    assert steps_for(Own(nn.Flatten(), nn.Linear(64, 4))).used.note == "not by the kernels: Own is a module from Python"


@compiled
def test_frozen_weights_are_torchs_and_stay_as_they_are() -> None:
    network = network_of(LAYERS)
    frozen = next(network.parameters()).requires_grad_(False)
    before = frozen.clone()
    steps = steps_for(network)
    assert "some of these are frozen" in steps.used.note
    steps.take(*data(), torch.arange(40), [0.01] * 3)
    assert torch.equal(frozen, before)


def test_without_a_compiler_torch_trains_and_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "load_library", lambda: None)
    network = network_of(LAYERS)
    assert "without a C++ compiler" in steps_for(network).used.note
    images, _ = data()
    assert torch.equal(predict_logits(network, images), predict_by_torch(network, images))


@compiled
@pytest.mark.parametrize("layers", [LAYERS, CNN], ids=["mlp", "cnn"])
def test_both_kinds_of_steps_give_the_same_training(layers: tuple) -> None:
    recipe = Recipe(batch_size=16, loss=SPARSE, optimizer=AdamW(epsilon=1e-4))
    images, labels = data()
    ours, theirs = network_of(layers), network_of(layers)
    by_kernels = make_steps(ours, recipe, images, 4)
    by_torch = TorchSteps(theirs, recipe, 4, torch.device("cpu"), "")
    assert isinstance(by_kernels, KernelSteps)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        (a, a_right), (b, b_right) = (s.take(images, labels, rows, [0.01] * 3) for s in (by_kernels, by_torch))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert int(a_right) == int(b_right)
    keys = list(ours.state_dict())
    by_kernels.write_back()
    assert list(ours.state_dict()) == keys == list(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], tensor, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(by_kernels.predict(images), by_torch.predict(images), rtol=1e-3, atol=1e-3)


@compiled
def test_the_network_has_its_old_weights_until_they_are_written_back() -> None:
    network = network_of(LAYERS)
    steps = steps_for(network)
    before = network[1].weight.detach().clone()
    steps.take(*data(), torch.arange(40), [0.01] * 3)
    assert torch.equal(network[1].weight, before)
    steps.write_back()
    assert not torch.equal(network[1].weight, before)
    torch.testing.assert_close(steps.predict(data()[0]), predict_by_torch(network, data()[0]), rtol=1e-5, atol=1e-5)


@compiled
def test_mixed_falls_back_to_float32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    library = load_library()
    assert library is not None
    used = steps_for(network_of(CNN), precision="mixed").used
    if library.engine_has_bf16():
        assert (used.precision, used.note) == ("mixed", "")
    plain = _open("plain")
    monkeypatch.setattr(chain, "load_library", lambda: plain)
    used = steps_for(network_of(CNN), precision="mixed").used
    assert (used.name, used.precision, used.note) == ("kernels", "float32", "this processor has no bf16 products")
    monkeypatch.setattr(chain, "load_library", lambda: None)
    monkeypatch.setattr(steps_module, "has_fast_bf16", lambda device: False)
    used = steps_for(network_of(CNN), precision="mixed").used
    assert (used.name, used.precision) == ("torch", "float32")
    assert used.note.endswith("its kernels; bf16 is not fast on this cpu")


@pytest.mark.parametrize("has", [True, False])
def test_the_record_of_a_run_says_what_computed_it(
    has: bool, block_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has:
        monkeypatch.setattr(chain, "load_library", lambda: None)
    elif load_library() is None:
        pytest.skip("misread was installed without a C++ compiler")
    run = misread.train(block_set, "tutorial-mlp", settings=SMALL, epochs=2, out="runs", progress=False)
    said = json.loads((run.folder / "run.json").read_text())["engine"]
    why = "not by the kernels: misread was installed without a C++ compiler, so without its kernels"
    assert said == {"name": "kernels" if has else "torch", "precision": "float32", "note": "" if has else why}
