"""Which part of a job a process does, if several machines share it."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from misread.errors import RunError

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Every `count`-th shard, from `number` on, counted from 0. source: where the numbers come from."""

    number: int
    count: int
    source: str = "--part"

    def of(self, shards: Sequence[T]) -> Sequence[T]:
        return shards[self.number :: self.count]

    def __str__(self) -> str:
        return f"part {self.number}/{self.count} (from {self.source})"


def parse_part(text: str) -> Part:
    """`3/64` is the fourth of 64 parts. Raises RunError: another form, or there is no such part."""
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if match is None:
        raise RunError(f"The part {text!r} is invalid. Write K/N, for example 0/64, the first of 64 parts.")
    return _checked(Part(int(match[1]), int(match[2])))


def part_of_environment(environment: Mapping[str, str] = os.environ) -> Part | None:
    """The part that torchrun or MPI, a Slurm array or an indexed Kubernetes job says; None if none does.

    Raises RunError: the variables are no numbers, or the number of parts is missing.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _checked(_part(environment, "RANK", "WORLD_SIZE"))
    if "SLURM_ARRAY_TASK_ID" in environment:
        part = _part(environment, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
        first, step = (int(environment.get(f"SLURM_ARRAY_TASK_{n}", d)) for n, d in (("MIN", "0"), ("STEP", "1")))
        return _checked(Part((part.number - first) // step, part.count, part.source))
    if "JOB_COMPLETION_INDEX" in environment:
        if "WORLD_SIZE" not in environment:
            raise RunError(
                "JOB_COMPLETION_INDEX is set, but Kubernetes does not say how many parts there are.\n"
                "Set WORLD_SIZE to the job's completions, or give --part $JOB_COMPLETION_INDEX/N."
            )
        return _checked(_part(environment, "JOB_COMPLETION_INDEX", "WORLD_SIZE"))
    return None


def _part(environment: Mapping[str, str], number: str, count: str) -> Part:
    values = environment.get(number, ""), environment.get(count, "")
    if not all(value.isdecimal() for value in values):
        raise RunError(
            f"{number} is {values[0]!r} and {count} is {values[1]!r}; both must be numbers. Or give --part K/N."
        )
    return Part(int(values[0]), int(values[1]), f"{number} and {count}")


def _checked(part: Part) -> Part:
    if part.number >= part.count:
        raise RunError(
            f"There is no {part}: parts count from 0, so the last of {part.count} is {part.count - 1}/{part.count}."
        )
    return part
