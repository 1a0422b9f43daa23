"""Members as trainings of their own: what is joined, in which order, and that no second is counted twice."""

from pathlib import Path
from typing import Any

import torch

from misread.training.checkpoints import write_checkpoint
from misread.training.member_checkpoints import join_members, member_folder, part_members, read_member
from misread.training.recipe import load_recipe
from misread.training.session import TrainState

RECIPE = load_recipe("tutorial-mlp", {"members": 3, "epochs": 2, "seed": 5})


def rows(*epochs: int) -> list[Any]:
    return [{"epoch": epoch, "loss": float(epoch)} for epoch in epochs]


def trained(member: int, epochs: int, seconds: float, checkpoints: Path) -> TrainState:
    """A member's own training after some epochs, and its checkpoint. After two it is complete."""
    state = read_member(checkpoints, RECIPE, member)
    state.history += rows(*range(len(state.history) + 1, epochs + 1))
    state.epoch, state.backend = epochs, {"weights/a": torch.tensor([float(member)])}
    state.clock.fit_seconds += seconds
    if epochs == RECIPE.epochs:
        state.finished = [{"a": torch.tensor([float(member)])}]
    write_checkpoint(member_folder(checkpoints, member), state)
    return state


def test_complete_members_are_joined_up_to_the_first_that_is_not(tmp_path: Path) -> None:
    for member, epochs in ((0, 2), (1, 1), (2, 2)):
        trained(member, epochs, 10.0 + member, tmp_path)
    state = join_members(TrainState(RECIPE.member_seed(0)), tmp_path, RECIPE)
    assert (state.position, state.seed) == ((1, 1, 0), RECIPE.member_seed(1))
    assert [row["epoch"] for row in state.history] == [1, 2, 3]
    assert [float(weights["a"]) for weights in state.finished] == [0.0]
    assert float(state.backend["weights/a"]) == 1.0
    assert state.clock.fit_seconds == 21.0
    trained(1, 2, 1.0, tmp_path)
    state = join_members(TrainState(RECIPE.member_seed(0)), tmp_path, RECIPE)
    assert [float(weights["a"]) for weights in state.finished] == [0.0, 1.0, 2.0]
    assert [row["epoch"] for row in state.history] == [1, 2, 3, 4, 5, 6]
    assert state.clock.fit_seconds == 10.0 + 11.0 + 1.0 + 12.0


def test_parting_and_joining_again_and_again_counts_every_second_once(tmp_path: Path) -> None:
    state = TrainState(RECIPE.member_seed(0), epoch=1, history=rows(1))
    state.clock.fit_seconds = 100.0
    state.interruptions = [{"member": 0, "epoch": 1, "step": 0, "exact": True, "reason": ""}]
    part_members(state, tmp_path)
    assert join_members(state, tmp_path, RECIPE) is state  # nothing new
    trained(0, 2, 1.0, tmp_path)
    trained(1, 1, 2.0, tmp_path)
    joined = join_members(state, tmp_path, RECIPE)
    assert joined.clock.fit_seconds == 103.0
    part_members(joined, tmp_path)
    assert join_members(joined, tmp_path, RECIPE).clock.fit_seconds == 103.0
    trained(1, 2, 4.0, tmp_path)
    joined = join_members(joined, tmp_path, RECIPE)
    assert joined.clock.fit_seconds == 107.0
    assert joined.position == (2, 0, 0)
    assert [row["epoch"] for row in joined.history] == [1, 2, 3, 4]
    assert joined.interruptions == state.interruptions
