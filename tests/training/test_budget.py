"""A training's length: epochs, or seconds whose end the schedule meets."""

import time

import pytest

import misread
from misread.errors import RecipeError
from misread.training.budget import Budget
from misread.training.recipe import Adam, OneCycle, Recipe, WeightAveraging, parse_recipe
from misread.training.session import Clock, TrainState

CYCLE = OneCycle(peak=0.2, start_fraction=0.1)


def at(epoch: int = 0, step: int = 0, seconds: float = 0.0) -> TrainState:
    return TrainState(0, epoch=epoch, step=step, clock=Clock(fit_seconds=seconds))


def test_with_epochs_the_schedule_follows_the_steps() -> None:
    recipe = Recipe(epochs=2, optimizer=Adam(learning_rate=2.0), schedule=CYCLE)
    whole = [rate for epoch in (0, 1) for rate in Budget(recipe, 6).rates(at(epoch), 6)]
    in_parts = [
        rate
        for epoch in (0, 1)
        for step in range(0, 6, 2)
        for rate in Budget(recipe, 6).rates(at(epoch, step, seconds=99.0), 2)
    ]
    assert whole == in_parts  # the clock does not matter
    assert whole[0] == pytest.approx(0.2)
    assert whole[-1] == pytest.approx(0.0)
    assert not Budget(recipe, 6).spent(at(epoch=1, seconds=1e9))
    assert Budget(recipe, 6).spent(at(epoch=2))


def test_with_seconds_the_schedule_follows_the_time() -> None:
    budget = Budget(Recipe(seconds=10, optimizer=Adam(learning_rate=2.0), schedule=CYCLE), 5)
    budget.measure(4, 0.4)
    assert budget.rates(at(24, 3, seconds=1.9), 2) == pytest.approx([2 * 0.955, 2 * 1.0], rel=1e-3)
    assert budget.rates(at(199, 4, seconds=12.0), 1) == [0.0]  # late: the schedule stays at its end
    assert not budget.spent(at(epoch=50, seconds=9.0))
    assert budget.spent(at(epoch=1, seconds=9.95))  # another step would not fit
    assert budget.epoch_over(at(step=1, seconds=9.95))
    assert not budget.epoch_over(at(step=1, seconds=9.0))
    assert budget.epochs(at(epoch=1)) == 20


def test_the_steps_between_two_events_fill_a_tick_and_grow_by_four_times_at_most() -> None:
    budget = Budget(Recipe(), 1000, tick_seconds=0.1)
    assert budget.next_steps(at()) == 1
    budget.measure(1, 0.001)
    assert budget.next_steps(at(step=1)) == 4
    budget.measure(4, 0.02)
    assert budget.next_steps(at(step=5)) == 16
    budget.measure(16, 0.08)
    assert budget.next_steps(at(step=21)) == 20
    assert budget.next_steps(at(step=995)) == 5  # never beyond the epoch


def test_a_training_by_seconds_ends_in_time_and_records_its_epochs() -> None:
    data = misread.load("digits")
    started = time.perf_counter()
    run = misread.train(data, "fast", settings=["seconds=0.6"], progress=False)
    assert time.perf_counter() - started < 30  # and not the 10 epochs' worth of any machine
    assert run.record.epochs_trained >= 1
    assert 0 < run.history["accuracy"].iloc[-1] <= 1
    assert run.record.timing.fit_seconds < 5


def test_members_need_a_known_length() -> None:
    with pytest.raises(RecipeError, match="seconds: members need a known number of steps"):
        parse_recipe({"seconds": 3, "members": 2}, "mine")


def test_weights_are_averaged_over_the_last_share_of_the_seconds() -> None:
    budget = Budget(Recipe(seconds=10, weight_averaging=WeightAveraging(last=0.2)), 5)
    assert not budget.average_due(at(3, 1, seconds=7.9))
    assert budget.average_due(at(3, 1, seconds=8.1))
    assert not Budget(Recipe(seconds=10), 5).average_due(at(3, 1, seconds=9.9))


def test_each_image_scale_has_an_equal_part_of_the_steps_and_no_tick_spans_two() -> None:
    budget = Budget(Recipe(epochs=2, image_scales=(0.5, 0.75, 1.0)), 5)
    budget.measure(100, 1e-9)  # so fast that only the epoch and the scale end a tick
    positions = [divmod(step, 5) for step in range(10)]
    scales = [budget.image_scale(at(epoch, step)) for epoch, step in positions]
    assert scales == [0.5] * 4 + [0.75] * 3 + [1.0] * 3
    assert [budget.next_steps(at(epoch, step)) for epoch, step in positions] == [4, 3, 2, 1, 1, 2, 1, 3, 2, 1]


def test_with_seconds_each_image_scale_has_an_equal_part_of_the_time() -> None:
    budget = Budget(Recipe(seconds=9, image_scales=(0.5, 0.75, 1.0)), 5)
    assert [budget.image_scale(at(7, 2, seconds=s)) for s in (0, 2.9, 3.1, 6.1, 9.5)] == [0.5, 0.5, 0.75, 1.0, 1.0]
