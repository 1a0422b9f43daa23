"""Trainings whose predictions are means: over networks, over views, over weights; and augmented ones."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import misread
from misread import ImageSet
from misread.errors import RecipeError
from misread.models.ensemble import Ensemble
from misread.models.views import MeanOverViews
from misread.runs.progress import Progress
from misread.runs.train import train
from misread.training.events import EpochEnded
from misread.training.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = [
    'layers=[{type="Flatten"}, {type="Dense", units=8, activation="relu"}, {type="Dense", units="classes"}]',
    "name=small",
    "batch_size=32",
    "validation.name=show-test",
]


def small(data: ImageSet, *more: str, **settings: Any) -> misread.Run:
    return train(data, "tutorial-mlp", settings=[*SMALL, *more], **{"progress": False, "epochs": 2, **settings})


def test_an_ensemble_is_the_mean_of_the_runs_with_its_members_seeds(block_set: ImageSet) -> None:
    ensemble = small(block_set, "members=3", seed=2)
    alone = [small(block_set, seed=seed) for seed in (6, 7, 8)]
    images = block_set.test.images
    mean = np.mean([run.predict(images).astype(np.float64) for run in alone], axis=0)
    np.testing.assert_allclose(ensemble.predict(images), mean, atol=1e-6)
    np.testing.assert_allclose(ensemble.predictions().probs, mean, atol=1e-6)
    rows = np.concatenate([run.history["loss"] for run in alone])
    np.testing.assert_allclose(ensemble.history["loss"], rows, rtol=1e-6)
    assert ensemble.history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert ensemble.record.epochs_trained == 6
    assert ensemble.record.model.parameters == 3 * alone[0].record.model.parameters


def test_an_ensemble_opens_again_from_its_folder(block_set: ImageSet) -> None:
    trained = small(block_set, "members=2")
    opened = misread.open_run(trained.folder, data=block_set)
    assert isinstance(opened.network, Ensemble)
    np.testing.assert_array_equal(opened.predict(block_set.test.images), trained.predict(block_set.test.images))
    assert str(opened.summary) == str(trained.summary)
    assert opened.evaluate()["misread"] == trained.metrics["test"]["misread"]
    assert "members.1.dense.weight" in load_file(trained.folder / "model.safetensors")


class InterruptsAfter(Progress):
    """Presses Ctrl-C when an epoch of this number has ended."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.heard: list[int] = []

    def on_epoch_end(self, event: EpochEnded) -> None:
        self.heard.append(event.row["epoch"])
        assert event.epochs == 6
        if event.row["epoch"] == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("after", "members", "epochs"), [(1, 1, 1), (2, 1, 2), (3, 1, 2), (4, 2, 4), (5, 2, 4)])
def test_an_interrupted_ensemble_has_its_complete_members(
    block_set: ImageSet, after: int, members: int, epochs: int
) -> None:
    listener = InterruptsAfter(after)
    run = small(block_set, "members=3", progress=listener)
    assert listener.heard == list(range(1, after + 1))
    assert run.record.status == "interrupted"
    assert run.record.epochs_trained == len(run.history) == epochs
    opened = misread.open_run(run.folder, data=block_set)
    assert opened.recipe.members == members
    assert opened.record.model.parameters == members * small(block_set).record.model.parameters
    np.testing.assert_array_equal(opened.predict(block_set.test.images), run.predict(block_set.test.images))


def test_a_network_from_python_cannot_be_an_ensemble(block_set: ImageSet) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(RecipeError, match=r"has 2 members, but a network from Python is a single one.\nSet members"):
        small(block_set, "members=2", network=network)


def test_members_and_early_stopping_are_refused_together(block_set: ImageSet) -> None:
    with pytest.raises(RecipeError, match="members: an ensemble cannot stop early; leave early_stopping out"):
        small(block_set, "members=2", "validation.name=carve", "early_stopping.patience=1")


@pytest.mark.parametrize("more", [(), ("members=2",)])
def test_test_time_augmentation_changes_predictions_and_not_weights(block_set: ImageSet, more: tuple[str, ...]) -> None:
    plain, averaged = small(block_set, *more), small(block_set, *more, "test_time_augmentation.shift=1")
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (plain, averaged)]
    assert weights[0] == weights[1]
    images = block_set.test.images
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    moved = [padded[:, y : y + 8, x : x + 8] for y, x in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    mean = np.mean([plain.predict(np.ascontiguousarray(m)) for m in moved], axis=0)
    opened = misread.open_run(averaged.folder, data=block_set)
    assert isinstance(opened.network, MeanOverViews)
    for found in (averaged.predict(images), averaged.predictions().probs, opened.predict(images)):
        np.testing.assert_allclose(found, mean, atol=1e-5)
    assert str(opened.summary) == str(plain.summary)
    by_module = opened.network(torch.tensor(images).movedim(-1, 1) / 255).detach().exp()
    np.testing.assert_allclose(by_module, mean, atol=1e-5)  # the network itself, as whoever exports it has it


def test_augmentation_is_recorded_and_depends_on_the_seed(block_set: ImageSet) -> None:
    def weights(*more: str, **settings: Any) -> bytes:
        return (small(block_set, *more, **settings).folder / "model.safetensors").read_bytes()

    shifted = "augmentation.shift=0.1"
    assert weights(shifted) == weights(shifted)
    assert len({weights(), weights(shifted), weights(shifted, seed=1)}) == 3
    run = small(block_set, shifted)
    assert run.recipe.augmentation is not None
    assert run.recipe.augmentation.shift == 0.1
    assert "shift = 0.1" in (Path(run.folder) / "recipe.toml").read_text()


@pytest.mark.parametrize("network", [None, nn.Sequential(nn.Flatten(), nn.Linear(64, 4))])
def test_an_augmented_training_recognises_shifted_images(block_set: ImageSet, network: nn.Module | None) -> None:
    """The blocks of the set, moved by up to a quarter of the side in data that training never saw."""
    far = ImageSet.from_arrays(
        *((block_set.train.images, block_set.train.labels)),
        test=(np.roll(block_set.test.images, (1, -1), axis=(1, 2)), block_set.test.labels),
        name="moved",
    )
    run = small(far, "augmentation.shift=0.2", epochs=15, network=network)
    assert run.metrics["test"]["accuracy"] > 0.9


def test_ensembles_of_different_seeds_share_no_member() -> None:
    seeds = [load_recipe("fast", [f"seed={s}", "members=3"]).member_seed(k) for s in (0, 1, 2) for k in range(3)]
    assert seeds == list(range(9))
    assert 0 <= load_recipe("fast", [f"seed={2**63 - 1}", "members=5"]).member_seed(4) < 2**63
    assert load_recipe("fast", ["seed=11"]).member_seed(0) == 11
