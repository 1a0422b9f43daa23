"""Which backend a network gets, what is said of it, and that both compute the same."""

import json
from collections.abc import Sequence

import pytest
import torch
from torch import nn

import misread
from misread import ImageSet
from misread.engine import bare_chain, kernel_layers
from misread.engine.kernel_layers import layers_build
from misread.engine.library import BUILDS, _open, load_library
from misread.models import layer_specs as specs
from misread.models.layer_specs import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from misread.models.network import build_network
from misread.training import torch_backend
from misread.training.backend import Backend, using_weights
from misread.training.batches import Batch
from misread.training.choose_backend import make_backend
from misread.training.kernel_backend import KernelBackend
from misread.training.predict import Predictor
from misread.training.recipe import SGD, Adam, AdamW, Loss, Recipe, RMSprop
from misread.training.torch_backend import TorchBackend
from samples import blocks

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


CPU = torch.device("cpu")


def batch(rows: torch.Tensor | None = None, first_step: int = 0) -> Batch:
    return Batch(*data(), torch.arange(40) if rows is None else rows, 16, first_step)


def backend_for(network: nn.Module, **settings: object) -> Backend:
    recipe = Recipe.model_validate({"batch_size": 16, "loss": SPARSE, **settings})
    return make_backend(network, (8, 8, 1), CPU, recipe)


def logits_by_torch(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return TorchBackend(network, CPU).logits(images)


@compiled
@pytest.mark.parametrize("optimizer", [Adam(), AdamW()], ids=lambda o: o.name)
@pytest.mark.parametrize("layers", [LAYERS, CNN], ids=["mlp", "cnn"])
def test_the_networks_of_the_lesson_use_the_kernels(layers: tuple, optimizer: Adam | AdamW) -> None:
    backend = backend_for(network_of(layers), optimizer=optimizer)
    assert isinstance(backend, KernelBackend)
    assert (backend.capabilities.name, backend.capabilities.precision, backend.capabilities.note) == (
        "kernels",
        "float32",
        "",
    )


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
def test_an_unsupported_network_uses_torch_and_the_note_says_why(name: str) -> None:
    layers, why = UNKNOWN[name]
    network = network_of(layers)
    backend = backend_for(network)
    assert isinstance(backend, TorchBackend)
    assert backend.capabilities.name == "torch"
    assert backend.capabilities.note.startswith("not by the kernels: ")
    assert why in backend.capabilities.note
    images, _ = data()
    before = [p.detach().clone() for p in network.parameters()]
    losses, _ = backend.step(batch(), [0.01] * 3)
    assert losses.shape == (3,)
    assert all(not torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))
    assert torch.equal(make_backend(network, (8, 8, 1), CPU).logits(images), logits_by_torch(network, images))


@compiled
@pytest.mark.parametrize("optimizer", [SGD(), RMSprop()], ids=lambda o: o.name)
def test_other_optimizers_use_torch(optimizer: SGD | RMSprop) -> None:
    used = backend_for(network_of(LAYERS), optimizer=optimizer).capabilities
    assert used.note == f"not by the kernels: they support Adam and AdamW, not {optimizer.name}"


@compiled
def test_a_module_from_python_uses_torch() -> None:
    class Own(nn.Sequential):
        pass

    assert (
        backend_for(Own(nn.Flatten(), nn.Linear(64, 4))).capabilities.note
        == "not by the kernels: Own is a module from Python"
    )


@compiled
def test_frozen_weights_use_torch_and_do_not_change() -> None:
    network = network_of(LAYERS)
    frozen = next(network.parameters()).requires_grad_(False)
    before = frozen.clone()
    backend = backend_for(network)
    assert "some of these are frozen" in backend.capabilities.note
    backend.step(batch(), [0.01] * 3)
    assert torch.equal(frozen, before)


