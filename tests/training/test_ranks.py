"""Several ranks take the steps of one."""

import numpy as np
import pytest
import torch

import ranked
from misread.training.losses import resolve_loss
from misread.training.recipe import Recipe, load_recipe

DENSE = '{type="Flatten"}, {type="Dense", units=12, activation="relu"}'
CONV = '{type="Conv2D", filters=6, kernel_size=3, padding="same", activation="relu"}'
NORMALISED = '{type="BatchNormalization"}, {type="MaxPooling2D", pool_size=2}'
CLASSES = '{type="Dense", units="classes"}'
NETWORKS = {
    "dense": f"[{DENSE}, {CLASSES}]",
    "dropout": f'[{DENSE}, {{type="Dropout", rate=0.4}}, {CLASSES}]',
    "normalised": f"[{CONV}, {NORMALISED}, {DENSE}, {CLASSES}]",
    "flat, normalised": f'[{DENSE}, {{type="BatchNormalization"}}, {CLASSES}]',
    "all": f'[{CONV}, {NORMALISED}, {{type="Dropout", rate=0.3}}, {DENSE}, {{type="Dropout", rate=0.4}}, {CLASSES}]',
}
AUGMENTED = "augmentation={rotation=10, shift=0.1}"


def recipe(layers: str, *settings: str) -> Recipe:
    """SGD, because Adam divides small gradients by themselves: rounding would decide its first steps."""
    common = ["epochs=3", "batch_size=25", "optimizer.name=sgd", "optimizer.learning_rate=0.05", "seed=3"]
    made = load_recipe("tutorial-mlp", [f"layers={layers}", *common, *settings])
    return made.model_copy(update={"loss": resolve_loss(made.loss, one_hot=False)})


def assert_close(found: ranked.Trained, expected: ranked.Trained, tolerance: float = 2e-5) -> None:
    assert found.weights.keys() == expected.weights.keys()
    for name, weights in expected.weights.items():
        np.testing.assert_allclose(found.weights[name], weights, rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4, atol=1e-5)
    assert [row["accuracy"] for row in found.history] == [row["accuracy"] for row in expected.history]


@pytest.mark.parametrize("name", NETWORKS)
def test_two_ranks_train_what_one_process_trains(name: str) -> None:
    made = recipe(NETWORKS[name], *([AUGMENTED] if name == "all" else []))
    first, second = ranked.together(made, 2)
    expected = ranked.alone(made)
    assert len(expected.losses) == 15
    assert_close(first, expected)
    for key, weights in first.weights.items():  # the ranks themselves do not drift apart
        assert weights.tobytes() == second.weights[key].tobytes(), key


@pytest.mark.slow
def test_three_ranks_and_one_rank_too() -> None:
    made = recipe(NETWORKS["all"], "optimizer.momentum=0.9", "loss.label_smoothing=0.1")
    expected = ranked.alone(made)
    assert_close(ranked.together(made, 3)[2], expected)
    assert_close(ranked.together(made, 1)[0], expected)


def test_a_training_without_its_own_share_differs() -> None:
    """The tolerance is small enough to notice one image of 101 that is left out."""
    made, whole = recipe(NETWORKS["normalised"]), ranked.IMAGES
    expected = ranked.alone(made)
    try:
        ranked.IMAGES = whole - 1
        other = ranked.alone(made)
    finally:
        ranked.IMAGES = whole
    assert max(float(np.abs(other.weights[n] - w).max()) for n, w in expected.weights.items()) > 1e-3


def test_the_shares_of_a_batch_are_all_of_it() -> None:
    from misread.training.ranks import Ranks

    for count in (1, 2, 3, 7):
        for n in (0, 1, 5, 100):
            parts = [torch.arange(n)[Ranks(rank, count).share(n)] for rank in range(count)]
            assert torch.cat(parts).tolist() == list(range(n))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
