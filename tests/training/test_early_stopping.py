"""The listeners that end a training, told of epochs made up by hand."""

import pytest
import torch
from torch import nn

from misread.training.early_stopping import TargetAccuracy
from misread.training.events import EpochEnded, HistoryRow


def ended(val_accuracy: float) -> EpochEnded:
    row = HistoryRow(epoch=1, loss=1.0, accuracy=0.0, val_loss=1.0, val_accuracy=val_accuracy, seconds=0.0)
    return EpochEnded(row, 9, nn.Identity())


@pytest.mark.parametrize(("right", "n"), [(9, 10), (99, 100), (7, 10), (5940, 6000), (3, 3), (2, 3)])
def test_a_target_is_reached_at_exactly_its_share_and_not_one_image_below(right: int, n: int) -> None:
    def as_validated(count: int) -> float:
        return (torch.arange(n) < count).float().mean().item()

    target = TargetAccuracy(right / n)
    assert not target.had_enough(ended(as_validated(right - 1)))
    assert not target.reached
    assert target.had_enough(ended(as_validated(right)))
    assert target.reached
