import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from misread import Predictions
from misread.analysis.label_issues import (
    METHODS,
    class_thresholds,
    confident_classes,
    confident_joint,
    flagged_issues,
    label_issues,
    margins,
    self_confidence,
    suggested_labels,
)
from misread.analysis.probabilities import geometric_mean
from misread.errors import DataError

# Two classes of three images, worked out by hand. Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6,
# class 1 (0.9 + 0.7 + 0.35) / 3 = 0.65.
LABELS = np.array([0, 0, 0, 1, 1, 1])
PROBS = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7], [0.65, 0.35]])


def test_the_worked_example() -> None:
    assert class_thresholds(LABELS, PROBS) == pytest.approx([0.6, 0.65])
    assert confident_classes(class_thresholds(LABELS, PROBS), PROBS).tolist() == [0, 0, 1, 1, 1, 0]
    assert confident_joint(LABELS, PROBS).tolist() == [[2, 1], [1, 2]]
    assert np.flatnonzero(flagged_issues(LABELS, PROBS)).tolist() == [2, 5]
    assert suggested_labels(LABELS, PROBS).tolist() == [0, 0, 1, 1, 1, 0]
    assert self_confidence(LABELS, PROBS).tolist() == [0.9, 0.8, 0.1, 0.9, 0.7, 0.35]
    assert margins(LABELS, PROBS) == pytest.approx([-0.8, -0.6, 0.8, -0.8, -0.4, 0.3])
    assert label_issues(LABELS, PROBS).tolist() == [2, 5, 4, 1, 0, 3]
    assert np.flatnonzero(flagged_issues(LABELS, PROBS, at_most=1)).tolist() == [2]
    assert np.flatnonzero(flagged_issues(LABELS, PROBS, at_most=5)).tolist() == [2, 5]
    assert not flagged_issues(LABELS, PROBS, at_most=0).any()


def test_a_class_wins_by_its_own_threshold_not_by_the_highest_probability() -> None:
    """Images of class 1 are seldom seen with confidence, so that 0.45 is much for it, and 0.55 little for class 0."""
    labels = np.array([0, 0, 0, 1, 1])
    probs = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.6, 0.4], [0.6, 0.4]])
    assert confident_classes(class_thresholds(labels, probs), probs).tolist() == [0, 0, 1, 1, 1]
    assert flagged_issues(labels, probs).tolist() == [False, False, True, False, False]
    assert suggested_labels(labels, probs).tolist() == [0, 0, 1, 0, 0]
    assert label_issues(labels, probs, "normalised-margin").tolist() == [3, 4, 2, 0, 1]
    assert label_issues(labels, probs, "confident-learning").tolist() == [2, 3, 4, 0, 1]


