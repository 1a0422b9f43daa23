"""Planted duplicates are found, all of them and no others; what counts as a problem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from misread.analysis import duplicates as module
from misread.analysis.data_check import check_data
from misread.analysis.duplicates import exact_pairs, find_duplicates, near_pairs, pair_images
from misread.data.image_set import ImageSet
from misread.data.load import load

SIDE = 20


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Smooth images, no two alike."""
    rough = np.random.default_rng(seed).integers(0, 256, (n, 5, 5), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(r).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for r in rough])


def with_noise(image: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-6, 7, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def pairs_of(data: ImageSet, **wanted: object) -> set[tuple[str, int, str, int]]:
    table = find_duplicates(data)
    for column, value in wanted.items():
        table = table[table[column] == value]
    columns = ["first_split", "first_index", "second_split", "second_index"]
    return set(table[columns].itertuples(index=False, name=None))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(2, 20), st.floats(0.3, 0.99), st.integers(1, 50), st.integers(0, 1000))
def test_near_pairs_are_those_of_a_slow_search_whatever_the_blocks(
    n: int, width: int, correlation: float, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, width)) + 2 * rng.normal(size=(4, width))[rng.integers(0, 4, n)]  # in four heaps
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[rng.random(n) < 0.1] = 0  # images of one colour
    products = rows @ rows.T
    expected = {(i, j) for i in range(n) for j in range(i + 1, n) if products[i, j] >= correlation + 1e-5}
    doubtful = {(i, j) for i in range(n) for j in range(i + 1, n) if abs(products[i, j] - correlation) < 1e-5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "COMPONENTS", 3)
        found = [tuple(pair) for part in near_pairs(rows.astype(np.float32), correlation) for pair in part.tolist()]
    assert len(found) == len(set(found))
    assert expected <= set(found) <= expected | doubtful


@given(st.lists(st.sampled_from("abcdef"), max_size=12))
def test_of_equal_images_the_first_is_paired_with_each_other(hashes: list[str]) -> None:
    distinct, pairs = exact_pairs(np.array(hashes, dtype=str))
    assert distinct.tolist() == [i for i, h in enumerate(hashes) if h not in hashes[:i]]
    assert pairs.tolist() == [[hashes.index(h), i] for i, h in enumerate(hashes) if h in hashes[:i]]


@pytest.fixture(scope="module")
def planted() -> ImageSet:
    """60 training and 40 test images, alternately of two classes; all that is alike was planted."""
    train, test = pictures(60, seed=1), pictures(40, seed=2)
    train_labels, test_labels = np.arange(60) % 2, np.arange(40) % 2
    train[12] = train[10]  # exact, in train, same label
    train[15] = train[10]  # exact, in train, other label
    test[4] = train[20]  # exact leak
    test[7] = train[20]  # exact leak, other label
    train[33] = with_noise(train[31])  # near, in train, same label
    test[9] = with_noise(train[40])  # near leak, other label
    test[10] = np.clip(train[42] * 0.7 + 40, 0, 255).astype(np.uint8)  # near leak: another brightness and contrast
    test[20], test[22] = 0, 3  # of one colour
    return ImageSet.from_arrays(train, train_labels, test=(test, test_labels), class_names=("even", "odd"))


def test_planted_duplicates_are_all_found_and_no_others(planted: ImageSet) -> None:
    assert pairs_of(planted, kind="exact") == {
        ("train", 10, "train", 12), ("train", 10, "train", 15), ("train", 20, "test", 4), ("train", 20, "test", 7),
    }  # fmt: skip
    assert pairs_of(planted, kind="near") == {
        ("train", 31, "train", 33), ("train", 40, "test", 9), ("train", 42, "test", 10),
    }  # fmt: skip
    assert pairs_of(planted, conflict=True) == {
        ("train", 10, "train", 15), ("train", 20, "test", 7), ("train", 40, "test", 9),
    }  # fmt: skip
    assert {(a, c) for a, _, c, _ in pairs_of(planted, leak=True)} == {("train", "test")}


