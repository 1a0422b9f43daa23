"""What is promised of the real MNIST; skipped where it is not on the machine."""

from pathlib import Path

import pytest

import misread
from misread import ImageSet

pytestmark = pytest.mark.mnist


def test_the_tutorial_mlp_reads_mnist_as_the_lesson_says(mnist_root: Path) -> None:
    """Three epochs of the ten. A floor, and a ceiling that only a leak would pass."""
    run = misread.train("mnist", "tutorial-mlp", epochs=3, progress=False)
    assert run.record.data.source == "mnist"
    assert (run.record.data.n_train, run.record.data.n_test) == (60_000, 10_000)
    assert 0.970 < run.metrics["test"]["accuracy"] < 0.985
    assert run.history["accuracy"].iloc[-1] > run.history["accuracy"].iloc[0]


@pytest.mark.slow
def test_the_tutorial_cnn_reads_mnist_well_after_one_epoch(mnist_root: Path) -> None:
    run = misread.train("mnist", "tutorial-cnn", epochs=1, progress=False)
    assert 0.980 < run.metrics["test"]["accuracy"] < 0.9945


def test_the_tutorial_cnn_learns_a_tenth_of_mnist_and_lists_its_misreads(mnist_root: Path) -> None:
    train, test = misread.load("mnist").train, misread.load("mnist").test
    few = ImageSet.from_arrays(train.images[::10], train.labels[::10], test=(test.images[::2], test.labels[::2]))
    run = misread.train(few, "tutorial-cnn", epochs=1, progress=False)
    assert 0.92 < run.metrics["test"]["accuracy"] < 0.98
    table = run.misreads.table
    assert len(table) == run.metrics["test"]["misread"]
    assert [str(test.labels[2 * i]) for i in table["index"]] == table["label"].tolist()
