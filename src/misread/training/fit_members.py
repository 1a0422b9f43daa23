"""Training several networks, one after the other."""

from collections.abc import Generator, Sequence
from dataclasses import replace

from torch import nn

from misread.training.events import STOP, EpochEnded, Event, Finished, HistoryRow, Progress
from misread.training.fit import Examples, fit
from misread.training.networks import joined
from misread.training.recipe import Recipe


def fit_members(
    networks: Sequence[nn.Module], recipe: Recipe, train: Examples, val: Examples, n_classes: int
) -> Generator[Event, str | None, None]:
    """`fit` for each network with its member's seed; of one it is `fit` itself.

    The epochs are numbered through. `Finished` comes once: after STOP with the networks that had all their epochs,
    though with the first in any case.
    """
    finished: list[Finished] = []
    answer: str | None = None
    while len(finished) < len(networks) and answer != STOP:
        before = len(finished) * recipe.epochs
        member = recipe.model_copy(update={"seed": recipe.member_seed(len(finished))})
        events = fit(networks[len(finished)], member, train, val, n_classes)
        answer = None
        while not isinstance(event := events.send(answer), Finished):
            epochs = len(networks) * recipe.epochs if len(networks) > 1 else event.epochs
            answer = yield _numbered_through(event, before, epochs)
        finished.append(replace(event, history=tuple(_numbered_row(row, before) for row in event.history)))
    whole = [finished[0], *(f for f in finished[1:] if len(f.history) == recipe.epochs)]
    yield replace(
        finished[0],
        network=joined([f.network for f in whole]),
        history=tuple(row for f in whole for row in f.history),
        fit_seconds=sum(f.fit_seconds for f in finished),
        validate_seconds=sum(f.validate_seconds for f in finished),
    )


def _numbered_through(event: Progress | EpochEnded, before: int, epochs: int) -> Progress | EpochEnded:
    if isinstance(event, Progress):
        return replace(event, epoch=before + event.epoch, epochs=epochs)
    return replace(event, row=_numbered_row(event.row, before), epochs=epochs)


def _numbered_row(row: HistoryRow, before: int) -> HistoryRow:
    return {**row, "epoch": before + row["epoch"]}
