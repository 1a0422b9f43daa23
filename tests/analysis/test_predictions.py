import hashlib
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from misread.analysis.intervals import wilson_interval
from misread.analysis.misreads import Misreads
from misread.analysis.predictions import Predictions
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
    table = found.misreads()
    assert sorted(table["index"]) == [100 + i for i in range(n) if probs[i].argmax() != labels[i]]
    assert len(table) == metrics["misread"]
    assert (table["label"] != table["prediction"]).all()


def test_misreads_have_every_column_and_the_most_confident_first() -> None:
    found = predictions(
        [0, 1, 2, 0],
        [[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.05, 0.9, 0.05], [0.2, 0.4, 0.4]],
        files=("w.png", "x.png", "y.png", "z.png"),
    )
    table = found.misreads()
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
    table = predictions([1], [[0.7, 0.3]]).misreads()
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

    def misreads_of(at: np.ndarray) -> pd.DataFrame:
        part = Predictions(labels[at], probs[at], tuple(names), rows[at], tuple(f"{r}.png" for r in rows[at]))
        return part.misreads(images[at])

    whole = misreads_of(np.arange(n))
    pd.testing.assert_frame_equal(misreads_of(rng.permutation(n)), whole)
    parts = [misreads_of(at) for at in np.array_split(rng.permutation(n), range(batch, n, batch))]
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
    table = predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]]).misreads()
    assert len(table) == 0
    assert "confidence" in table


@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [([0], [[1.0, 0.0]] * 2, "labels has 1 rows, probs 2"), ([0, 1], [[1.0, 0.0]] * 3, "labels has 2 rows, probs 3")],
)
def test_predictions_of_different_lengths_are_refused(
    labels: list[int], probs: list[list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        predictions(labels, probs)


def test_class_names_have_to_fit_the_columns() -> None:
    with pytest.raises(DataError, match="probs has 2 columns, but there are 3 classes"):
        Predictions(np.array([0]), np.ones((1, 2), np.float32), ("a", "b", "c"), np.arange(1))


# a choice of misreads, and their wall


def misreads(count: int) -> Misreads:
    table = pd.DataFrame(
        {
            "index": np.arange(count) * 3,
            "file": "",
            "label": "a",
            "prediction": "b",
            "confidence": np.linspace(0.9, 0.4, count),
        }
    )
    asked: list[int] = []

    def images_of(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows)
        return np.stack([np.full((4, 4, 1), r, np.uint8) for r in rows]) if len(rows) else np.zeros((0, 4, 4, 1))

    made = Misreads(table, count, 1000, "blocks test", images_of)
    made.asked = asked  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(("asked", "there", "shown"), [(16, 50, 16), (7, 7, 7), (50, 7, 7), (1, 7, 1), (16, 0, 0)])
def test_the_wall_shows_exactly_as_many_as_asked_for_or_as_exist(asked: int, there: int, shown: int) -> None:
    made = misreads(there)
    sample = made.sample(asked, seed=3)
    assert len(sample) == len(set(sample.table["index"])) == shown
    picture = sample.figure()
    axes = picture.axes[0].images if picture.axes else []
    assert len(axes) == shown
    assert [im.get_array()[0, 0] for im in axes] == list(sample.table["index"])
    text = " ".join(t.get_text() for t in picture.texts)
    assert f"{shown} of {there} misread" in text


def test_the_sample_follows_its_seed_and_top_takes_the_most_confident() -> None:
    made = misreads(100)
    assert made.sample(16, seed=1).table.equals(made.sample(16, seed=1).table)
    assert not made.sample(16, seed=1).table.equals(made.sample(16, seed=2).table)
    assert made.top(5).table["index"].tolist() == [0, 3, 6, 9, 12]
    assert "5 of 100 misread" in repr(made.top(5))
