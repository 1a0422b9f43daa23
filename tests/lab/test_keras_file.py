"""Keras models opened without Keras predict what Keras predicted, and find their scaling."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from keras_files import BACKENDS, NETWORKS, as_numbers, change_h5, change_keras, layers, unpack
from misread.data.image_set import ImageSet
from misread.lab.keras_layers import KNOWN
from misread.lab.keras_scaling import WAYS, channel_statistics
from samples import Result


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    """The 8x8 digits that the fixtures were trained on, in the same order."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * 15).astype(np.uint8)[..., None]
    return ImageSet.from_arrays(
        images[:1200], found.target[:1200], test=(images[1200:], found.target[1200:]), name="digits-8x8"
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_predicts_what_keras_predicted(saved: Path, backend: str, network: str, suffix: str) -> None:
    model = misread.open_keras(saved / f"{backend}-{network}{suffix}")
    numbers, probs = as_numbers(saved / f"{backend}-{network}.npz")
    assert probs.std(axis=0).max() > 0.02, "the fixture's predictions have to depend on the image"
    found = model.network.probs(iter([numbers[:5], numbers[5:]]))
    np.testing.assert_allclose(found, probs, atol=2e-6)
    assert model.keras_version == "3.15.1"
    assert model.input_shape == numbers.shape[1:]


def test_the_fixtures_have_every_layer_with_a_computation(saved: Path) -> None:
    kinds = set()
    for network in NETWORKS:
        with zipfile.ZipFile(saved / f"torch-{network}.keras") as archive:
            kinds |= {layer["class_name"] for layer in layers(json.loads(archive.read("config.json")))}
    noise = {name for name in KNOWN if name.startswith(("Random", "Gaussian", "Alpha", "Spatial", "Activity"))}
    assert set(KNOWN) - noise <= kinds


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_scaling_of_the_training_is_found_on_training_images(
    saved: Path, digits: ImageSet, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = misread.open_keras(saved / f"jax-{network}.keras")
    monkeypatch.setattr(ImageSet, "test", property(lambda self: pytest.fail("the test split was used")))
    trial = model.try_scalings(digits)
    assert (trial.chosen, trial.n, trial.split) == ("unit", 1200, "train")
    assert trial.clear
    assert {row["scaling"] for row in trial.rows} == set(WAYS)
    assert f"{trial.rows[0]['accuracy']:.2%} of 1,200 training images right" in trial.text()
    expected = model.network.probs(iter([digits.train.images.astype(np.float32) / np.float32(255)]))
    losses = -np.log(expected[np.arange(1200), digits.train.labels])
    assert trial.rows[0]["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert trial.chance == pytest.approx(
        2 * (trial.rows[0]["accuracy"] * (1 - trial.rows[0]["accuracy"]) / 1200) ** 0.5
    )


def test_a_model_with_rescaling_takes_pixels_as_they_are(saved: Path, digits: ImageSet, tmp_path: Path) -> None:
    rescaling = {"module": "keras.layers", "class_name": "Rescaling", "registered_name": None,
                 "config": {"name": "rescaling", "scale": 1 / 255, "offset": 0}}  # fmt: skip
    path = change_keras(
        saved / "jax-cnn.keras", tmp_path / "inside.keras", lambda config: layers(config).insert(1, rescaling)
    )
    model = misread.open_keras(path)
    assert model.try_scalings(digits).chosen == "raw"
    assert "The file has a Rescaling layer." in model.notes()[0]
    plain = misread.open_keras(saved / "jax-cnn.keras", scaling="unit")
    np.testing.assert_allclose(model.predict(digits).probs, plain.predict(digits).probs, atol=1e-5)


def test_statistics_are_those_of_numpy_over_all_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7001, 3, 4, 3), dtype=np.uint8)
    images[..., 2] = 9
    mean, deviation = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(deviation, [*images[..., :2].std(axis=(0, 1, 2)), 1])


