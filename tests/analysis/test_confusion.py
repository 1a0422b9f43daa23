"""Confusion and per-class numbers, against scikit-learn, SciPy and plain loops."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from misread import DataError, Predictions
from misread.analysis.confusion import confusion_counts


def random_predictions(n: int, k: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    probs = rng.dirichlet(np.ones(k), n) + 0.8 * np.eye(k)[labels]
    return Predictions(labels, probs / 1.8, [f"class {i}" for i in range(k)], rows=1000 + np.arange(n)[::-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 80), st.integers(2, 7), st.integers(0, 1000))
def test_counts_precision_recall_and_f1_are_scikit_learns(n: int, k: int, seed: int) -> None:
    found = random_predictions(n, k, seed)
    counts = found.confusion().counts
    if not n:
        assert counts.tolist() == [[0] * k] * k
        return
    assert counts.tolist() == confusion_matrix(found.labels, found.predicted, labels=range(k)).tolist()
    table = found.per_class().table
    precision, recall, f1, support = precision_recall_fscore_support(
        found.labels, found.predicted, labels=range(k), zero_division=np.nan
    )
    np.testing.assert_allclose(table["recall"], recall)
    np.testing.assert_allclose(table["precision"], precision)
    np.testing.assert_array_equal(table["support"], support)
    absent = (support == 0) & (counts.sum(axis=0) == 0)
    np.testing.assert_allclose(table["f1"][~absent], np.nan_to_num(f1[~absent]))
    assert table["f1"][absent].isna().all()


def test_intervals_are_scipys_wilson_intervals() -> None:
    found = random_predictions(300, 6, seed=1)
    table = found.per_class().table
    counts = found.confusion().counts
    for i, line in enumerate(table.itertuples()):
        for share, n in (("recall", line.support), ("precision", line.predicted)):
            expected = binomtest(int(counts[i, i]), int(n)).proportion_ci(method="wilson")
            assert getattr(line, f"{share}_low") == pytest.approx(expected.low)
            assert getattr(line, f"{share}_high") == pytest.approx(expected.high)


def test_rows_are_true_classes_and_columns_predicted_ones() -> None:
    found = Predictions([0, 0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]], ["cat", "dog"])
    table = found.confusion().table
    assert table.loc["cat", "dog"] == 2
    assert table.loc["dog", "cat"] == 0
    assert (table.index.name, table.columns.name) == ("true", "predicted")


def test_pairs_are_counted_as_a_plain_loop_counts_them_most_frequent_first() -> None:
    found = random_predictions(400, 5, seed=2)
    counted = Counter(
        (found.class_names[label], found.class_names[read])
        for label, read in zip(found.labels, found.predicted, strict=True)
        if label != read
    )
    pairs = found.confusion().pairs
    assert {(p.label, p.prediction): p.n for p in pairs.itertuples()} == dict(counted)
    assert pairs["n"].is_monotonic_decreasing
    first = pairs.iloc[0]
    assert first["share"] == first["n"] / (found.labels == found.class_index(first["label"])).sum()
    assert first["share_low"] < first["share"] < first["share_high"]


def test_the_images_behind_a_cell_are_found_by_their_rows_in_the_source() -> None:
    found = random_predictions(200, 4, seed=3)
    confusion = found.confusion()
    for i, label in enumerate(found.class_names):
        for j, read in enumerate(found.class_names):
            rows = confusion.rows(label, read)
            assert len(rows) == confusion.counts[i, j]
            for row in rows:
                position = found.rows.tolist().index(row)
                assert (found.labels[position], found.predicted[position]) == (i, j)
    with pytest.raises(DataError, match=r"There is no class 'clas 1'. Did you mean 'class 1'\?"):
        confusion.rows("clas 1", "class 2")


def test_a_class_without_images_or_never_predicted_is_undefined_and_goes_into_json_as_null() -> None:
    found = Predictions([0, 0, 1], [[0.9, 0.1, 0], [0.8, 0.2, 0], [0.7, 0.3, 0]])
    classes = json.loads(json.dumps(found.per_class().to_dict(), allow_nan=False))["classes"]
    assert [c["recall"] for c in classes] == [1.0, 0.0, None]
    assert [c["precision"] for c in classes] == [pytest.approx(2 / 3), None, None]
    assert [c["f1"] for c in classes] == [0.8, 0.0, None]
    assert (classes[2]["recall_low"], classes[2]["recall_high"]) == (0.0, 1.0)
    assert found.per_class().means == {"recall": 0.5, "precision": pytest.approx(2 / 3), "f1": 0.4}


def test_confusion_goes_into_json_and_notebooks_show_it() -> None:
    confusion = random_predictions(50, 3, seed=4).confusion()
    read = json.loads(json.dumps(confusion.to_dict()))
    assert read["counts"] == confusion.counts.tolist()
    assert read["class_names"] == ["class 0", "class 1", "class 2"]
    assert read["pairs"][0]["n"] == confusion.pairs["n"].iloc[0]
    assert "class 2" in repr(confusion)
    assert "rows true, columns predicted" in confusion._repr_html_()


def test_no_images_give_a_matrix_of_zeros() -> None:
    assert confusion_counts(np.empty(0, np.int64), np.empty(0, np.int64), 3).tolist() == [[0] * 3] * 3
