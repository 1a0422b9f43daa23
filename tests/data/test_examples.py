import numpy as np
import pytest

from misread.data.examples import pick_examples

LABELS = np.random.default_rng(0).choice([0, 1, 2, 5], 200, p=[0.7, 0.2, 0.08, 0.02])


@pytest.mark.parametrize("count", [1, 3, 4, 9, 50, 200, 900])
def test_classes_alternate_while_they_have_images(count: int) -> None:
    picked = pick_examples(LABELS, count, seed=1)
    assert len(picked) == len(set(picked.tolist())) == min(count, 200)
    left = {label: int((label == LABELS).sum()) for label in (0, 1, 2, 5)}
    expected: list[int] = []
    while len(expected) < len(picked):
        for label in (0, 1, 2, 5):
            if left[label]:
                left[label] -= 1
                expected.append(label)
    assert LABELS[picked].tolist() == expected[: len(picked)]


def test_the_seed_decides_and_a_larger_count_extends_a_smaller_one() -> None:
    assert pick_examples(LABELS, 8, 3).tolist() == pick_examples(LABELS, 8, 3).tolist()
    assert pick_examples(LABELS, 8, 3).tolist() != pick_examples(LABELS, 8, 4).tolist()
    assert pick_examples(LABELS, 20, 3)[:8].tolist() == pick_examples(LABELS, 8, 3).tolist()


def test_every_image_of_a_class_is_equally_likely() -> None:
    labels = np.array([0] * 5 + [1] * 5)
    first = [pick_examples(labels, 1, seed)[0] for seed in range(500)]
    assert np.bincount(first, minlength=5).min() > 60
