"""Work that takes longer than a request: done once in a thread, its result kept in a file of the cache folder."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from misread.data.download import cache_folder
from misread.files import replacing, write_text
from misread.runs import run_folder

FOLDER = "studio"  # in the cache folder, with a folder for each run

Report = Callable[[float], None]  # called with the share that is done, 0 to 1


def result_folder(run: Path) -> Path:
    """Where results that belong to a run are kept. Another run, or the same folder trained again, has another place."""
    digest = hashlib.sha256((run / run_folder.RECORD).read_bytes()).hexdigest()
    return cache_folder() / FOLDER / digest[:24]


@contextmanager
def keeping(result: Path) -> Iterator[Path]:
    """Yield a temporary path for the block to write to, as `replacing` does, and keep the SHA-256 beside the result."""
    with replacing(result) as partial:
        yield partial
        write_text(_sum_of(result), _sha256(partial, partial.stat().st_mtime_ns))


def is_kept(result: Path) -> bool:
    """Whether a result is there, and as it was written."""
    try:
        return _sha256(result, result.stat().st_mtime_ns) == _sum_of(result).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _sum_of(result: Path) -> Path:
    return result.with_name(f"{result.name}.sha256")


@lru_cache(maxsize=100)
def _sha256(path: Path, changed: int) -> str:
    """changed: when the file was, so that one that stays the same is read once, not for each request."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Job:
    """One piece of work. done: the share that is done. error: why it failed, if it did."""

    def __init__(self) -> None:
        self.done = 0.0
        self.error: Exception | None = None
        self.started = time.monotonic()

    def report(self, done: float) -> None:
        self.done = done

    def state(self) -> dict[str, Any]:
        return {"progress": self.done, "seconds": round(time.monotonic() - self.started, 1)}


class Jobs:
    """Work by the file of its result. One piece is done at a time; the others wait."""

    def __init__(self) -> None:
        self._jobs: dict[Path, Job] = {}
        self._lock, self._turn = Lock(), Lock()

    def running(self, result: Path) -> dict[str, Any] | None:
        """How far the work for a result is, as `ready` says it; None if there is none. Raises what the work raised."""
        with self._lock:
            job = self._jobs.get(result)
            if job is not None and job.error is not None:
                raise self._jobs.pop(result).error  # type: ignore[misc]
        return None if job is None else job.state()

    def ready(self, result: Path, work: Callable[[Report], None]) -> dict[str, Any] | None:
        """None if the result is kept. Otherwise starts the work and says how far it is.

        work: writes the file by `keeping`.
        Returns progress (share that is done) and seconds (since the start).
        Raises what the work raised. The next call starts it again.
        """
        if is_kept(result):
            return None
        with self._lock:
            job = self._jobs.get(result)
            if job is not None and job.error is not None:
                raise self._jobs.pop(result).error  # type: ignore[misc]
            if job is None:
                job = self._jobs[result] = Job()
                # a daemon: the end of the server does not wait for it
                Thread(target=self._do, args=(result, job, work), daemon=True).start()
        return job.state()

    def _do(self, result: Path, job: Job, work: Callable[[Report], None]) -> None:
        try:
            with self._turn:
                result.parent.mkdir(parents=True, exist_ok=True)
                work(job.report)
        except Exception as error:
            job.error = error
            return
        with self._lock:
            self._jobs.pop(result, None)
