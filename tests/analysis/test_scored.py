import hashlib
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from misread import Predictions
from misread.analysis.intervals import wilson_interval
from misread.errors import DataError


def predictions(labels: list[int], probs: list[list[float]], **rest: object) -> Predictions:
    array = np.array(probs, dtype=np.float32)
    names = tuple("abcdefgh"[: array.shape[1]])
    return Predictions(np.array(labels), array, names, np.arange(len(labels)), **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_interval_is_symmetric_and_knows_its_ends() -> None:
    assert wilson_interval(20, 20)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(9811, 10_000)
    assert wilson_interval(189, 10_000) == (pytest.approx(1 - high), pytest.approx(1 - low))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 1000))
def test_metrics_agree_with_scikit_learn_and_misreads_are_complete(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(k), n).astype(np.float32)
    labels = rng.integers(0, k, n)
    found = Predictions(labels, probs, tuple(map(str, range(k))), np.arange(n) + 100)
    metrics = found.metrics(top_k=min(2, k - 1))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(labels, probs.argmax(1)))
    exact = probs.astype(float) / probs.sum(axis=1, keepdims=True, dtype=float)
    assert metrics["loss"] == pytest.approx(log_loss(labels, exact, labels=range(k)), rel=1e-4)
    if k > 2:
        expected = top_k_accuracy_score(labels, probs, k=min(2, k - 1), labels=range(k))
        assert metrics[f"top_{min(2, k - 1)}_accuracy"] == pytest.approx(expected)
    table = found.misreads.table
    assert sorted(table["index"]) == [100 + i for i in range(n) if probs[i].argmax() != labels[i]]
    assert len(table) == metrics["misread"]
    assert (table["label"] != table["prediction"]).all()


def test_misreads_have_every_column_and_the_most_confident_first() -> None:
    found = predictions(
        [0, 1, 2, 0],
        [[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.05, 0.9, 0.05], [0.2, 0.4, 0.4]],
        files=("w.png", "x.png", "y.png", "z.png"),
    )
    table = found.misreads.table
    assert table.columns.tolist() == [
        "index", "file", "label", "prediction", "confidence", "margin", "loss", "rank", "second", "second_probability",
        "third", "third_probability",
    ]  # fmt: skip
    assert table["index"].tolist() == [2, 1, 3]
    assert table["file"].tolist() == ["y.png", "x.png", "z.png"]
    assert table.loc[0, ["label", "prediction"]].tolist() == ["c", "b"]
    assert table["confidence"].tolist() == pytest.approx([0.9, 0.6, 0.4])
    assert table["margin"].tolist() == pytest.approx([0.85, 0.5, 0.2])
    assert table["loss"].tolist() == pytest.approx([-math.log(0.05), -math.log(0.1), -math.log(0.2)], rel=1e-6)
    assert table["rank"].tolist() == [
        3,
        3,
        3,
    ]  # of equally probable classes the first in the list counts as the greater
    assert table["second"].tolist() == ["a", "c", "c"]
    assert table["second_probability"].tolist() == pytest.approx([0.05, 0.3, 0.4])
    assert table["third"].tolist() == ["c", "b", "a"]
    assert table["third_probability"].tolist() == pytest.approx([0.05, 0.1, 0.2])


def test_two_classes_have_no_third() -> None:
    table = predictions([1], [[0.7, 0.3]]).misreads.table
    assert table.loc[0, ["rank", "second", "second_probability"]].tolist() == [2, "b", pytest.approx(0.3)]
    assert "third" not in table


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.integers(2, 5), st.integers(1, 9), st.integers(0, 1000))
def test_the_table_is_complete_and_exact_whatever_the_batches_and_their_order(
    n: int, k: int, batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    probs = (rng.multinomial(8, np.ones(k) / k, n) / 8).astype(np.float32)  # coarse, so that there are ties
    labels, rows, names = rng.integers(0, k, n), rng.permutation(1000)[:n], "abcde"[:k]
    images = rng.integers(0, 256, (n, 3, 2, 1), dtype=np.uint8)

    def table_of(at: np.ndarray) -> pd.DataFrame:
        files = tuple(f"{r}.png" for r in rows[at])
        return Predictions(labels[at], probs[at], tuple(names), rows[at], files, images=images[at]).misreads.table

    whole = table_of(np.arange(n))
    pd.testing.assert_frame_equal(table_of(rng.permutation(n)), whole)
    parts = [table_of(at) for at in np.array_split(rng.permutation(n), range(batch, n, batch))]
    joined = pd.concat(parts).sort_values(["confidence", "index"], ascending=[False, True], ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole, check_dtype=False)

    place = {row: i for i, row in enumerate(rows)}
    expected = {r for r, p, label in zip(rows, probs.tolist(), labels, strict=True) if p.index(max(p)) != label}
    assert set(whole["index"]) == expected
    assert len(whole) == len(expected)
    for line in whole.to_dict("records"):
        i = place[line["index"]]
        ranked = sorted(range(k), key=lambda c: (-probs[i, c], c))
        assert line["file"] == f"{line['index']}.png"
        assert (line["label"], line["prediction"]) == (names[labels[i]], names[ranked[0]])
        assert line["rank"] == ranked.index(labels[i]) + 1
        for name, c in zip(("second", "third"), ranked[1:], strict=False):
            assert (line[name], line[f"{name}_probability"]) == (names[c], probs[i, c])
        assert line["confidence"] == probs[i, ranked[0]]
        assert line["margin"] == probs[i, ranked[0]] - probs[i, labels[i]]
        assert line["hash"] == hashlib.sha256(b"3x2x1:" + images[i].tobytes()).hexdigest()


def test_a_label_given_no_probability_has_a_finite_loss() -> None:
    assert np.isfinite(predictions([0], [[0.0, 1.0]]).losses).all()


def test_no_misreads_give_an_empty_table_with_the_columns() -> None:
    table = predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]]).misreads.table
    assert len(table) == 0
    assert "confidence" in table


