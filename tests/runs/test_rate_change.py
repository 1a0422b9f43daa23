"""The learning rate changed while a training runs: it is recorded, and resuming and reproducing stay exact."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import misread
from misread import ImageSet
from misread.runs.progress import result_lines
from misread.training.budget import Budget
from misread.training.recipe import Adam, OneCycle, Recipe
from misread.training.session import INTERRUPTED, RateChange, TrainState
from misread.training.state_file import read_state, state_bytes

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = [
    'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]',
    "name=small",
    "batch_size=32",  # 10 steps an epoch
    "validation.name=show-test",
]


class At(misread.Callback):
    """Calls `act` with the state at these positions, (epoch, step); an event follows every step."""

    def __init__(self, *positions: tuple[int, int], act: Any) -> None:
        self.positions, self.act = positions, act

    def on_start(self, state: TrainState) -> None:
        state.single_steps = True

    def on_steps(self, event: Any) -> None:
        if (event.state.epoch, event.state.step) in self.positions:
            self.act(event.state)


def weights(run: misread.Run) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in load_file(run.folder / "model.safetensors").items()}


def trained(data: ImageSet, *callbacks: misread.Callback, **more: Any) -> misread.Run:
    return misread.train(data, "tutorial-mlp", epochs=3, settings=SMALL, progress=False, callbacks=callbacks, **more)


def test_the_rates_of_steps_follow_the_changes_from_their_position_on() -> None:
    recipe = Recipe(epochs=2, optimizer=Adam(learning_rate=2.0), schedule=OneCycle(peak=0.5))
    plain = Budget(recipe, 6).rates(TrainState(0), 6)
    changes = [RateChange(0, 0, 2, 0.5), RateChange(0, 0, 4, 3.0), RateChange(1, 0, 0, 7.0)]
    state = TrainState(0, rate_changes=changes)
    factors = [1, 1, 0.5, 0.5, 3, 3]
    assert Budget(recipe, 6).rates(state, 6) == pytest.approx([r * f for r, f in zip(plain, factors, strict=True)])
    state.member = 1
    assert Budget(recipe, 6).rates(state, 6) == pytest.approx([7 * r for r in plain])


def test_a_change_takes_the_place_of_one_at_the_same_position_and_of_later_ones() -> None:
    state = TrainState(0, epoch=1, step=3, rate_changes=[RateChange(0, 1, 2, 0.5), RateChange(0, 2, 0, 9.0)])
    state.change_rate(0.5)
    assert len(state.rate_changes) == 2  # nothing changes here
    state.change_rate(2.0)
    state.change_rate(4.0)
    assert state.rate_changes == [RateChange(0, 1, 2, 0.5), RateChange(0, 1, 3, 4.0)]


def test_changes_are_in_the_state_as_bytes() -> None:
    state = TrainState(0, rate_changes=[RateChange(0, 1, 2, 0.5)])
    assert read_state(state_bytes(state), "here").rate_changes == state.rate_changes


def test_a_rate_multiplied_by_ten_is_that_of_a_recipe_with_ten_times_the_rate(block_set: ImageSet) -> None:
    changed = trained(block_set, At((0, 1), act=lambda state: state.change_rate(10.0)))
    first_step_alike = trained(block_set, At((0, 1), act=lambda state: state.stop("here")))
    assert weights(changed) != weights(trained(block_set)) != weights(first_step_alike)

    class FromTheStart(misread.Callback):
        def on_start(self, state: TrainState) -> None:
            state.change_rate(10.0)

    tenfold = misread.train(
        block_set,
        "tutorial-mlp",
        epochs=3,
        settings=[*SMALL, "optimizer.learning_rate=0.01"],
        progress=False,
        out="tenfold",
    )
    assert weights(trained(block_set, FromTheStart())) == weights(tenfold)


def test_a_changed_run_says_so_and_is_reproduced_exactly(block_set: ImageSet) -> None:
    factors = iter([5.0, 0.25])
    run = trained(block_set, At((0, 7), (1, 3), act=lambda state: state.change_rate(next(factors))))
    assert [change.model_dump() for change in misread.open_run(run.folder).record.rate_changes] == [
        {"member": 0, "epoch": 0, "step": 7, "factor": 5.0},
        {"member": 0, "epoch": 1, "step": 3, "factor": 0.25},
    ]
    assert "The learning rate was changed 2 times" in "\n".join(result_lines(run))
    assert misread.reproduce(run, progress=False).exact


def test_resuming_after_a_change_is_exact(block_set: ImageSet, tmp_path: Path) -> None:
    def change(state: TrainState) -> None:
        state.change_rate(3.0)

    whole = trained(block_set, At((1, 4), act=change))
    cut = trained(
        block_set,
        At((1, 4), act=change),
        At((1, 6), act=lambda state: state.stop(INTERRUPTED)),
        out=tmp_path,
    )
    assert cut.record.status == "interrupted"
    resumed = misread.resume(cut.folder, data=block_set, progress=False)
    assert weights(resumed) == weights(whole)
    assert resumed.record.rate_changes == whole.record.rate_changes
    assert resumed.record.interruptions[0].exact
