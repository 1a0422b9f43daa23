"""`misread data show` as a person or a script meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from misread.data.load import load
from samples import Result


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def test_it_shows_each_class_in_turn(cli: Callable[..., Result], idx_folder: Path, tmp_path: Path) -> None:
    done = cli("data", "show", idx_folder, "--png", tmp_path / "a.png", "--grid", 6, "--json")
    shown = json.loads(done.out)
    assert shown["labels"] == ["0", "1", "2", "3", "0", "1"]
    assert shown["png"] == str(tmp_path / "a.png")
    data = load(idx_folder).train
    assert [str(data.labels[row]) for row in shown["rows"]] == shown["labels"]
    assert pixels(tmp_path / "a.png").shape[1] > 400


def test_without_a_name_the_picture_goes_into_this_folder(cli: Callable[..., Result], idx_folder: Path) -> None:
    done = cli("data", "show", idx_folder, "--split", "test")
    assert done.code == 0
    assert done.out == "Picture: idx-test.png, 16 images of idx test\n"
    assert Path("idx-test.png").is_file()
    done = cli("data", "show", idx_folder, "--augmented", "--grid", 2, "--set", "augmentation.flip=true")
    assert done.out.startswith("Picture: idx-train-augmented.png, 2 images of idx train; shift ")
    assert done.out.endswith("flip True\n")


def test_augmentation_follows_recipe_and_seed(cli: Callable[..., Result], idx_folder: Path, tmp_path: Path) -> None:
    def picture(name: str, *more: object) -> np.ndarray:
        png = tmp_path / f"{name}.png"
        done = cli("data", "show", idx_folder, "--augmented", "--grid", 3, "--png", png, *more)
        assert done.code == 0
        return pixels(png)

    usual = picture("a")
    assert np.array_equal(usual, picture("b"))
    assert not np.array_equal(usual, picture("c", "--seed", 1))
    assert not np.array_equal(usual, picture("d", "-r", "tutorial-mlp", "--set", "augmentation.rotation=40"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--augmented", "-r", "tutorial-mlp"), "Error: The recipe 'tutorial-mlp' augments nothing."),
        (("--split", "val"), "Error: idx has no split 'val'; it has train, test."),
        (("--png", "a.doc"), "a.doc is not the name of a picture. Use the suffix .png or .svg."),
        (("--augmented", "--set", "augmentation.rotaton=3"), "there is no such setting. Did you mean 'rotation'?"),
        (("--augmented", "--set", "augmentation.rotation=300"), "augmentation.rotation: 300"),
    ],
)
def test_what_cannot_be_shown_is_said(
    cli: Callable[..., Result],
    idx_folder: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    done = cli("data", "show", idx_folder, *arguments)
    assert done.code == 2
    assert message in done.err
