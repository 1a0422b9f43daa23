"""`misread export --to keras`, read back; also by real Keras if MISREAD_KERAS_PYTHON names a Python that has it."""

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import misread
from misread.data.image_set import ImageSet
from misread.lab.keras_writer import keras_file
from misread.models.layers import BatchNormalization
from misread.training.networks import predictor_network, recipe_network
from misread.training.predict import Predictor
from misread.training.recipe import load_recipe
from samples import Result

PREDICTS = Path(__file__).parents[2] / "benchmarks" / "peers" / "keras_predicts.py"
INNER = 'layers=[{type="Conv2D", filters=5, kernel_size=3, padding="same"}, {type="BatchNormalization"}]'
LAYERS = (
    'layers=[{type="Whitening", filters=8, kernel_size=2, activation="gelu"}, '
    '{type="Conv2D", filters=5, kernel_size=[3, 2], strides=2, padding="same", use_bias=false}, '
    '{type="BatchNormalization", epsilon=0.02}, {type="Activation", activation="leaky_relu"}, '
    f'{{type="Residual", {INNER}}}, {{type="MaxPooling2D", strides=1, padding="same"}}, {{type="AveragePooling2D"}}, '
    '{type="Dropout", rate=0.3}, LAST, {type="Dense", units=6, activation="tanh"}, {type="Dense", units="classes"}]'
)
VARIANTS = {
    "one": [],
    "views": ["test_time_augmentation.shift=1", "test_time_augmentation.flip=true"],
    "members": ["members=3"],
    "views and members": ["members=2", "test_time_augmentation.shift=2"],
}


def written(settings: list[str], folder: Path, recipe: str = "tutorial-mlp") -> tuple[Path, np.ndarray, np.ndarray]:
    """A file of a network with random weights; images, and the network's own probabilities."""
    rng, shape = np.random.default_rng(0), (12, 9, 3)
    images = (rng.integers(0, 256, (40, *shape)) * rng.random((40, 1, 1, 3))).astype(np.uint8)
    chosen = load_recipe(recipe, settings)
    network = recipe_network(chosen, shape, 4, images)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, BatchNormalization):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data += torch.randn_like(tensor) * 0.3
            module.running_var.data += torch.rand_like(module.running_var)
    network = predictor_network(network, chosen).eval()
    path = folder / "model.keras"
    path.write_bytes(keras_file(network, shape, {"class_names": '["a", "b", "c", "d"]'}, "model", "2026"))
    return path, images, Predictor(network, shape, torch.device("cpu")).probs(images)


def settings_of(variant: str, last: str) -> list[str]:
    return [LAYERS.replace("LAST", f'{{type="{last}"}}'), *VARIANTS[variant]]


@pytest.mark.parametrize("last", ["Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_written_network_is_read_back(tmp_path: Path, variant: str, last: str) -> None:
    path, images, probs = written(settings_of(variant, last), tmp_path)
    assert probs.std(axis=0).max() > 0.01
    model = misread.open_keras(path)
    data = ImageSet.from_arrays(images, np.arange(40) % 4, test=(images, np.arange(40) % 4), class_names=list("abcd"))
    np.testing.assert_allclose(model.predict(data).probs, probs, atol=2e-6)
    assert (model.class_names, model.scaling) == (("a", "b", "c", "d"), "raw")


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_keras_gives_the_same_probabilities(tmp_path: Path, variant: str) -> None:
    python = os.environ.get("MISREAD_KERAS_PYTHON")
    if not python:
        pytest.skip("MISREAD_KERAS_PYTHON names no Python with Keras")
    path, images, probs = written(settings_of(variant, "Flatten"), tmp_path)
    np.savez(tmp_path / "images.npz", images=images)
    backend = {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "torch")}
    subprocess.run(
        [python, PREDICTS, path, tmp_path / "images.npz", tmp_path / "probs.npy"],
        check=True, capture_output=True, env={**os.environ, **backend},
    )  # fmt: skip
    np.testing.assert_allclose(np.load(tmp_path / "probs.npy"), probs, atol=2e-6)


def test_the_layers_are_keras_own_and_a_run_gives_the_same_bytes(tmp_path: Path) -> None:
    path, _, _ = written(settings_of("views", "Flatten"), tmp_path)
    first = path.read_bytes()
    assert written(settings_of("views", "Flatten"), tmp_path)[0].read_bytes() == first
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    assert {layer["module"] for layer in config["config"]["layers"]} == {"keras.layers"}
    assert [layer["class_name"] for layer in config["config"]["layers"]][-1] == "Average"


def test_a_run_is_exported_after_its_replay(run: misread.Run, cli: Callable[..., Result]) -> None:
    told = cli("export", run.folder, "--to", "keras", "--json")
    assert told.code == 0, told.err
    (export,) = json.loads(told.out)
    assert export["replay"]["images"] == 80
    assert export["replay"]["changed"] == 0
    model = misread.open_keras(run.folder / "export" / "model.keras")
    assert model.class_names == run.record.data.class_names
    np.testing.assert_allclose(model.predict(run.data).probs, run.predictions().probs, atol=1e-5)


def test_a_module_from_python_is_refused() -> None:
    with pytest.raises(misread.RunError, match="Keras has no layers for a pretrained backbone or a module from Python"):
        keras_file(torch.nn.Sequential(torch.nn.Flatten()), (4, 4, 1), {}, "m", "2026")
