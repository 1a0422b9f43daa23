"""Ten images a class, or one, are enough for every command; the output says how little they prove."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from misread.data.npz import read_npz
from samples import Result, blocks

RECIPE = """
epochs = 8
batch_size = 16
optimizer = {name = "adam", learning_rate = 0.01}
layers = [{type = "Flatten"}, {type = "Dense", units = 16, activation = "relu"}, {type = "Dense", units = "classes"}]
"""
LITTLE = "images prove little: the accuracy on new images may be anywhere between"


def folder_of(path: Path, counts: list[int]) -> Path:
    """A folder of class folders, with this many pictures in each."""
    images, labels = blocks(max(counts) * len(counts), classes=len(counts))
    for label, count in enumerate(counts):
        (path / f"class-{label}").mkdir(parents=True)
        for number, image in enumerate(images[labels == label][:count]):
            Image.fromarray(image[..., 0]).save(path / f"class-{label}" / f"{number}.png")
    return path


@pytest.mark.parametrize(
    ("counts", "n_test"), [([10, 10, 10], 6), ([10, 10, 2, 1], 5)], ids=["ten each", "two and one"]
)
def test_every_command_works_with_few_images(
    counts: list[int], n_test: int, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    data = folder_of(tmp_path / "few", counts)
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    trained = cli("train", data, "--recipe", recipe, "--set", "class_balance=1")
    assert trained.code == 0, trained.err
    assert f"{n_test} {LITTLE}" in trained.out
    (run,) = Path("runs").iterdir()
    assert len(read_npz(run / "predictions-test.npz")["labels"]) == n_test
    evaluated = cli("evaluate", run, "--per-class", "--calibration", "--figures", tmp_path / "figures")
    assert evaluated.code == 0, evaluated.err
    assert f"{n_test} {LITTLE}" in evaluated.out
    checked = cli("data", "check", data)
    assert checked.code == (0 if len(counts) == 3 else 1)  # it reports a class without a test image
    assert "no image of 'class-3'" in checked.out or checked.code == 0
    for arguments in (
        ("evaluate", run, "--json"),
        ("evaluate", run, "--split", "val"),
        ("evaluate", run, data),
        ("misreads", run, "--png", tmp_path / "misreads.png"),
        ("report", run),
        ("labels", data, "--recipe", recipe, "--set", "class_balance=1", "--png", tmp_path / "doubtful.png"),
        ("compare", run, run),
        ("predict", run, data, "--csv", tmp_path / "table.csv"),
        ("reproduce", run, "--quiet"),
    ):
        done = cli(*arguments)
        assert done.code == 0, (arguments, done.err)
    assert LITTLE in (run / "report.html").read_text()


def test_a_test_split_of_equal_classes_and_enough_images_gets_no_warning(
    idx_folder: Path, cli: Callable[..., Result], tmp_path: Path
) -> None:
    images, labels = blocks(400)
    np.savez(tmp_path / "many.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    trained = cli("train", tmp_path / "many.npz", "--recipe", recipe)
    assert trained.code == 0, trained.err
    assert "prove little" not in trained.out
    assert "The accuracy of" not in trained.out


def test_an_unequal_test_split_says_that_a_constant_answer_is_as_good(
    tmp_path: Path, cli: Callable[..., Result]
) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (600, 8, 8), dtype=np.uint8), (np.arange(600) % 20 == 0).astype(int)  # noise
    np.savez(tmp_path / "noise.npz", x_train=images, y_train=labels, x_test=images[:300], y_test=labels[:300])
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    trained = cli("train", tmp_path / "noise.npz", "--recipe", recipe, "--epochs", 1)
    assert "is not clearly better than a constant answer: 95.00% of the images are of class '0'." in trained.out
