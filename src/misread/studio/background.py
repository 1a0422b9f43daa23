"""Work that takes longer than a request: done once in a thread, its result kept in a file of the cache folder."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from misread.data.download import cache_folder
from misread.runs import run_folder

FOLDER = "studio"  # in the cache folder, with a folder for each run

Report = Callable[[float], None]  # called with the share that is done, 0 to 1


def result_folder(run: Path) -> Path:
    """Where results that belong to a run are kept. Another run, or the same folder trained again, has another place."""
    digest = hashlib.sha256((run / run_folder.RECORD).read_bytes()).hexdigest()
    return cache_folder() / FOLDER / digest[:24]


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
        """None if the file of the result is there. Otherwise starts the work and says how far it is.

        work: writes the file, as a whole or not at all.
        Returns progress (share that is done) and seconds (since the start).
        Raises what the work raised. The next call starts it again.
        """
        if result.is_file():
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
