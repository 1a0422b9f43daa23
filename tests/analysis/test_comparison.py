"""What changes between two sets of predictions, with changes that were planted."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from misread import DataError, Predictions
from misread.runs.comparison import Comparison

NAMES = ("ant", "bee", "cow")


def reads(labels: list[int], read: list[int], confidence: list[float] | None = None, **rest: object) -> Predictions:
    """Predictions that read each image as `read`, this confidently."""
    sure = np.full(len(read), 0.8) if confidence is None else np.array(confidence)
    probs = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    probs[np.arange(len(read)), read] = sure
    return Predictions(labels, probs, NAMES, **rest)  # type: ignore[arg-type]


LABELS = [0, 0, 0, 1, 1, 1, 2, 2]
READ_A = [0, 0, 1, 1, 0, 2, 2, 2]
READ_B = [0, 1, 1, 0, 1, 0, 2, 1]
SURE_B = [0.8, 0.6, 0.5, 0.9, 0.8, 0.7, 0.8, 0.7]
ROWS = [10, 11, 12, 13, 14, 15, 16, 17]


def planted() -> Comparison:
    files = [f"{i}.png" for i in range(8)]
    a = reads(LABELS, READ_A, rows=ROWS, files=files)
    b = reads(LABELS, READ_B, SURE_B, rows=ROWS, files=files)
    return Comparison(a, b)


def test_the_three_lists_are_those_that_were_planted_the_most_confident_mistake_first() -> None:
    found = planted()
    assert found.broken["index"].tolist() == [13, 17, 11]
    assert found.broken["file"].tolist() == ["3.png", "7.png", "1.png"]
    assert found.broken.loc[0].to_dict() == {
        "change": "broken", "index": 13, "file": "3.png", "label": "bee", "prediction_a": "bee", "prediction_b": "ant",
        "confidence_a": pytest.approx(0.8), "confidence_b": pytest.approx(0.9),
    }  # fmt: skip
    assert found.fixed["index"].tolist() == [14]
    assert found.both_wrong["index"].tolist() == [15, 12]
    assert (found.n_broken, found.n_fixed, found.n_both_wrong) == (3, 1, 2)
    assert found.changes["change"].tolist() == ["broken"] * 3 + ["fixed"] + ["both wrong"] * 2


def test_the_difference_its_interval_and_p_value() -> None:
    found = planted()
    assert found.difference == pytest.approx(-2 / 8)
    low, high = found.interval
    assert low < found.difference < high
    assert found.p_value == pytest.approx(binomtest(1, 4, 0.5).pvalue)
    back = Comparison(found.b, found.a)
    assert (back.difference, back.p_value, back.n_broken) == (-found.difference, found.p_value, found.n_fixed)
    assert "3 broken, 1 fixed, 2 misread by both" in repr(found)


def test_each_class_has_its_changes_the_most_worsened_first() -> None:
    table = planted().per_class
    assert table["class"].tolist() == ["cow", "ant", "bee"]
    by_class = table.set_index("class")
    assert by_class.loc["bee", ["n", "misread_a", "misread_b", "broken", "fixed"]].tolist() == [3, 2, 2, 1, 1]
    assert by_class.loc["cow", ["n", "misread_a", "misread_b", "broken", "fixed"]].tolist() == [2, 0, 1, 1, 0]
    assert by_class.loc["ant", "difference"] == pytest.approx(-1 / 3)
    assert by_class.loc["ant", "accuracy_a"] == pytest.approx(2 / 3)
    total = table[["broken", "fixed", "misread_a", "misread_b"]].sum()
    assert total.tolist() == [3, 1, 3, 5]


def test_worse_is_lower_and_significant_or_with_alpha_1_any_lower() -> None:
    def compared(broken: int, fixed: int) -> Comparison:
        n = broken + fixed + 50
        a = reads([0] * n, [0] * broken + [1] * fixed + [0] * 50)
        b = reads([0] * n, [1] * broken + [0] * fixed + [0] * 50)
        return Comparison(a, b)

    assert compared(20, 5).p_value < 0.05
    assert compared(20, 5).is_worse()
    assert not compared(5, 20).is_worse()
    assert not compared(5, 20).is_worse(alpha=1)
    assert not compared(7, 3).is_worse()
    assert compared(7, 3).is_worse(alpha=1)
    assert compared(1, 0).p_value == 1
    assert compared(1, 0).is_worse(alpha=1)
    assert not compared(0, 0).is_worse(alpha=1)
    assert compared(6, 0).p_value == 0.03125
    assert compared(6, 0).is_worse(alpha=0.03125)
    assert not compared(6, 0).is_worse(alpha=0.03)


def test_new_misreads_are_told_by_their_label() -> None:
    found = planted()
    assert found.new_misreads_of(["bee"])["index"].tolist() == [13]
    assert found.new_misreads_of(["cow", "ant"])["index"].tolist() == [17, 11]
    assert found.new_misreads_of([]).empty
    with pytest.raises(DataError, match=r"There is no class 'cov'. Did you mean 'cow'\?"):
        found.new_misreads_of(["cov"])


def test_two_that_never_differ_have_empty_lists_and_json() -> None:
    a = reads(LABELS, LABELS)
    found = Comparison(a, a)
    assert found.changes.empty
    assert (found.difference, found.interval, found.p_value) == (0, (0, 0), 1)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["changes"] == []


def test_json_holds_every_changed_image() -> None:
    read = json.loads(json.dumps(planted().to_dict(), allow_nan=False))
    assert (read["broken"], read["fixed"], read["both_wrong"], read["n"]) == (3, 1, 2, 8)
    assert [line["index"] for line in read["changes"]] == [13, 17, 11, 14, 15, 12]
    assert read["a"]["misread"] == 3
    assert read["per_class"][0]["class"] == "cow"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (reads(LABELS[:-1], READ_B[:-1]), "A has 8 images, but B has 7"),
        (
            reads([0, 0, 2, 1, 1, 1, 2, 0], READ_B),
            "2 of 8 images have other labels in B than in A; the first, image 2: cow in B, ant in A",
        ),
        (
            reads(LABELS, READ_B, rows=[0, 1, 2, 3, 4, 5, 7, 6]),
            "2 of 8 images come from other rows of the data in B than in A; the first, image 6: 7 in B, 6 in A",
        ),
        (Predictions(LABELS, np.full((8, 3), 1 / 3), "abc"), "A has the classes ant, bee, cow, but B has a, b, c"),
    ],
)
def test_different_images_are_not_compared(other: Predictions, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}.*score both on the same data and split"):
        Comparison(reads(LABELS, READ_A), other)


def test_files_have_to_be_the_same_where_both_have_them() -> None:
    a, b = (reads([0, 1], [0, 1], files=files) for files in (["x.png", "y.png"], ["x.png", "z.png"]))
    with pytest.raises(DataError, match="1 of 2 images have other file names .* image 1: z.png in B, y.png in A"):
        Comparison(a, b)
    assert Comparison(a, reads([0, 1], [0, 1])).n == 2
    with pytest.raises(DataError, match="There are no images to compare on"):
        Comparison(*[Predictions([], np.empty((0, 2)))] * 2)


def test_the_picture_shows_the_broken_and_the_fixed_images() -> None:
    images = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((8, 5, 5), np.uint8)
    a, b = reads(LABELS, READ_A, images=images), reads(LABELS, READ_B, SURE_B, images=images)
    axes = Comparison(a, b).figure().axes[0]
    assert [int(im.get_array()[0, 0]) for im in axes.images] == [3, 7, 1, 4]
    said = [text.get_text() for text in axes.texts]
    assert "Label: bee\nB: ant" in said
    assert "Label: bee\nA: ant" in said
    assert any(text.startswith("Newly broken: 3.") for text in said)
    axes = Comparison(a, b).figure(count=2).axes[0]
    assert [int(im.get_array()[0, 0]) for im in axes.images] == [3, 7, 4]
    assert any("Newly broken: 3, of which the 2 most confident" in text.get_text() for text in axes.texts)
    with pytest.raises(DataError, match="have no images to show"):
        planted().figure()