def test_predictions_have_misreads_a_report_and_a_comparison(saved: Path, digits: ImageSet, tmp_path: Path) -> None:
    mlp, cnn = (misread.open_keras(saved / f"torch-{name}.keras") for name in ("mlp", "cnn"))
    predictions = mlp.predict(digits)
    assert predictions.probs.shape == (597, 10)
    right = predictions.probs.argmax(axis=1) == digits.test.labels
    assert 0.8 < right.mean() < 0.99
    assert len(mlp.misreads(digits)) == (~right).sum()
    assert mlp.evaluate(digits)["misread"] == (~right).sum()
    assert "torch-mlp on digits-8x8" in mlp.report(digits, tmp_path / "page.html").read_text()
    assert misread.compare(predictions, cnn.predict(digits)).n == 597


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("linear", lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
        ("softmax", lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
    ],
)
def test_logits_become_probabilities(saved: Path, tmp_path: Path, last: str, expected: Any) -> None:
    def change(config: dict[str, Any]) -> None:
        layers(config)[-1]["config"]["activation"] = last

    model = misread.open_keras(change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", change))
    numbers, probs = as_numbers(saved / "jax-mlp.npz")
    np.testing.assert_allclose(model.network.probs(iter([numbers])), probs, atol=2e-6)


def test_one_sigmoid_gives_two_classes(saved: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        layers(config)[-1]["config"] |= {"units": 1, "activation": "sigmoid"}

    def weights(file: Any) -> None:
        place = file["layers/dense_1/vars"]
        kernel, bias = place["0"][:, :1], place["1"][:1]
        del place["0"], place["1"]
        place["0"], place["1"] = kernel, bias

    model = misread.open_keras(change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", change, weights))
    found = model.network.probs(iter([as_numbers(saved / "jax-mlp.npz")[0]]))
    assert found.shape == (24, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_the_configuration_of_keras_2_is_read(saved: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for layer in layers(config):
            own = layer["config"]
            own["dtype"] = "float32"
            if layer["class_name"] == "InputLayer":
                own["batch_input_shape"] = own.pop("batch_shape")

    model = misread.open_keras(change_h5(saved / "jax-cnn.h5", tmp_path / "old.h5", change))
    numbers, probs = as_numbers(saved / "jax-cnn.npz")
    np.testing.assert_allclose(model.network.probs(iter([numbers])), probs, atol=2e-6)


def test_opening_changes_no_random_numbers(saved: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    misread.open_keras(saved / "jax-cnn.keras")
    assert torch.equal(torch.rand(2), expected)


def test_commands_take_a_model_and_its_data(
    saved: Path, digits: ImageSet, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    data = tmp_path / "digits.npz"
    np.savez(data, x_train=digits.train.images, y_train=digits.train.labels,
             x_test=digits.test.images, y_test=digits.test.labels)  # fmt: skip
    path = saved / "torch-cnn.keras"
    misread_count = misread.open_keras(path, scaling="unit").evaluate(digits)["misread"]

    told = cli("evaluate", path, data)
    assert told.code == 0, told.err
    assert "Found by trial: scaling unit (pixels / 255, 0 to 1)" in told.out
    assert f"Misread     {misread_count} of 597" in told.out

    result = json.loads(cli("evaluate", path, data, "--scaling", "unit", "--json").out)
    assert (result["misread"], result["scaling"]) == (misread_count, {"chosen": "unit"})
    assert len(json.loads(cli("misreads", path, data, "--json").out)) == misread_count
    page = tmp_path / "page.html"
    assert json.loads(cli("report", path, data, "--out", page, "--json").out)["misread"] == misread_count
    assert page.is_file()
    both = cli("compare", saved / "torch-mlp.keras", path, "--data", data, "--json")
    assert json.loads(both.out)["n"] == 597, both.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "MODEL"], "is a Keras model, which does not know its data"),
        (["evaluate", "MODEL", "digits"], "digits has images of 28x28, not 8x8"),
        (["evaluate", "MODEL", "digits", "--scaling", "unti"], "There is no scaling 'unti'. Did you mean 'unit'?"),
        (["misreads", "MODEL", "digits", "--other", "x"], "--other and --neighbours need a run"),
        (["report", "MODEL", "digits", "--playground"], "--compare, --other and --playground need a run"),
        (["misreads", "no.keras", "digits"], "There is no file no.keras. Save a Keras model there"),
        (["misreads", "no-run", "digits"], "only a Keras model (.keras, .h5) takes DATA here"),
        (["evaluate", "no-run", "--scaling", "unit"], "--scaling is for Keras models"),
    ],
)
def test_wrong_uses_say_what_to_do(saved: Path, cli: Callable[..., Result], arguments: list[str], message: str) -> None:
    told = cli(*(str(saved / "jax-mlp.keras") if a == "MODEL" else a for a in arguments))
    assert told.code == 2
    assert message in told.err


def test_other_data_are_refused(saved: Path, digits: ImageSet) -> None:
    model = misread.open_keras(saved / "jax-mlp.keras", class_names=[f"n{i}" for i in range(10)])
    with pytest.raises(misread.DataError, match="has the classes 0, 1"):
        model.predict(digits)
    with pytest.raises(misread.RunError, match=r"3 class names were given, but .* predicts 10 classes"):
        misread.open_keras(saved / "jax-mlp.keras", class_names=["a", "b", "c"])
    few = ImageSet.from_arrays(digits.train.images[:4], np.arange(4), test=(digits.test.images[:4], np.arange(4)))
    with pytest.raises(misread.DataError, match=r"has 4 classes; .* predicts 10"):
        misread.open_keras(saved / "jax-mlp.keras").predict(few)


def test_labels_that_fit_no_scaling_give_a_warning(saved: Path, digits: ImageSet) -> None:
    images, labels = digits.train.images, (digits.train.labels + 3) % 10
    wrong = ImageSet.from_arrays(images, labels, test=(digits.test.images, digits.test.labels), name="turned")
    model = misread.open_keras(saved / "jax-cnn.keras")
    model.try_scalings(wrong)
    assert "Warning: no scaling reads these images." in model.notes()[1]
