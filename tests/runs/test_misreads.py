"""The misread images that a user holds: a choice from them, and their gallery."""

import numpy as np
import pytest

from misread import Predictions
from misread.errors import DataError
from misread.runs.misreads import Misreads


def planted(count: int, n: int = 1000) -> Misreads:
    """`count` of n images are misread; of these, the later the less confident. Image i is grey level i."""
    labels, probs = np.zeros(n, int), np.tile([0.9, 0.1], (n, 1))
    wrong = np.arange(count) * 3
    probs[wrong, 1] = np.linspace(0.95, 0.6, count)
    probs[wrong, 0] = 1 - probs[wrong, 1]
    images = (np.arange(n) % 256).astype(np.uint8)[:, None, None] * np.ones((n, 4, 4), np.uint8)
    return Predictions(labels, probs, "ab", name="mine", images=images).misreads


def shades(misreads: Misreads) -> list[int]:
    return [int(tile.get_array()[0, 0]) for tile in misreads.figure().axes[0].images]


@pytest.mark.parametrize(("asked", "there", "shown"), [(16, 50, 16), (7, 7, 7), (50, 7, 7), (1, 7, 1), (16, 0, 0)])
def test_the_gallery_shows_exactly_as_many_as_asked_for_or_as_exist(asked: int, there: int, shown: int) -> None:
    made = planted(there)
    sample = made.sample(asked, seed=3)
    assert len(sample) == len(set(sample.table["index"])) == shown
    assert shades(sample) == list(sample.table["index"])
    text = " ".join(t.get_text() for t in sample.figure().axes[0].texts + sample.figure().texts)
    assert f"{shown} of {there} misread" in text


def test_the_sample_follows_its_seed_and_top_takes_the_most_confident() -> None:
    made = planted(80)
    assert made.sample(16, seed=1).table.equals(made.sample(16, seed=1).table)
    assert not made.sample(16, seed=1).table.equals(made.sample(16, seed=2).table)
    assert made.sample(16, seed=1).table["confidence"].is_monotonic_decreasing
    assert made.top(5).table["index"].tolist() == [0, 3, 6, 9, 12]
    assert shades(made.top(5)) == [0, 3, 6, 9, 12]
    assert made.sample(20, seed=4).top(3).table.equals(made.sample(20, seed=4).table.head(3))
    assert shades(made.sample(20, seed=4).top(3)) == made.sample(20, seed=4).table["index"].head(3).tolist()
    assert "5 of 80 misread" in repr(made.top(5))


def test_a_choice_leaves_the_whole_as_it_is() -> None:
    made = planted(7)
    made.top(2)
    assert (len(made), made.total, len(made.top(2)), made.top(2).total) == (7, 7, 2, 7)
    assert made.title == "7 of 7 misread (mine, test, 1,000 images)"


def test_the_gallery_of_predictions_from_elsewhere_shows_the_images_of_their_rows() -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 5, 5), np.uint8)
    probs = [[0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.8, 0.2]]
    made = Predictions([1, 0, 1, 1], probs, rows=[40, 30, 20, 10], images=images, name="mine").misreads
    assert made.table["index"].tolist() == [10, 40]
    assert shades(made) == [3, 0]
    assert made.title == "2 of 2 misread (mine, test, 4 images)"


def test_rows_that_occur_twice_show_their_own_images() -> None:
    """As in held-out predictions of all splits together, where train and test both have a row 0."""
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 5, 5), np.uint8)
    probs = [[0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]
    made = Predictions([0, 0, 0, 0], probs, rows=[0, 1, 0, 1], images=images).misreads
    assert made.table["index"].tolist() == [0, 0]
    evidence = made.explain().table["evidence"]
    assert evidence.str.extract("(read as .*)")[0].tolist() == ["read as 1 90.0%, 0 10.0%", "read as 1 80.0%, 0 20.0%"]
    assert shades(made) == [0, 2]


def test_misreads_of_no_run_have_causes_by_their_probabilities_and_no_neighbours() -> None:
    made = Predictions([1, 0], [[0.6, 0.4], [0.9, 0.1]]).misreads
    assert "hash" not in made.table
    [line] = made.explain().table.to_dict("records")
    assert line["cause"] == "undetermined"  # two images prove nothing
    assert line["evidence"].endswith("read as 0 60.0%, 1 40.0%")
    assert len(made.neighbours) == 0
    with pytest.raises(DataError, match="have no images to show"):
        made.figure()


def test_misreads_are_the_same_object_each_time() -> None:
    found = Predictions([1, 0], [[0.6, 0.4], [0.9, 0.1]])
    assert found.misreads is found.misreads
