"""A training's length: epochs, or seconds whose end the schedule meets."""

import time

import pytest

import misread
from misread.errors import RecipeError
from misread.training.length import Length
from misread.training.recipe import Adam, OneCycle, Recipe, parse_recipe

CYCLE = OneCycle(peak=0.2, start_fraction=0.1)


def test_epochs_give_every_step_its_own_place_in_the_schedule() -> None:
    recipe = Recipe(epochs=2, optimizer=Adam(learning_rate=2.0), schedule=CYCLE)
    whole = Length(recipe, 5).rates(0, 10, seconds=0.0)
    in_parts = [rate for first in range(0, 10, 2) for rate in Length(recipe, 5).rates(first, 2, seconds=99.0)]
    assert whole == in_parts  # the clock does not matter
    assert whole[0] == pytest.approx(0.2)
    assert whole[-1] == pytest.approx(0.0)


def test_seconds_drive_the_schedule_whatever_the_number_of_steps() -> None:
    length = Length(Recipe(seconds=10, optimizer=Adam(learning_rate=2.0), schedule=CYCLE), 5)
    length.took(4, 0.4)
    assert length.rates(first=123, count=2, seconds=1.9) == pytest.approx([2 * 0.955, 2 * 1.0], rel=1e-3)
    assert length.rates(first=999, count=1, seconds=12.0) == [0.0]  # late: the schedule stays at its end
    assert not length.over(epoch=50, seconds=9.0)
    assert length.over(epoch=1, seconds=9.95)  # another step would not fit
    assert length.epochs(1) == 20


def test_a_training_of_seconds_ends_in_time_and_records_what_it_saw() -> None:
    data = misread.load("digits")
    started = time.perf_counter()
    run = misread.train(data, "fast", settings=["seconds=0.6"], progress=False)
    assert time.perf_counter() - started < 30  # and not the 10 epochs' worth of any machine
    assert run.record.epochs_trained >= 1
    assert 0 < run.history["accuracy"].iloc[-1] <= 1
    assert run.record.timing.fit_seconds < 5


@pytest.mark.parametrize("with_it", [{"members": 2}, {"weight_averaging": {}}])
def test_what_needs_a_known_length_is_refused(with_it: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="seconds: members and weight_averaging"):
        parse_recipe({"seconds": 3, **with_it}, "mine")