@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [([0], [[1.0, 0.0]] * 2, "labels 1, probs 2, rows 1"), ([0, 1], [[1.0, 0.0]] * 3, "labels 2, probs 3, rows 2")],
)
def test_predictions_of_different_lengths_are_refused(
    labels: list[int], probs: list[list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=f"Lengths differ: {message}. All belong to the same images"):
        predictions(labels, probs)


def test_files_and_images_have_to_be_as_many() -> None:
    with pytest.raises(DataError, match="Lengths differ: labels 1, probs 1, rows 1, files 2, images 3"):
        Predictions([0], [[0.5, 0.5]], files=["a", "b"], images=np.zeros((3, 4, 4), np.uint8))


def test_class_names_have_to_fit_the_columns() -> None:
    with pytest.raises(DataError, match="probs has 2 columns, but there are 3 classes"):
        Predictions(np.array([0]), np.full((1, 2), 0.5), ("a", "b", "c"), np.arange(1))
    with pytest.raises(DataError, match="Class names are not distinct: a, a"):
        Predictions([0], [[0.5, 0.5]], ["a", "a"])


# predictions from elsewhere


def test_arrays_alone_are_enough() -> None:
    found = Predictions([1, 0, 1], [[0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    assert (found.labels.dtype, found.probs.dtype, found.rows.tolist()) == (np.int64, np.float32, [0, 1, 2])
    assert found.class_names == ("0", "1")
    assert found.misreads.table["index"].tolist() == [2]
    assert repr(found) == "Predictions(test: 3 images, 2 classes, 1 misread)"


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        ([2, 0, 1], None),
        (np.array([2.0, 0.0, 1.0]), None),
        ([[2], [0], [1]], None),
        (np.eye(3)[[2, 0, 1]], None),
        ([2, 0, 1], ["cat", "dog", "eel"]),
        (["eel", "cat", "dog"], ["cat", "dog", "eel"]),
        (np.array(["eel", "cat", "dog"], dtype=object), np.array(["cat", "dog", "eel"])),
        ([30, 10, 20], np.array([10, 20, 30])),  # scikit-learn's classes_
        (pd.Series([30, 10, 20]), [10, 20, 30]),
    ],
)
def test_labels_come_as_indices_one_hot_or_names(labels: object, class_names: object) -> None:
    found = Predictions(labels, np.full((3, 3), 1 / 3), class_names)  # type: ignore[arg-type]
    assert found.labels.tolist() == [2, 0, 1]
    assert found.class_index(found.class_names[2]) == 2


@pytest.mark.parametrize(
    ("labels", "class_names", "message"),
    [
        ([0, 3], None, r"labels has 3 at row 1, which is no class; there are 0, 1, 2\."),
        ([0, 3], ["a", "b", "c"], r"labels has 3 at row 1, outside 0\.\.2 for the 3 classes"),
        ([0, 2], ["a", "b", "c"], None),  # the last class is one
        (["a", "d"], ["a", "b", "c"], r"labels has 'd' at row 1, which is no class; there are a, b, c\."),
        ([0, -1], ["a", "b", "c"], "labels: -1 at row 1 is negative"),
        ([0, 0.5], None, "labels: 0.5 at row 1 is not a whole number"),
        (["a", "b"], None, "labels: <U1 values, not whole numbers"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels: list[object], class_names: object, message: str | None) -> None:
    def make() -> Predictions:
        return Predictions(labels, np.full((2, 3), 1 / 3), class_names)  # type: ignore[arg-type]

    if message is None:
        assert make().labels.tolist() == labels
    else:
        with pytest.raises(DataError, match=message):
            make()


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (
            [[0.5, 0.5], [4.2, -1.3]],
            r"row 1 runs from -1.3 to 4.2 and sums to 2.9 \(1 of 2 rows.*\n.*For logits, give scipy",
        ),
        ([[0.5, 0.5], [50, 50]], "row 1 runs from 50 to 50 and sums to 100"),
        ([[0.5, 0.5], [0.9, 0.9]], "row 1 runs from 0.9 to 0.9 and sums to 1.8"),
        ([[np.nan, 0.5], [0.5, 0.5]], "row 0 runs from nan to nan and sums to nan"),
        ([[0.489, 0.5], [0.5, 0.5]], "row 0 .* sums to 0.989"),
        ([0.3, 0.6], r"the shape \(2,\); it must be \(N, K\).*\n.*np.stack\(\[1 - p, p\], axis=1\)"),
        ([[0.3], [0.6]], r"the shape \(2, 1\); it must be \(N, K\).*\n.*np.stack\(\[1 - p, p\], axis=1\)"),
        (np.zeros((2, 3, 4)), r"the shape \(2, 3, 4\); it must be \(N, K\), with one column for each of K classes\.$"),
        ([["a", "b"], ["a", "b"]], "probs holds <U1 values, not numbers"),
    ],
)
def test_what_is_no_probability_is_refused(probs: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions([0, 1], probs)


def test_rounded_and_half_precision_probabilities_pass() -> None:
    assert len(Predictions([0], [[0.492, 0.5]])) == 1
    wide = np.random.default_rng(0).dirichlet(np.ones(1000), 50).astype(np.float16)
    assert len(Predictions(np.zeros(50, int), wide)) == 50
    assert len(Predictions([0, 1], np.eye(2, dtype=int))) == 2


def test_a_scikit_learn_classifier_s_output_is_taken_as_it_is() -> None:
    from sklearn.datasets import load_digits
    from sklearn.naive_bayes import GaussianNB

    x, y = load_digits(return_X_y=True)
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y]
    model = GaussianNB().fit(x[:900], names[:900])
    found = Predictions(names[900:], model.predict_proba(x[900:]), model.classes_, images=x[900:].reshape(-1, 8, 8))
    assert found.metrics()["accuracy"] == pytest.approx(model.score(x[900:], names[900:]))
    assert found.images.shape == (897, 8, 8, 1)
    assert found.confusion().table.loc["nine", "nine"] == found.confusion().counts.diagonal()[found.class_index("nine")]


def test_images_are_asked_for_only_when_they_are_wanted() -> None:
    asked = []

    def images() -> np.ndarray:
        asked.append(1)
        return np.arange(3, dtype=np.uint8)[:, None, None, None]

    found = Predictions([0, 1, 1], [[0.5, 0.5]] * 3, files=["a", "b", "c"], images=images)
    taken = found.take(np.array([2, 0]), "some")
    assert (taken.rows.tolist(), taken.files, taken.split, asked) == ([2, 0], ("c", "a"), "some", [])
    assert taken.images.ravel().tolist() == [2, 0]
    assert found.images is found.images
    assert len(asked) == 1
    with pytest.raises(DataError, match=r"have no images to show. Give them: Predictions\(labels, probs, images="):
        Predictions([0], [[0.5, 0.5]]).images  # noqa: B018


def test_other_labels_leave_the_rest_as_it_is() -> None:
    found = Predictions(["a", "b"], [[0.9, 0.1], [0.7, 0.3]], ["a", "b"], rows=[5, 6], files=["x", "y"], name="n")
    other = found.with_labels([1, 1])
    assert (other.misread.tolist(), found.misread.tolist()) == ([True, True], [False, True])
    assert (other.rows.tolist(), other.files, other.title) == ([5, 6], ("x", "y"), "n, test")
    assert other.probs is found.probs


def test_split_halves_share_no_image_and_have_half_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [40, 10, 7])
    found = Predictions(labels, np.full((57, 3), 1 / 3), rows=np.arange(57) + 500)
    first, second = found.split_halves()
    assert sorted([*first.rows, *second.rows]) == found.rows.tolist()
    for k, n in enumerate((40, 10, 7)):
        assert abs((first.labels == k).sum() - n / 2) <= 0.5
    assert found.split_halves(seed=1)[0].rows.tolist() != first.rows.tolist()
    assert found.split_halves()[0].rows.tolist() == first.rows.tolist()
