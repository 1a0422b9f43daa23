"""A small trained run that can be opened again from its folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.training.device import using_threads
from samples import blocks

LAYERS = (
    'layers=[{type="Conv2D", filters=6, kernel_size=3, activation="relu", use_bias=false}, {type="MaxPooling2D"}, '
    '{type="BatchNormalization", momentum=0.6}, {type="Flatten"}, {type="Dense", units="classes"}]'
)
SMALL = [LAYERS, "name=small", "batch_size=32", "test_time_augmentation.shift=1", "optimizer.learning_rate=0.01"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with using_threads(1):
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> misread.Run:
    folder = tmp_path_factory.mktemp("small")
    (x_train, y_train), (x_test, y_test) = blocks(320), blocks(80, seed=1)
    names = np.array(["one", "two", "drei", "vier, ü"])
    np.savez(folder / "blocks.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, class_names=names)
    return misread.train(
        folder / "blocks.npz", "tutorial-mlp", settings=SMALL, epochs=3, out=folder / "runs", progress=False
    )


@pytest.fixture
def run(trained: misread.Run, tmp_path: Path) -> misread.Run:
    """A copy of the run's folder, opened: a test may change it."""
    return misread.open_run(shutil.copytree(trained.folder, tmp_path / "run"), device="cpu")
