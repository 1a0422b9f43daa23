"""Parts of a job, from the command line and from the environment."""

import pytest

from misread.errors import RunError
from misread.scale.part import Part, parse_part, part_of_environment

SLURM = {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "2",
         "SLURM_ARRAY_TASK_COUNT": "5"}  # fmt: skip


@pytest.mark.parametrize(("count", "shards"), [(1, 10), (3, 10), (64, 10), (3, 0)])
def test_parts_have_every_shard_once(count: int, shards: int) -> None:
    parts = [Part(number, count).of(range(shards)) for number in range(count)]
    assert sorted(shard for part in parts for shard in part) == list(range(shards))


def test_a_part_is_written_as_number_and_count() -> None:
    assert parse_part(" 3/64 ") == Part(3, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "The part '3' is invalid. Write K/N, for example 0/64"),
        ("-1/2", "The part '-1/2' is invalid"),
        ("4/4", "parts count from 0, so the last of 4 is 3/4."),
        ("0/0", "parts count from 0"),
    ],
)
def test_a_wrong_part_is_refused(text: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        parse_part(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "number", "count"),
    [
        ({"RANK": "2", "WORLD_SIZE": "4"}, 2, 4),
        (SLURM, 2, 5),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0"}, 0, 2),
        ({"JOB_COMPLETION_INDEX": "1", "WORLD_SIZE": "3"}, 1, 3),
    ],
)
def test_the_environment_says_the_part(environment: dict[str, str], number: int, count: int) -> None:
    part = part_of_environment(environment)
    assert part is not None
    assert (part.number, part.count) == (number, count)
    assert part.source in {"RANK and WORLD_SIZE", "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT",
                           "JOB_COMPLETION_INDEX and WORLD_SIZE"}  # fmt: skip


def test_an_environment_without_these_variables_says_no_part() -> None:
    assert part_of_environment({"WORLD_SIZE": "4"}) is None


def test_an_index_without_a_count_is_refused() -> None:
    with pytest.raises(RunError, match="Set WORLD_SIZE to the job's completions"):
        part_of_environment({"JOB_COMPLETION_INDEX": "1"})


def test_a_rank_that_is_no_number_is_refused() -> None:
    with pytest.raises(RunError, match="RANK is 'x' and WORLD_SIZE is '2'; both must be numbers"):
        part_of_environment({"RANK": "x", "WORLD_SIZE": "2"})
