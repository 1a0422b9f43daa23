"""The learning-rate range test: planted curves, both backends, what it may not look at."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from misread.data.image_set import ImageSet
from misread.errors import RecipeError, TrainingError
from misread.lab import learning_rate
from misread.lab.learning_rate import find_learning_rate, lowest_loss_rate, smooth
from samples import Result

RATES = np.geomspace(1e-6, 10, 200)


def test_smoothing_is_the_weighted_mean_of_the_losses_so_far() -> None:
    losses = np.random.default_rng(0).random(30)
    weights = learning_rate.SMOOTHING ** np.arange(30)[::-1]
    expected = [np.average(losses[: i + 1], weights=weights[-i - 1 :]) for i in range(30)]
    np.testing.assert_allclose(smooth(losses), expected, rtol=1e-12)


def test_the_rate_of_a_planted_lowest_loss_is_found() -> None:
    curve = 1 + (np.log10(RATES) + 2) ** 2  # lowest at 0.01
    assert lowest_loss_rate(RATES, curve) == pytest.approx(0.01, rel=0.1)


def test_a_loss_that_never_falls_has_no_suggestion() -> None:
    with pytest.raises(TrainingError, match="falls at no learning rate"):
        lowest_loss_rate(RATES, 2 + RATES)


@pytest.mark.parametrize(("settings", "engine"), [({}, "kernels"), ({"optimizer.name": "sgd"}, "torch")])
def test_the_suggestion_trains_on_both_backends(block_set: ImageSet, settings: dict[str, str], engine: str) -> None:
    steps = list[int]()
    found = find_learning_rate(
        block_set, "tutorial-mlp", settings=settings, steps=60, device="cpu", progress=steps.append
    )
    assert found.engine == engine
    assert steps == sorted(steps)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 60
    assert 1e-5 < found.suggestion == found.lowest / 10 < 1
    assert found.losses[0] == pytest.approx(np.log(4), abs=0.7)  # four classes, an untrained network


def test_only_training_images_are_looked_at(block_set: ImageSet) -> None:
    other = replace(block_set.test, images=255 - np.asarray(block_set.test.images), labels=block_set.test.labels[::-1])
    changed = replace(block_set, test=other)
    first, second = (find_learning_rate(d, "tutorial-mlp", steps=40, device="cpu") for d in (block_set, changed))
    np.testing.assert_array_equal(first.losses, second.losses)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"low": 0.1, "high": 0.01}, "not a range"), ({"low": 0.0}, "not a range"), ({"steps": 19}, "too few")],
)
def test_rates_and_steps_that_cannot_be_used(block_set: ImageSet, arguments: dict[str, float], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        find_learning_rate(block_set, "tutorial-mlp", **arguments)  # type: ignore[arg-type]


def test_the_command_writes_a_picture_and_prints_json(cli: Callable[..., Result], idx_folder: Path) -> None:
    done = cli("lr", idx_folder, "--recipe", "tutorial-mlp", "--steps", 40, "--out", "rates.png", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert len(found["rates"]) == len(found["losses"])
    assert Image.open(found["picture"]).width > 600
    assert cli("lr", idx_folder, "--out", "rates.txt").code == 2
