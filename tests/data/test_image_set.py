from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import misread
from misread.data.image_set import ImageSet
from misread.data.splits import carve
from misread.errors import DataError
from samples import blocks


def test_different_lengths_name_both_numbers() -> None:
    images, labels = blocks(10)
    with pytest.raises(DataError, match=r"train labels has 9 rows but train images has 10"):
        ImageSet.from_arrays(images, labels[:-1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"] * 5, "not whole numbers"),
        ([0, 0.5] * 5, r"0.5 at row 1 is not a whole number"),
        ([0, -3] * 5, r"-3 at row 1 is negative"),
        ([1] * 10, "All train images \\(10\\) have one class, '1'"),
        (np.full((10, 3), 0.3), "row 0 is not one-hot"),
        (np.zeros((10, 2, 2)), r"the shape is \(10, 2, 2\)"),
    ],
)
def test_invalid_labels_are_refused(labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet.from_arrays(blocks(10)[0], labels)


def test_a_label_beyond_the_class_names_is_refused() -> None:
    images, labels = blocks(10)
    with pytest.raises(DataError, match=r"has 3 at row 3, outside 0..2 for the 3 classes"):
        ImageSet.from_arrays(images, labels, class_names=["a", "b", "c"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((10, 4)), r"the shape is \(10, 4\), but must be"),
        (np.zeros((10, 4, 4, 2)), r"the shape is \(10, 4, 4, 2\), but must be"),
        (np.full((10, 4, 4), -1.0), "values range from -1 to -1"),
        (np.full((10, 4, 4), 1.5), "values range from 1.5 to 1.5"),
        (np.full((10, 4, 4), np.nan), "values range from nan to nan"),
        (np.full((10, 4, 4), "x"), "not numbers"),
    ],
)
def test_invalid_images_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet.from_arrays(images, np.arange(10) % 2)


def test_floats_in_0_to_1_become_the_bytes_they_came_from() -> None:
    images, labels = blocks(10)
    data = ImageSet.from_arrays((images / 255).astype(np.float32), labels, test=(images, labels))
    np.testing.assert_array_equal(data.train.images, images)


def test_one_hot_labels_become_indices_and_are_recorded() -> None:
    images, labels = blocks(20)
    data = ImageSet.from_arrays(images, np.eye(4)[labels], test=(images, labels))
    np.testing.assert_array_equal(data.train.labels, labels)
    assert data.one_hot


def test_the_width_of_one_hot_labels_is_the_number_of_classes() -> None:
    images, labels = blocks(20)
    assert ImageSet.from_arrays(images, np.eye(6)[labels]).n_classes == 6


def test_class_names_may_be_an_array_and_images_may_be_bool() -> None:
    images, labels = blocks(20)
    data = ImageSet.from_arrays(images > 100, labels, class_names=np.array(list("abcd")), test=(images, labels))
    assert data.class_names == ("a", "b", "c", "d")
    assert set(np.unique(data.train.images)) == {0, 255}


def test_the_fingerprint_depends_on_pixels_labels_and_names() -> None:
    images, labels = blocks(20)
    names = list("abcd")
    first = ImageSet.from_arrays(images, labels, class_names=names, test=(images, labels)).fingerprint
    assert first == ImageSet.from_arrays(images.copy(), labels, class_names=names, test=(images, labels)).fingerprint
    changed = images.copy()
    changed[7, 3, 3] ^= 1
    other_labels = labels.copy()
    other_labels[5] = 0
    others = [
        ImageSet.from_arrays(changed, labels, class_names=names, test=(images, labels)),
        ImageSet.from_arrays(images, other_labels, class_names=names, test=(images, labels)),
        ImageSet.from_arrays(images, labels, class_names=list("abce"), test=(images, labels)),
        ImageSet.from_arrays(images, labels, class_names=names, test=(changed, labels)),
    ]
    assert len({first, *(o.fingerprint for o in others)}) == 5


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 9),
)
def test_carving_partitions_the_images_and_every_class(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels)
    kept, held = carve(array, fraction, seed)
    assert sorted([*kept, *held]) == list(range(len(array)))
    for label in set(labels):
        size = labels.count(label)
        taken = int((array[held] == label).sum())
        if size == 1:
            assert taken == 0
        else:
            assert 1 <= taken <= size - 1
            assert abs(taken - size * fraction) <= 1
    again = carve(array, fraction, seed)
    np.testing.assert_array_equal(held, again[1])


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'fashion_mnist'. Did you mean 'fashion-mnist'\?"):
        misread.load("fashion_mnist")


def test_a_path_object_is_a_path_even_with_the_name_of_a_named_set(idx_folder: Path) -> None:
    named = idx_folder.rename("mnist")
    assert misread.load(Path("mnist")).source == str(named.resolve())


def test_an_unknown_file_type_error_lists_the_known_ones(tmp_path: object) -> None:
    path = tmp_path / "x.feather"  # type: ignore[operator]
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"Use a folder, an .npz, .npy, .csv, .jsonl, .tar or .parquet file"):
        misread.load(path)
