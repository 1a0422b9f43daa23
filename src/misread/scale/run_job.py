"""A job from its start to its end, by local processes or a cluster."""

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from misread.errors import MisreadError, RunError
from misread.files import locked, remove_partial_files, sealed, unsealed, write_text
from misread.runs.checksums import Verification, difference
from misread.scale.job import FAILED, JOB, SUCCESS, Job, read_job
from misread.scale.predict_shard import ShardResult, ShardTask, finished, predict_shard
from misread.scale.predictor import Predictor
from misread.scale.shards import Shard
from misread.workers import Cluster, Need, TaskDone, TaskFunction, TaskProgress, run_tasks


@dataclass
class JobState:
    """How far a job is. It changes while `run_job` runs.

    shards, bytes: of this process's part. done_shards, done_bytes: of these, those whose predictions are there.
    images, errors: rows in the predictions of the part, and those of them without a prediction.
    new_images:     images predicted by this call, also of shards that are not done yet.
    failed:         why a shard failed, by its name.
    complete:       all shards of the job are done, also those of other parts.
    """

    shards: int
    bytes: int
    done_shards: int = 0
    done_bytes: int = 0
    images: int = 0
    errors: int = 0
    new_images: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    complete: bool = False


def run_job(
    job: Job, shards: Sequence[Shard], predictor: Predictor, workers: int | Cluster
) -> Generator[JobState, None, None]:
    """Do the shards whose predictions are not there; yields the same state whenever it has changed.

    shards: those of the job, or this process's part of them. workers: as for `run_tasks`.
    At the end the failed ones are in `_failed.jsonl`. If all shards of the job are done, `_SUCCESS` has the counts
    and hashes.
    Raises RunError: the folder has predictions of another job, or cannot be written.
    """
    state = JobState(len(shards), sum(shard.bytes for shard in shards))
    _remove_damaged(job, shards)
    missing = []
    for shard in shards:
        result = finished(job.output(shard), job.digest)
        if result is None:
            missing.append(shard)
        else:
            _count(state, shard, result)
    yield state
    tasks = [ShardTask(predictor, s, job.output(s), job.digest, job.probabilities) for s in missing]
    shown: dict[int, int] = {}  # images of a task that were counted
    with closing(run_tasks(predict_shard, tasks, workers, Need(folder=job.folder))) as events:
        for event in events:
            shard = missing[event.index]
            if isinstance(event, TaskProgress):
                images = event.value
            elif event.error is not None:
                state.failed[shard.name] = str(event.error)
                images = shown.get(event.index, 0)
            else:
                images = event.result.images
                _count(state, shard, event.result)
            state.new_images += images - shown.get(event.index, 0)
            shown[event.index] = images
            yield state
    try:
        with (job.folder / JOB).open("rb") as file, locked(file):  # other parts may end now
            _write_failed(job, shards, state.failed)
        state.complete = _write_success(job)
    except OSError as error:
        raise RunError(f"{job.folder} cannot be written or read: {error.strerror}.") from None
    yield state


def _remove_damaged(job: Job, shards: Sequence[Shard]) -> None:
    """Remove predictions that are not those that `_SUCCESS` names, so that they are made again.

    Raises RunError: they are not damaged, but of another job.
    """
    try:
        known = read_success(job.folder)
    except RunError:
        return  # only a complete job has hashes
    for path in map(job.output, shards):
        if known.job == job.digest and finished(path, job.digest) and file_hash(path) != known.sha256.get(path.name):
            path.unlink(missing_ok=True)


def _count(state: JobState, shard: Shard, result: ShardResult) -> None:
    state.done_shards += 1
    state.done_bytes += shard.bytes
    state.images += result.images
    state.errors += result.errors


