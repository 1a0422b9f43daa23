"""The members of an ensemble as trainings of their own: each has its checkpoints in a folder of its own.

A training of members one after the other has one state, with the members that are complete and the current one. What
members have trained side by side is added to it in their order.
"""

from dataclasses import replace
from pathlib import Path

from misread.training.checkpoints import find_checkpoints, read_checkpoint, write_checkpoint
from misread.training.recipe import Recipe
from misread.training.session import Clock, HistoryRow, TrainState


def member_folder(checkpoints: Path, member: int) -> Path:
    """The folder for the checkpoints of a member, counted from 0. checkpoints: the folder for those of the ensemble."""
    return checkpoints / f"member-{member:03}"


def read_member(checkpoints: Path, recipe: Recipe, member: int) -> TrainState:
    """The state of a member's own training: that of its last checkpoint, or a new one.

    It has no other member's epochs, weights or seconds. Raises RunError: its checkpoints are damaged.
    """
    folder = member_folder(checkpoints, member)
    if find_checkpoints(folder):
        return read_checkpoint(folder)
    return TrainState(recipe.member_seed(member), member)


def part_members(state: TrainState, checkpoints: Path) -> None:
    """Let the members of an ensemble go on as trainings of their own, the current one from its position.

    The ensemble has a checkpoint at the same position, so that `join_members` adds up the seconds of both.
    """
    begun = state.epoch or state.step
    if begun or state.interruptions:
        write_checkpoint(checkpoints, state)
    if begun:
        own = replace(
            state,
            history=_numbered(state.history[len(state.history) - state.epoch :], 1),
            clock=Clock(epoch_seconds=state.clock.epoch_seconds),
            finished=[],
            interruptions=[],
        )
        write_checkpoint(member_folder(checkpoints, state.member), own)


def join_members(state: TrainState, checkpoints: Path, recipe: Recipe) -> TrainState:
    """The state of an ensemble, with what its members have trained on their own, up to the first unfinished member."""
    while len(state.finished) < recipe.members:
        own = read_member(checkpoints, recipe, state.member)
        if (own.position, len(own.finished)) <= (state.position, 0):
            break
        earlier = state.history[: len(state.history) - state.epoch]
        state = replace(
            own,
            history=[*earlier, *_numbered(own.history, len(earlier) + 1)],
            clock=Clock(
                state.clock.fit_seconds + own.clock.fit_seconds,
                state.clock.validate_seconds + own.clock.validate_seconds,
                own.clock.epoch_seconds,
            ),
            finished=[*state.finished, *own.finished],
            interruptions=state.interruptions,
            rate_changes=state.rate_changes,
        )
        if own.finished and len(state.finished) < recipe.members:
            state.begin_member(recipe.member_seed(len(state.finished)))
    return state


def _numbered(rows: list[HistoryRow], first: int) -> list[HistoryRow]:
    """Rows with consecutive epochs from `first` on."""
    return [{**row, "epoch": epoch} for epoch, row in enumerate(rows, first)]