def plainly(labels: list[int], probs: list[list[float]]) -> dict[str, list]:
    """The definitions, image by image."""
    n, k = len(labels), len(probs[0])
    threshold = {}
    for j in range(k):
        own = [probs[i][j] for i in range(n) if labels[i] == j]
        threshold[j] = np.mean(own) if own else np.inf
    confident, joint = [], [[0] * k for _ in range(k)]
    for i in range(n):
        reaching = [j for j in range(k) if probs[i][j] >= threshold[j]]
        confident.append(max(reaching, key=lambda j: probs[i][j]) if reaching else -1)
        if reaching:
            joint[labels[i]][confident[i]] += 1
    return {
        "confident": confident,
        "joint": joint,
        "self_confidence": [probs[i][labels[i]] for i in range(n)],
        "margin": [max(probs[i][j] for j in range(k) if j != labels[i]) - probs[i][labels[i]] for i in range(n)],
    }


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 10_000), st.booleans())
def test_it_agrees_with_the_definitions_image_by_image(n: int, k: int, seed: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(8 if coarse else 2**40, np.ones(k) / k, size=n)  # coarse: many ties, and exact in binary
    probs = counts / counts.sum(axis=1, keepdims=True)
    labels = rng.integers(0, k, n)
    plain = plainly(labels.tolist(), probs.tolist())
    assert confident_classes(class_thresholds(labels, probs), probs).tolist() == plain["confident"]
    assert confident_joint(labels, probs).tolist() == plain["joint"]
    assert self_confidence(labels, probs).tolist() == plain["self_confidence"]
    assert margins(labels, probs) == pytest.approx(plain["margin"])
    flagged = [c not in (-1, label) for c, label in zip(plain["confident"], labels, strict=True)]
    assert flagged_issues(labels, probs).tolist() == flagged
    by = {
        "self-confidence": lambda i: plain["self_confidence"][i],
        "normalised-margin": lambda i: -plain["margin"][i],
        "confident-learning": lambda i: (not flagged[i], -plain["margin"][i]),
    }
    for method in METHODS:  # Python's sort keeps the order of equals
        assert label_issues(labels, probs, method).tolist() == sorted(range(n), key=by[method])


@pytest.mark.parametrize("method", METHODS)
def test_ties_keep_data_order(method: str) -> None:
    labels, probs = np.repeat([0, 1, 0], 200), np.tile([0.4, 0.3, 0.3], (600, 1))
    expected = [*range(200, 400), *range(200), *range(400, 600)]  # the label 1 is the less likely one
    assert label_issues(labels, probs, method).tolist() == expected


@pytest.mark.parametrize("method", METHODS)
def test_planted_wrong_labels_rank_first(method: str) -> None:
    """Probabilities of a good but not perfect model; 3% of the labels exchanged for others after the fact."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 10, 5000)
    logits = rng.normal(0, 1, (5000, 10)) + 6 * np.eye(10)[truth]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    planted = rng.choice(5000, 150, replace=False)
    labels = truth.copy()
    labels[planted] = (truth[planted] + rng.integers(1, 10, 150)) % 10
    is_planted = np.isin(np.arange(5000), planted)
    order = label_issues(labels, probs, method)
    assert is_planted[order[:150]].mean() > 0.9
    assert average_precision_score(is_planted[order], -np.arange(5000)) > 0.95
    assert (suggested_labels(labels, probs)[planted] == truth[planted]).mean() > 0.95
    flagged = flagged_issues(labels, probs)
    assert is_planted[flagged].mean() > 0.85
    assert flagged[is_planted].mean() > 0.75  # it flags only what reaches the class's mean confidence


def test_an_ensemble_counts_by_its_geometric_mean() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 50)
    several = rng.dirichlet(np.ones(3), (4, 50))
    plain = np.array([[math.prod(several[m][i][k] for m in range(4)) ** 0.25 for k in range(3)] for i in range(50)])
    plain /= plain.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(geometric_mean(several), plain, rtol=1e-12)
    np.testing.assert_allclose(geometric_mean(several[[2, 0, 3, 1]]), plain, rtol=1e-12)  # in any order
    for given_as in (several, list(several), tuple(several)):
        assert label_issues(labels, given_as).tolist() == label_issues(labels, plain).tolist()
    assert label_issues(labels, several[:1]).tolist() == label_issues(labels, several[0]).tolist()


def test_a_probability_of_zero_leaves_the_geometric_mean_finite() -> None:
    certain, unsure = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.5], [1.0, 0.0]])
    mean = geometric_mean([certain, unsure])
    np.testing.assert_allclose(mean, [[1, 0], [0.5, 0.5]], atol=1e-15)


def test_a_class_without_images_is_never_confident() -> None:
    probs = np.array([[0.1, 0.9, 0.0], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])
    assert class_thresholds(np.array([0, 0, 2]), probs)[1] == np.inf
    assert 1 not in confident_classes(class_thresholds(np.array([0, 0, 2]), probs), probs)


@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [
        ([0, 1, 0], PROBS, r"labels has the shape \(3,\) and probs \(6, 2\); needed are \(N,\) and \(N, K\)\."),
        (LABELS, [PROBS, PROBS[:5]], r"probs \(5, 2\); needed are .*, the same for each array of probs"),
        (LABELS, PROBS[:, 0], r"probs has the shape \(6,\); it must be \(N, K\)"),
        (LABELS, PROBS * 3, r"row 0 runs from 0.3 to 2.7 and sums to 3 .*\n.*For logits, give scipy"),
        (LABELS, np.where(PROBS == 0.7, np.nan, PROBS), r"row 4 runs from nan to nan"),
        (LABELS, np.where(PROBS == 0.1, -0.1, PROBS), r"row 0 runs from -0.1"),
        ([0, 0, 2, 1, 1, 1], PROBS, r"labels has 2 at row 2, which is no class; there are 0, 1\."),
        ([0, 0, 0, -1, 1, 1], PROBS, r"labels has -1 at row 3"),
    ],
)
def test_what_cannot_be_ranked_is_refused(labels: list[int], probs: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_issues(np.array(labels), probs)


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(DataError, match="no method 'self_confidence'. Did you mean 'self-confidence'"):
        label_issues(LABELS, PROBS, "self_confidence")


def test_the_table_has_every_image_the_most_doubtful_first() -> None:
    files = tuple(f"{c}.png" for c in "abcdef")
    table = Predictions(LABELS, PROBS.astype(np.float32), ("no", "yes"), np.arange(6) * 10, files=files).label_issues()
    assert table.columns.tolist() == [
        "index", "file", "label", "suggested", "self_confidence", "margin", "flagged", "split",
    ]  # fmt: skip
    assert table["index"].tolist() == [20, 50, 40, 10, 0, 30]
    assert table.loc[0, ["file", "label", "suggested", "flagged"]].tolist() == ["c.png", "no", "yes", True]
    assert table["self_confidence"].tolist() == pytest.approx([0.1, 0.35, 0.7, 0.8, 0.9, 0.9])
    assert table.loc[0, "margin"] == pytest.approx(0.8)