def _write_failed(job: Job, shards: Sequence[Shard], failed: dict[str, str]) -> None:
    """Bring `_failed.jsonl` up to date. Failed shards of other parts stay in it, unless they are done."""
    path = job.folder / FAILED
    own = {shard.name for shard in shards}
    lines = {line["shard"]: line for line in read_failed(job.folder) if line["shard"] not in own}
    lines |= {s.name: {"shard": s.name, "path": s.path, "error": failed[s.name]} for s in shards if s.name in failed}
    there = [lines[s.name] for s in job.shards if s.name in lines and not job.output(s).exists()]
    if there:
        write_text(path, "".join(json.dumps(line) + "\n" for line in there))
    else:
        path.unlink(missing_ok=True)


def read_failed(folder: Path) -> list[dict[str, str]]:
    """The lines of `_failed.jsonl`: shard, path, error. Empty if there is no such file, or it is damaged."""
    try:
        lines = (folder / FAILED).read_text(encoding="utf-8").splitlines()
        return [line for line in map(json.loads, lines) if isinstance(line, dict) and "shard" in line]
    except (FileNotFoundError, ValueError):
        return []


def _write_success(job: Job) -> bool:
    """Write `_SUCCESS` if every shard is done; whether it is. The contents depend on the job alone."""
    outputs = {}
    for shard in job.shards:
        try:
            result = finished(job.output(shard), job.digest)
        except MisreadError:
            return False
        if result is None:
            return False
        digest = file_hash(job.output(shard))
        outputs[f"{shard.name}.parquet"] = {"images": result.images, "errors": result.errors, "sha256": digest}
    totals = {key: sum(out[key] for out in outputs.values()) for key in ("images", "errors")}  # type: ignore[misc]
    about = {"job": job.digest, "shards": len(outputs), **totals, "outputs": outputs}
    remove_partial_files(job.folder)  # of processes that died; who still does a shard again finds that it is done
    write_text(job.folder / SUCCESS, sealed(about))
    return True


def results(workers: int | Cluster, function: TaskFunction, tasks: Sequence[Any]) -> Generator[Any, None, None]:
    """What a function returns for each of the tasks, as they end. Raises the error of the first that fails."""
    with closing(run_tasks(function, tasks, workers)) as events:
        for event in events:
            if isinstance(event, TaskDone):
                if event.error is not None:
                    raise event.error
                yield event.result


def check_output(path: Path, sha256: str) -> None:
    """Raises RunError: a file of predictions has another hash. sha256: as `_SUCCESS` has it, or empty."""
    if sha256 and file_hash(path) != sha256:
        raise RunError(f"{path} is damaged. Remove it, and run `misread predict` again.")


def file_hash(path: Path) -> str:
    """SHA-256 of a file. Raises RunError: it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None


class Success(NamedTuple):
    """What `_SUCCESS` says. job: the digest of the job. sha256: of its files, in the order of the shards."""

    job: str
    sha256: dict[str, str]


def read_success(folder: Path) -> Success:
    """What the `_SUCCESS` of a complete job says.

    Raises RunError: the job is not complete, or `_SUCCESS` is damaged.
    """
    path = folder / SUCCESS
    try:
        values = unsealed(path.read_bytes())
        return Success(values["job"], {str(name): str(out["sha256"]) for name, out in values["outputs"].items()})
    except OSError:
        raise RunError(f"{folder} has no complete job: {SUCCESS} is missing. Run `misread predict` again.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{path} is damaged. Run `misread predict` again, which writes it anew.") from None


def verify_job(folder: Path) -> Verification:
    """Compare `job.json` and every file of predictions with the hashes in `_SUCCESS`. Nothing is changed.

    Raises RunError: the job is not complete, or `job.json` or `_SUCCESS` cannot be read as such.
    """
    job, known = read_job(folder), read_success(folder)
    problems = []
    if (known.job, [*known.sha256]) != (job.digest, [job.output(shard).name for shard in job.shards]):
        problems.append(f"{JOB} is not that of the predictions: it is damaged, or of another job.")
    for name, sha256 in known.sha256.items():
        if found := difference(folder / name, {"sha256": sha256}):
            problems.append(f"{name} {found}; the same `misread predict` makes it again.")
    return Verification(folder, 1 + len(known.sha256), tuple(problems), ())
