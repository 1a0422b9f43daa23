"""The callbacks that end a training, called with epochs made up by hand; and the order of calls."""

from types import SimpleNamespace

import pytest
import torch

from misread.training.callbacks import Callback, StopAtTarget, drive, recipe_callbacks
from misread.training.events import EpochEnded
from misread.training.recipe import Recipe
from misread.training.session import HistoryRow, TrainState


def ended(val_accuracy: float, state: TrainState | None = None) -> EpochEnded:
    row = HistoryRow(epoch=1, loss=1.0, accuracy=0.0, val_loss=1.0, val_accuracy=val_accuracy, seconds=0.0)
    return EpochEnded(state or TrainState(0), SimpleNamespace(weights=dict), row, 9, torch.zeros(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(("right", "n"), [(9, 10), (99, 100), (7, 10), (5940, 6000), (3, 3), (2, 3)])
def test_a_target_is_reached_at_exactly_its_share_and_not_one_image_below(right: int, n: int) -> None:
    def as_validated(count: int) -> float:
        return (torch.arange(n) < count).float().mean().item()

    target = StopAtTarget(right / n)
    below, reached = ended(as_validated(right - 1)), ended(as_validated(right))
    target.on_epoch_end(below)
    assert (below.state.stopped, below.state.target_reached) == ("", False)
    target.on_epoch_end(reached)
    assert (reached.state.stopped, reached.state.target_reached) == ("target accuracy reached", True)


class Notes(Callback):
    """Writes down how it is called."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def on_start(self, state: TrainState) -> None:
        self.calls.append(f"{self.name} start")

    def on_epoch_end(self, event: EpochEnded) -> None:
        self.calls.append(f"{self.name} epoch")

    def on_end(self, state: TrainState) -> None:
        self.calls.append(f"{self.name} end")


def test_callbacks_are_called_in_order_and_on_end_also_after_an_error() -> None:
    calls: list[str] = []
    state = TrainState(0)

    def events():  # type: ignore[no-untyped-def]
        yield ended(0.5, state)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive(events(), state, [Notes("a", calls), Notes("b", calls)])
    assert calls == ["a start", "b start", "a epoch", "b epoch", "a end", "b end"]


def test_a_recipe_gives_its_callbacks() -> None:
    both = Recipe.model_validate({"early_stopping": {}, "target_accuracy": 0.9})
    assert [type(c).__name__ for c in recipe_callbacks(both)] == ["StopEarly", "StopAtTarget"]
    assert recipe_callbacks(Recipe()) == []