def test_conflicts_come_first_and_then_what_leaks(planted: ImageSet) -> None:
    table = find_duplicates(planted)
    order = list(zip(~table["conflict"], ~table["leak"], table["kind"], -table["correlation"], strict=True))
    assert order == sorted(order)
    assert table.loc[0, ["first_label", "second_label"]].tolist() == ["even", "odd"]
    assert (table.loc[table["kind"] == "near", "correlation"] >= 0.996).all()
    assert (table["first_file"] == "").all()
    first, second = pair_images(planted, table)
    assert (first[table["kind"] == "exact"] == second[table["kind"] == "exact"]).all()
    assert (first[0] == planted.train.images[20]).all()


def test_a_check_tells_problems_from_notes(planted: ImageSet) -> None:
    found = check_data(planted)
    assert found.problems == (
        "Pairs of exact copies with different labels: 2.",
        "Exact copies of train images in test: 2 of 40 (5.00%).",
        "Pairs of near-duplicates with different labels: 1.",
        "Near-duplicates of train images in test: 2 of 40 (5.00%).",
    )
    assert found.notes == (
        "Exact copies within train: 2.",
        "Near-duplicates within train: 1.",
        "Images of nearly one colour in test: 2.",
    )
    assert found.constant[["split", "index", "label"]].values.tolist() == [["test", 20, "even"], ["test", 22, "even"]]


def test_few_near_duplicates_in_test_are_a_note(planted: ImageSet) -> None:
    train, test = pictures(20, seed=3), pictures(200, seed=4)
    test[5], test[7] = with_noise(train[5]), with_noise(train[7])
    data = ImageSet.from_arrays(train, np.arange(20) % 2, test=(test, np.arange(200) % 2))
    assert check_data(data).problems == ("Near-duplicates of train images in test: 2 of 200 (1.00%).",)
    test[7] = pictures(1, seed=5)[0]
    data = ImageSet.from_arrays(train, np.arange(20) % 2, test=(test, np.arange(200) % 2))
    assert check_data(data).problems == ()
    assert check_data(data).notes[0] == "Near-duplicates of train images in test: 1 of 200 (0.50%)."


def test_unequal_and_absent_classes_are_named() -> None:
    images, labels = pictures(24), np.array([0] * 15 + [1] * 5 + [2] * 4)
    test = (pictures(4, seed=9), np.array([0, 0, 1, 1]))
    found = check_data(ImageSet.from_arrays(images, labels, test=test, class_names=("ant", "bee", "cat")))
    assert found.problems == ("The test split has no image of 'cat'.",)
    assert found.notes == ("Unequal classes in train: 15 of 'ant' and 4 of 'cat'.",)
    assert check_data(ImageSet.from_arrays(images, np.arange(24) % 2, test=(test[0], np.arange(4) % 2))).notes == ()


def test_a_search_with_no_end_of_duplicates_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 30)
    monkeypatch.setattr("misread.analysis.data_check.ENOUGH", 30)
    monkeypatch.setattr(module, "BLOCK", 5)
    image = pictures(1)[0]
    images = np.stack([with_noise(image, seed) for seed in range(40)])
    found = check_data(ImageSet.from_arrays(images, np.arange(40) % 2))
    assert 30 <= len(found.duplicates) < 40 * 39 / 2
    assert "The search for near-duplicates ended after 30 pairs; there may be more." in found.notes


def test_the_embedded_digits_have_no_duplicates() -> None:
    found = check_data(load("digits"))
    assert (found.problems, found.notes, len(found.duplicates)) == ((), (), 0)


@pytest.mark.mnist
def test_mnist_has_no_copies_and_only_straight_ones_that_nobody_can_tell_apart(mnist_root: object) -> None:
    found = check_data(load("mnist"))
    assert found.problems == ()
    assert len(found.duplicates) == 11
    assert set(found.duplicates["first_label"]) == set(found.duplicates["second_label"]) == {"1"}
    assert found.notes == (
        "Near-duplicates of train images in test: 2 of 10,000 (0.02%).",
        "Near-duplicates within train: 8.",
    )
