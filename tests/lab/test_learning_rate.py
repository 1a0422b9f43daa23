"""The learning-rate range test: planted curves, both backends, what it may not look at."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data.image_set import ImageSet
from misread.errors import RecipeError, TrainingError
from misread.lab import learning_rate
from misread.lab.learning_rate import bottom_rate, find_learning_rate, smooth
from samples import Result, blocks

RATES = np.geomspace(1e-6, 10, 200)


def test_smoothing_is_the_weighted_mean_of_the_losses_so_far() -> None:
    losses = np.random.default_rng(0).random(30)
    weights = learning_rate.SMOOTHING ** np.arange(30)[::-1]
    expected = [np.average(losses[: i + 1], weights=weights[-i - 1 :]) for i in range(30)]
    np.testing.assert_allclose(smooth(losses), expected, rtol=1e-12)


def test_the_bottom_of_a_planted_fall_is_found() -> None:
    curve = np.interp(np.log10(RATES), [-4, -2, -1, 1], [2, 0, 0, 4])  # a straight fall from 0.0001 to 0.01
    assert bottom_rate(RATES, curve) == pytest.approx(10**-2.04, rel=0.1)  # 98% of the way


def test_a_loss_that_never_falls_has_no_suggestion() -> None:
    with pytest.raises(TrainingError, match="falls at no learning rate"):
        bottom_rate(RATES, 2 + RATES)


@pytest.mark.parametrize(("settings", "engine"), [({}, "kernels"), ({"optimizer.name": "sgd"}, "torch")])
def test_the_suggestion_trains_on_both_backends(block_set: ImageSet, settings: dict[str, str], engine: str) -> None:
    steps = list[int]()
    found = find_learning_rate(
        block_set, "tutorial-mlp", settings=settings, steps=60, device="cpu", progress=steps.append
    )
    assert found.engine == engine
    assert steps == sorted(steps)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 60
    assert 1e-5 < found.suggestion < found.rates[-1]
    at = list(found.rates).index(found.suggestion)
    start, low = found.smoothed[: len(found.smoothed) // 10].mean(), found.smoothed.min()
    assert found.smoothed[at] <= start - 0.98 * (start - low) < found.smoothed[:at].min()
    assert found.losses[0] == pytest.approx(np.log(4), abs=0.7)  # four classes, an untrained network


@pytest.mark.slow
def test_no_rate_around_the_suggestion_trains_much_better(tmp_path: Path) -> None:
    carved = {"validation.name": "carve", "validation.fraction": 0.2, "epochs": 5}
    found = find_learning_rate("digits", "tutorial-mlp", settings=carved, device="cpu")

    def accuracy(factor: float) -> float:
        settings = carved | {"optimizer.learning_rate": factor * found.suggestion}
        run = misread.train("digits", "tutorial-mlp", settings=settings, out=tmp_path, device="cpu", progress=False)
        return float(run.history["val_accuracy"].iloc[-1])

    suggested = accuracy(1)
    assert suggested > accuracy(0.1) + 0.02
    assert suggested > max(accuracy(1 / 3), accuracy(3), accuracy(10)) - 0.02


@pytest.mark.parametrize(("schedule", "mean"), [("constant", 1.0), ("cosine", 0.5)])
def test_the_suggestion_is_the_mean_rate_of_the_schedule(block_set: ImageSet, schedule: str, mean: float) -> None:
    found = find_learning_rate(block_set, "tutorial-mlp", settings={"schedule.name": schedule}, steps=60, device="cpu")
    assert found.bottom / found.suggestion == pytest.approx(mean, abs=0.02)


def test_only_training_images_are_looked_at(block_set: ImageSet) -> None:
    train, (images, labels) = blocks(320), blocks(80, seed=1)
    changed = ImageSet.from_arrays(*train, test=(255 - images, labels[::-1]), name="blocks")
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
    with Image.open(found["picture"]) as picture:
        assert picture.width > 600
    assert cli("lr", idx_folder, "--out", "rates.txt").code == 2


def test_the_command_to_try_has_the_given_settings(cli: Callable[..., Result], idx_folder: Path) -> None:
    given = ["--recipe", "tutorial-mlp", "--set", "batch_size=16"]
    done = cli("lr", idx_folder, *given, "--steps", 40, "--out", "rates.png")
    (line,) = [line for line in done.out.splitlines() if line.startswith("Try it: ")]
    command = shlex.split(line.removeprefix("Try it: "))
    assert command[:7] == ["misread", "train", str(idx_folder), *given]
    assert command[7] == "--set"
    assert command[8].startswith("optimizer.learning_rate=")


def test_pictures_have_the_given_size_also_in_the_command_to_try(cli: Callable[..., Result], tmp_path: Path) -> None:
    for image, label in zip(*blocks(40, side=20), strict=True):
        folder = tmp_path / "pictures" / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{len(list(folder.iterdir()))}.png")
    done = cli(
        "lr", tmp_path / "pictures", "--recipe", "tutorial-mlp", "--size", "8x10", "--steps", 30, "--out", "rates.png"
    )
    assert done.code == 0, done.err
    assert "--size 8x10" in done.out
