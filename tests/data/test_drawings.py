"""Drawings kept as a data set: what is kept is loaded again, and no drawing ever changes its split."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.data.drawings import (
    Drawings,
    delete_drawing,
    drawings_folder,
    drawn_sets,
    keep_drawing,
    load_drawings,
    read_drawings,
    set_name,
)
from misread.data.named import DIGIT_NAMES
from misread.errors import DataError

SHAPE = (28, 28, 1)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISREAD_DRAWINGS", str(tmp_path / "drawings"))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def keep(labels: list[int]) -> None:
    for seed, label in enumerate(labels):
        keep_drawing("my-digits", DIGIT_NAMES, picture(seed), label)


def test_kept_drawings_are_loaded_as_they_were() -> None:
    labels = [7, 7, 2, 2, 7, 9]
    keep(labels)
    data = misread.load("my-digits")
    whole = data.split("all")
    assert data.name == data.source == "my-digits"
    assert data.carved_test
    assert whole.labels.tolist() == labels
    assert (np.asarray(whole.images) == [picture(seed) for seed in range(6)]).all()
    assert data.class_names == DIGIT_NAMES
    assert drawn_sets() == ["my-digits"]


def test_the_second_drawing_of_a_class_and_every_fifth_after_it_are_for_testing() -> None:
    keep([3] * 13 + [4] * 3)
    assert load_drawings("my-digits").test.rows.tolist() == [1, 6, 11, 14]


def test_no_drawing_changes_its_split_when_others_come_and_go() -> None:
    rng = np.random.default_rng(0)
    split_of: dict[int, bool] = {}

    def check(found: Drawings) -> None:
        for drawing, test in zip(found.ids.tolist(), found.is_test.tolist(), strict=True):
            assert split_of.setdefault(drawing, test) == test

    for seed in range(60):
        found = keep_drawing("my-digits", DIGIT_NAMES, picture(seed), int(rng.integers(3)))
        check(found)
        if seed % 4 == 3:
            check(delete_drawing("my-digits", DIGIT_NAMES, SHAPE, int(rng.choice(found.ids))))
    assert len(split_of) == 60, "an id was used twice"


def test_drawings_kept_at_the_same_time_are_all_there() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: keep_drawing("my-digits", DIGIT_NAMES, picture(seed), seed % 10), range(40)))
    found = read_drawings("my-digits", DIGIT_NAMES, SHAPE)
    assert sorted(found.ids.tolist()) == list(range(40))
    assert {image.tobytes() for image in found.images} == {picture(seed).tobytes() for seed in range(40)}


def test_a_run_is_evaluated_on_all_drawings(tmp_path: Path) -> None:
    data = misread.load("digits")
    run = misread.train("digits", "fast-mlp", epochs=1, out=tmp_path, progress=False)
    for row in range(20):
        keep_drawing("my-digits", DIGIT_NAMES, np.asarray(data.test.images[row]), int(data.test.labels[row]))
    result = run.evaluate("my-digits")
    right = (run.predict(data.test.images[:20]).argmax(axis=1) == data.test.labels[:20]).sum()
    assert (result["split"], result["n"], result["n"] - result["misread"]) == ("all", 20, right)


def test_a_path_of_the_same_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep([1, 1, 2])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-digits").mkdir()
    with pytest.raises(DataError, match="my-digits"):
        misread.load("my-digits")
    (tmp_path / "my-digits").rmdir()
    assert len(misread.load("my-digits").split("all")) == 3


@pytest.mark.parametrize(
    ("names", "shape", "name"),
    [
        (DIGIT_NAMES, SHAPE, "my-digits"),
        (DIGIT_NAMES, (8, 8, 1), "my-some-data-2"),
        (("a", "b"), SHAPE, "my-some-data-2"),
    ],
)
def test_the_name_of_a_set(names: tuple[str, ...], shape: tuple[int, int, int], name: str) -> None:
    assert set_name("Some data/2", names, shape) == name
    assert set_name(name, ("a", "b"), shape) == name, "drawings of a drawn set go into it"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "There are no drawings of your own named 'my-digits' yet. Keep some in the room Draw"),
        ([3], "my-digits has 1 drawing, and none left for testing"),
        ([3, 4], "my-digits has 2 drawings, and none left for testing: that needs a class with two"),
        ([3, 3], "All train images (2) have one class, '3'"),
    ],
)
def test_too_few_drawings(labels: list[int], message: str) -> None:
    keep(labels)
    with pytest.raises(DataError) as caught:
        misread.load("my-digits")
    assert message in str(caught.value)


def test_all_drawings_were_deleted() -> None:
    keep([3])
    delete_drawing("my-digits", DIGIT_NAMES, SHAPE, 0)
    with pytest.raises(DataError, match="my-digits is empty"):
        load_drawings("my-digits")


def test_what_cannot_be_kept() -> None:
    keep([3, 4])
    with pytest.raises(DataError, match="The label is 10, outside 0..9"):
        keep_drawing("my-digits", DIGIT_NAMES, picture(0), 10)
    with pytest.raises(DataError, match="28x28x1 in the classes 0, 1, .* Rename that file"):
        keep_drawing("my-digits", ("a", "b"), picture(0), 1)
    with pytest.raises(DataError, match="is no longer there"):
        delete_drawing("my-digits", DIGIT_NAMES, SHAPE, 17)
    with pytest.raises(DataError, match="is not a name of drawings"):
        load_drawings("my-../secret")
    assert len(read_drawings("my-digits", DIGIT_NAMES, SHAPE).labels) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((2, 28, 28, 1), np.uint8)}, "was not written by misread"),
        (
            {
                "x_train": np.zeros((2, 28, 28, 1), np.uint8), "y_train": np.array([0, 12]), "ids": np.arange(2),
                "numbers": np.zeros(2, int), "class_names": np.array(DIGIT_NAMES), "next_numbers": np.zeros(10, int),
                "next_id": 2,
            },
            "is damaged: its arrays do not fit together",
        ),
    ],
)  # fmt: skip
def test_a_foreign_or_damaged_file(arrays: dict[str, np.ndarray], message: str) -> None:
    drawings_folder().mkdir(parents=True)
    np.savez(drawings_folder() / "my-digits.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_drawings("my-digits")


def test_the_set_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("misread.data.drawings.MAX_DRAWINGS", 2)
    keep([1, 2])
    with pytest.raises(DataError, match="my-digits has 2 drawings, and takes no more. Delete some first."):
        keep([3])