def test_without_a_compiler_torch_trains_and_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare_chain, "load_library", lambda: None)
    network = network_of(LAYERS)
    assert "without a C++ compiler" in backend_for(network).capabilities.note
    images, _ = data()
    assert torch.equal(make_backend(network, (8, 8, 1), CPU).logits(images), logits_by_torch(network, images))


@compiled
@pytest.mark.parametrize("layers", [LAYERS, CNN], ids=["mlp", "cnn"])
def test_both_backends_give_the_same_training(layers: tuple) -> None:
    recipe = Recipe(batch_size=16, loss=SPARSE, optimizer=AdamW(epsilon=1e-4))
    images, _ = data()
    ours, theirs = network_of(layers), network_of(layers)
    kernels, plain = make_backend(ours, (8, 8, 1), CPU, recipe), TorchBackend(theirs, CPU, recipe)
    assert isinstance(kernels, KernelBackend)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for part in range(3):
        given = batch(rows, 3 * part)
        (a, a_right), (b, b_right) = (backend.step(given, [0.01] * 3) for backend in (kernels, plain))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert int(a_right) == int(b_right)
    assert list(kernels.weights()) == list(plain.weights())
    for key, tensor in plain.weights().items():
        torch.testing.assert_close(kernels.weights()[key], tensor, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(kernels.logits(images), plain.logits(images), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(kernels.features(images), plain.features(images), rtol=1e-3, atol=1e-3)


@compiled
def test_the_kernels_do_not_change_the_weights_of_the_module() -> None:
    network = network_of(LAYERS)
    backend = backend_for(network)
    before = network[1].weight.detach().clone()
    backend.step(batch(), [0.01] * 3)
    assert torch.equal(network[1].weight, before)
    network.load_state_dict(backend.weights())
    assert not torch.equal(network[1].weight, before)
    images, _ = data()
    torch.testing.assert_close(backend.logits(images), logits_by_torch(network, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["kernels", "torch"])
def test_a_backend_restores_its_weights_after_using_others(kind: str) -> None:
    recipe, network, images = Recipe(batch_size=16, loss=SPARSE), network_of(CNN), data()[0]
    backend: Backend = TorchBackend(network, CPU, recipe) if kind == "torch" else backend_for(network)
    backend.step(batch(), [0.01] * 3)
    own, logits = backend.state_dict(), backend.logits(images)
    others = {name: tensor * 2 for name, tensor in backend.weights().items()}
    with using_weights(backend, others):
        assert not torch.equal(backend.logits(images), logits)
    assert torch.equal(backend.logits(images), logits)
    assert all(torch.equal(tensor, own[name]) for name, tensor in backend.state_dict().items())


@compiled
@pytest.mark.parametrize("layers", [LAYERS, CNN], ids=["mlp", "cnn"])
def test_features_follow_the_weights(layers: tuple) -> None:
    """What is kept for features is made anew when the weights change."""
    backend, images = backend_for(network_of(layers)), data()[0]
    before = backend.features(images)
    backend.step(batch(), [0.01] * 3)
    changed = backend.features(images)
    network = network_of(layers)
    network.load_state_dict(backend.weights())
    torch.testing.assert_close(changed, TorchBackend(network, CPU).features(images), rtol=1e-4, atol=1e-5)
    assert not torch.equal(changed, before)


RESIDUAL = (
    Conv2D(filters=8, kernel_size=3, padding="same", use_bias=False),
    MaxPooling2D(),
    BatchNormalization(),
    specs.Residual(layers=(Conv2D(filters=8, kernel_size=3, padding="same", use_bias=False),)),
    specs.GlobalMaxPooling2D(),
    Dense(units="classes"),
)
by_kernels = pytest.mark.skipif(not layers_build(), reason="PyTorch computes all convolutions on this machine")


@by_kernels
def test_the_kernels_convolutions_give_pytorchs_training(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = backend_for(network_of(RESIDUAL))
    monkeypatch.setattr(kernel_layers, "FASTER", ())
    plain = backend_for(network_of(RESIDUAL))
    assert plain.capabilities.build == torch.__version__
    assert ours.capabilities.build == f"{torch.__version__}, layers by kernels avx2"
    for part in range(3):
        (a, _), (b, _) = (backend.step(batch(first_step=3 * part), [0.01] * 3) for backend in (ours, plain))
        assert not torch.equal(a, b)  # other rounding: the kernels did compute
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for key, tensor in plain.weights().items():
        torch.testing.assert_close(ours.weights()[key], tensor, rtol=1e-3, atol=1e-3)


@by_kernels
@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        ((conv(padding="same"), *RESIDUAL[1:3], *RESIDUAL[4:]), {}),
        (LAYERS, {"optimizer": SGD()}),
        (RESIDUAL, {"precision": "mixed"}),
    ],
    ids=["a bias", "dense", "bf16"],
)
def test_other_networks_are_computed_by_pytorch_alone(
    layers: tuple, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "has_fast_bf16", lambda device: True)
    assert backend_for(network_of(layers), **settings).capabilities.build == torch.__version__


@by_kernels
def test_the_kernels_convolutions_predict_as_pytorch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = network_of(RESIDUAL), data()[0]
    ours = make_backend(network, (8, 8, 1), CPU)
    assert ours.capabilities.build == f"{torch.__version__}, layers by kernels avx2"
    logits, features = ours.logits(images), ours.features(images)
    monkeypatch.setattr(kernel_layers, "FASTER", ())
    plain = make_backend(network, (8, 8, 1), CPU)
    assert plain.capabilities.build == torch.__version__
    assert not torch.equal(plain.logits(images), logits)  # other rounding: the kernels did compute
    torch.testing.assert_close(logits, plain.logits(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features, plain.features(images), rtol=1e-5, atol=1e-5)


def test_a_predictor_keeps_its_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    make = make_backend
    monkeypatch.setattr(
        "misread.training.predict.make_backend", lambda network, *rest: (made.append(network), make(network, *rest))[1]
    )
    predictor = Predictor(network_of(LAYERS), (8, 8, 1), CPU)
    images, _ = blocks(40)
    first = predictor.probs(images)
    assert (first == predictor.probs(images)).all()
    assert len(made) == 1


@compiled
def test_mixed_falls_back_to_float32_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    library = load_library()
    assert library is not None
    used = backend_for(network_of(CNN), precision="mixed").capabilities
    if library.engine_has_bf16():
        assert (used.precision, used.note) == ("mixed", "")
    plain = _open("plain")
    monkeypatch.setattr(bare_chain, "load_library", lambda: plain)
    used = backend_for(network_of(CNN), precision="mixed").capabilities
    assert (used.name, used.precision, used.note) == ("kernels", "float32", "this processor has no bf16 products")
    monkeypatch.setattr(bare_chain, "load_library", lambda: None)
    monkeypatch.setattr(torch_backend, "has_fast_bf16", lambda device: False)
    used = backend_for(network_of(CNN), precision="mixed").capabilities
    assert (used.name, used.precision) == ("torch", "float32")
    assert used.note.endswith("its kernels; bf16 is not fast on this cpu")


@pytest.mark.parametrize("has", [True, False])
def test_the_record_of_a_run_names_the_backend(has: bool, block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has:
        monkeypatch.setattr(bare_chain, "load_library", lambda: None)
    elif load_library() is None:
        pytest.skip("misread was installed without a C++ compiler")
    run = misread.train(block_set, "tutorial-mlp", settings=SMALL, epochs=2, out="runs", progress=False)
    said = json.loads((run.folder / "run.json").read_text())["engine"]
    why = "not by the kernels: misread was installed without a C++ compiler, so without its kernels"
    build = said.pop("build")
    assert said == {"name": "kernels" if has else "torch", "precision": "float32", "note": "" if has else why}
    assert build in BUILDS if has else build == torch.__version__
