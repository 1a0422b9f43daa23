"""A training that ends when validation is accurate enough."""

import json
from typing import Any

import pytest

import misread
from misread import ImageSet
from misread.runs.progress import result_lines

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = ['layers=[{type="Flatten"}, {type="Dense", units="classes"}]', "name=small", "validation.name=carve"]


def small(data: Any, *more: str, epochs: int = 6) -> misread.Run:
    return misread.train(data, "tutorial-mlp", settings=[*SMALL, *more], epochs=epochs, out="runs", progress=False)


FASTER = "optimizer.learning_rate=0.003"


def first_improvement(accuracies: list[float]) -> int:
    """The first epoch, from 1, that was more accurate than all before it."""
    return next(e for e in range(2, len(accuracies) + 1) if accuracies[e - 1] > max(accuracies[: e - 1]))


def test_a_training_ends_with_the_first_epoch_that_reaches_the_target(block_set: ImageSet) -> None:
    accuracies = small(block_set, FASTER).history["val_accuracy"].tolist()
    first = first_improvement(accuracies)
    target = accuracies[first - 1]
    run = small(block_set, FASTER, f"target_accuracy={target}")
    assert run.history["val_accuracy"].tolist() == accuracies[:first]
    assert (run.record.epochs_trained, run.record.target_reached, run.record.status) == (first, True, "complete")
    assert json.loads((run.folder / "run.json").read_text())["target_reached"] is True
    assert f"Reached the target of {target:.2%} on validation in epoch {first}." in result_lines(run)
    assert misread.open_run(run.folder, data=block_set).predictions("val").metrics()["accuracy"] == pytest.approx(
        target
    )


def test_a_missed_target_is_reported(block_set: ImageSet) -> None:
    run = small(block_set, "target_accuracy=1.0", "optimizer.learning_rate=1e-9", epochs=2)
    assert (run.record.epochs_trained, run.record.target_reached) == (2, False)
    best = run.history["val_accuracy"].max()
    assert f"The target of 100.00% on validation was not reached. The best epoch had {best:.2%}." in result_lines(run)


def test_a_run_without_a_target_does_not_mention_one(block_set: ImageSet) -> None:
    run = small(block_set, epochs=1)
    assert run.record.target_reached is None
    assert "target" not in "".join(result_lines(run))


def test_the_epoch_that_reached_the_target_has_priority_over_early_stopping(block_set: ImageSet) -> None:
    """By val_loss an earlier epoch may be better; its weights must not come back over the epoch that was asked for."""
    stopping = (FASTER, "early_stopping.patience=50", "early_stopping.monitor=val_loss")
    accuracies = small(block_set, *stopping).history["val_accuracy"].tolist()
    first = first_improvement(accuracies)
    run = small(block_set, *stopping, f"target_accuracy={accuracies[first - 1]}")
    alone = small(block_set, FASTER, f"target_accuracy={accuracies[first - 1]}")
    assert (run.record.epochs_trained, run.record.best_epoch, run.record.target_reached) == (first, None, True)
    weights = [(r.folder / "model.safetensors").read_bytes() for r in (run, alone)]
    assert weights[0] == weights[1]
