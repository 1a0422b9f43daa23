"""A command that torchrun starts as several ranks: the first rank writes and prints, the others only compute."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from misread.errors import MisreadError

Command = TypeVar("Command", bound=Callable[..., None])


def joins_ranks(command: Command) -> Command:
    """Let a command meet the other ranks before it begins, if torchrun started it."""

    @functools.wraps(command)
    def joining(**arguments: Any) -> None:
        if "RANK" not in os.environ:  # so that nothing is imported
            command(**arguments)
            return
        with _ranks():
            command(**arguments)

    return joining  # type: ignore[return-value]


@contextmanager
def _ranks() -> Iterator[None]:
    """Errors are printed by the first rank alone: the others exit with the same code."""
    from misread.training.ranks import joined, started_by_torchrun

    if not started_by_torchrun():
        yield
        return
    try:
        with joined() as ranks:
            try:
                yield
            except MisreadError as error:
                ranks.tell(error)
                raise
    except MisreadError as error:
        if os.environ["RANK"] != "0":
            sys.exit(error.exit_code)
        raise


def follows() -> bool:
    """Whether this is a rank beside the first."""
    if "RANK" not in os.environ:
        return False
    from misread.training.ranks import current_ranks

    ranks = current_ranks()
    return ranks is not None and ranks.rank > 0
