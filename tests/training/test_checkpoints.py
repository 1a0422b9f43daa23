"""When checkpoints are written; what is in them and how they are found again is tested by resuming runs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from misread.training import checkpoints
from misread.training.checkpoints import Checkpoints, find_checkpoints
from misread.training.events import EpochEnded
from misread.training.session import TrainState


def test_checkpoints_at_the_ends_of_epochs_keep_to_their_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]

    def write(path: Path, content: bytes) -> None:
        clock[0] += 3  # a slow disk
        path.write_bytes(content)

    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(checkpoints.files, "write_bytes", write)
    monkeypatch.setattr(checkpoints, "TIME_SHARE", 0.02)
    backend, state, written = SimpleNamespace(state_dict=dict, weights=dict), TrainState(0), []
    writer = Checkpoints(tmp_path / "checkpoints")
    for epoch in range(1, 7):
        clock[0] += 60
        state.epoch = epoch
        writer.on_epoch_end(EpochEnded(state, backend, {}, 9, torch.zeros(0)))  # type: ignore[arg-type, typeddict-item]
        written.append([int(path.name[17:23]) for path in find_checkpoints(tmp_path / "checkpoints")])
    # the first costs 3 s, so the next comes after 150 s at least: at the third epoch end from there
    assert written == [[1], [1], [1], [1, 4], [1, 4], [1, 4]]
