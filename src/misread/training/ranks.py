"""Several processes (ranks) that train one network together, as started by torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from misread.errors import MisreadError, RecipeError
from misread.training.callbacks import StopWhen
from misread.training.session import TrainState

TIMEOUT = timedelta(minutes=10)  # to wait for another rank; the first one may have to decode a data set
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them


class RankLost(MisreadError):
    """Another rank ended, or did not answer in time."""

    exit_code = 1


@dataclass
class Ranks:
    """The place of this process among all that train together. rank: its number, from 0. count: of all of them.

    agreed: whether the ranks have found that they do the same.
    """

    rank: int
    count: int
    agreed: bool = field(default=False)

    def share(self, n: int) -> slice:
        """The part of n images that this rank computes. The parts differ by one image at most, and may be empty."""
        return slice(self.rank * n // self.count, (self.rank + 1) * n // self.count)

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks, which is the same, bit for bit, on each of them."""
        with _answering():
            dist.all_reduce(tensor)

    def any(self, value: bool) -> bool:
        """Whether this value is true on any rank."""
        flag = torch.tensor(float(value))
        self.sum(flag)
        return bool(flag)

    def exchange(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order."""
        values: list[Any] = [None] * self.count
        with _answering():
            dist.all_gather_object(values, value)
        return values

    def agree(self, facts: dict[str, str]) -> None:
        """Check that all ranks have the same facts, by name. Raises RecipeError: they differ, or a rank failed."""
        answers = self.exchange(facts)
        self.agreed = True
        for rank, answer in enumerate(answers):
            if isinstance(answer, str):
                raise RecipeError(f"Rank {rank}: {answer}")
            different = [name for name in facts if answer[name] != answers[0][name]]
            if different:
                raise RecipeError(
                    f"Rank {rank} has another {' and '.join(different)} than rank 0. Give all ranks the same command, "
                    "data and versions."
                )

    def tell(self, error: MisreadError) -> None:
        """Let the other ranks know why this one cannot begin."""
        if not self.agreed:
            self.agreed = True
            self.exchange(str(error))


class StopTogether(StopWhen):
    """Interrupts the training of all ranks at the same step, when one of them should stop."""

    def __init__(self, ranks: Ranks, stop_when: StopWhen) -> None:
        super().__init__(lambda: ranks.any(stop_when.should_stop()))

    def on_start(self, state: TrainState) -> None:
        state.single_steps = True  # so that all ranks get here after every step


_current: Ranks | None = None


def current_ranks() -> Ranks | None:
    """The ranks that this process trains with, if it does."""
    return _current


def started_by_torchrun() -> bool:
    return all(name in os.environ for name in VARIABLES)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Meet the other ranks that torchrun started; inside the block `current_ranks` are these.

    On a machine with GPUs each rank takes one.
    Raises RankLost: not all came in time.
    """
    global _current
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    with _answering():
        dist.init_process_group(backend, timeout=TIMEOUT)
    _current = Ranks(dist.get_rank(), dist.get_world_size())
    try:
        yield _current
    finally:
        _current = None
        dist.destroy_process_group()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of which torch's errors of communication are kinds
        raise RankLost(
            f"Another rank ended, or did not answer within {TIMEOUT.seconds // 60} minutes, so this training cannot go "
            "on. Its last checkpoint is kept: start all ranks again with --resume RUN.\n"
            f"({str(error).strip().splitlines()[0]})"
        ) from error
