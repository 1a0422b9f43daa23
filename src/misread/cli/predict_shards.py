"""`misread predict RUN SHARDS... --out DIR`."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misread.cli import options
from misread.cli.output import print_json, print_lines, warn
from misread.errors import RunError
from misread.ray_cluster import RayCluster
from misread.workers import warm_up

if TYPE_CHECKING:
    from misread.scale.job import Job
    from misread.scale.part import Part
    from misread.scale.predictor import Predictor
    from misread.scale.run_job import JobState

LINE_SECONDS, BAR_SECONDS = 3.0, 0.1


def predict_shards(
    run: Path, given: Sequence[str], out: Path, *, device: str, workers: int | None, part: str | None,
    ray: RayCluster | None,
    probabilities: bool, shard_size: int | None, plan: bool, quiet: bool, json: bool,
) -> None:  # fmt: skip
    """Predict shards into a folder, one Parquet file a shard; ends the program with 1 if a shard failed."""
    from misread.scale.job import open_job
    from misread.scale.part import parse_part, part_of_environment
    from misread.scale.predictor import Predictor
    from misread.scale.run_job import run_job
    from misread.scale.shards import IMAGES_PER_SHARD, find_shards

    if ray is not None and (workers is not None or part is not None):
        raise RunError("--ray shares the shards out itself. Leave out --workers and --part.")
    processes = options.processes(workers)
    chosen = parse_part(part) if part is not None else None if ray is not None else part_of_environment()
    predictor = Predictor(run, device)
    found = find_shards(given, IMAGES_PER_SHARD if shard_size is None else shard_size)
    if ray is None and not plan:
        warm_up("misread.scale.predict_shard", "pyarrow.parquet", *predictor.imports)
    here = ray is not None or plan or not predictor.imports
    facts = predictor.facts if here else partial(_ask, predictor, processes)
    job = open_job(out, facts, found, probabilities)
    if plan:
        _print_plan(job, json)
        return
    if chosen is not None and not quiet:
        warn(f"This is {chosen}.")
    shards = job.shards if chosen is None else chosen.of(job.shards)
    progress = _Progress(quiet)
    began = time.perf_counter()
    with closing(run_job(job, shards, predictor, processes if ray is None else ray)) as states:
        for state in states:
            progress.show(state)
    progress.close()
    _print_end(job, state, chosen, time.perf_counter() - began, json)
    if state.failed:
        sys.exit(1)


def _ask(predictor: "Predictor", workers: int) -> dict[str, Any]:
    """The facts of a predictor by a worker, which imports PyTorch for it, so that this process need not."""
    from misread.scale.predict_shard import facts_of
    from misread.scale.run_job import results

    (facts,) = results(workers, facts_of, [predictor])
    return facts


def _print_plan(job: "Job", json: bool) -> None:
    size = sum(shard.bytes for shard in job.shards)
    if json:
        print_json({"out": str(job.folder), "shards": len(job.shards), "bytes": size})
    else:
        print_lines(f"Job: {job.folder}, {len(job.shards):,} shards, {size / 1e6:,.1f} MB")


def _print_end(job: "Job", state: "JobState", part: "Part | None", seconds: float, json: bool) -> None:
    rate = state.new_images / seconds if seconds else 0.0
    if json:
        about: dict[str, Any] = {
            "out": str(job.folder),
            "part": None if part is None else f"{part.number}/{part.count}",
            "shards": state.shards,
            "done": state.done_shards,
            "images": state.images,
            "errors": state.errors,
            "failed": state.failed,
            "complete": state.complete,
            "seconds": round(seconds, 3),
            "images_per_second": round(rate, 1),
        }
        print_json(about)
        return
    print_lines(
        f"Predictions: {job.folder}, {state.done_shards:,} of {state.shards:,} shards, {state.images:,} images, "
        f"{state.errors:,} that could not be read"
    )
    if state.complete:
        print_lines(f"The job is complete: all {len(job.shards):,} shards are done.")
    warn(*(f"Error: the shard {name} failed: {why}" for name, why in state.failed.items()))


class _Progress:
    """The state of a job on standard error: a bar on a terminal, else a line every few seconds."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._begun = quiet, time.monotonic()
        self._bar: Any = None
        self._next = self._begun + 1.0  # a short job shows none
        self._start_bytes: int | None = None

    def show(self, state: "JobState") -> None:
        now = time.monotonic()
        if self._start_bytes is None:
            self._start_bytes = state.done_bytes
        if self._quiet or now < self._next:
            return
        seconds = now - self._begun
        text = (
            f"{state.done_shards:,} of {state.shards:,} shards, {state.new_images:,} images, "
            f"{state.new_images / seconds:,.0f} images/s"
        )
        text += f", {len(state.failed):,} failed" if state.failed else ""
        done = state.done_bytes - self._start_bytes
        if done:
            text += f", {_duration((state.bytes - state.done_bytes) / done * seconds)} left"
        if self._bar is not None or sys.stderr.isatty():  # the bar replaces sys.stderr, in old rich by no terminal
            self._next = now + BAR_SECONDS
            self._draw(text, state)
        else:
            self._next = now + LINE_SECONDS
            warn(f"predicting: {text}")

    def _draw(self, text: str, state: "JobState") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            columns = BarColumn(bar_width=24), TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
            self._bar.add_task(text, total=max(state.bytes, 1))
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], description=text, completed=state.done_bytes, refresh=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
