"""The API of doubtful training labels: held-out predictions of a run's data, and the cross-validation for them."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.errors import RunError
from misread.studio.background import Jobs, Report
from misread.studio.misread_routes import DOUBTFUL, image_list

if TYPE_CHECKING:
    from misread.runs.run import Run

FOLDER = "held-out"  # in the runs folder; that of `misread labels` is beside it
SEEDS = 2  # as many as `misread labels` trains at least
FOLDS = 5
COMMAND = [sys.executable, "-P", "-m", "misread.studio.held_out_process"]  # -P: no module of the current folder


def routes() -> list[Route]:
    jobs = Jobs()

    def doubtful(request: Request) -> Response:
        """The training images for which another label is suggested, the most doubtful first; as `image_list` has them.

        doubted: how many these are in all. Without held-out predictions {command}, which makes them; while they are
        made 202 and {progress, seconds}.
        """
        run = _run(request)
        if waiting := jobs.running(_key(request, run)):
            return JSONResponse(waiting, 202)
        found = _doubtful(request, run)
        return JSONResponse(found or {"command": f"misread labels {shlex.quote(run.record.data.source)}"})

    def start(request: Request) -> Response:
        """Starts the cross-validation. 202 and {progress, seconds}; 200 if the predictions are there."""
        run = _run(request)
        if _doubtful(request, run):
            return JSONResponse({})
        out = _folders(request)[0]
        return JSONResponse(jobs.ready(_key(request, run), lambda report: _cross_validate(run, out, report)), 202)

    path = "/api/runs/{id}/held-out"
    return [Route(path, doubtful), Route(path, start, methods=["POST"])]


def _run(request: Request) -> "Run":
    run: Run = request.app.state.runs.open(request.path_params["id"])
    if not run.record.data.source:
        raise RunError(f"{run.record.data.name} was given as arrays in memory, so it cannot be loaded again here.")
    return run


def _folders(request: Request) -> list[Path]:
    runs: Path = request.app.state.runs.folder
    return [runs / FOLDER, runs.absolute().parent / FOLDER]


def _key(request: Request, run: "Run") -> Path:
    """What the work is known by: all runs on the same data share it."""
    return _folders(request)[0] / run.record.data.fingerprint


def _doubtful(request: Request, run: "Run") -> dict[str, object] | None:
    from misread.runs.held_out_labels import training_label_issues

    found = training_label_issues(run, _folders(request))
    if found is None:
        return None
    doubted = found.order[(found["suggested"] != found["label"]).to_numpy()]
    return {"doubted": len(doubted), **image_list(found.scored, doubted[:DOUBTFUL])}


def _cross_validate(run: "Run", out: Path, report: Report) -> None:
    """Predict every training image by networks that did not train on it, and keep the predictions in `out`.

    A process of its own does it, so that the page stays quick and a crash does not reach the studio.
    """
    record = run.record.data
    job = {"data": record.source, "size": record.size, "folds": FOLDS, "seeds": SEEDS, "out": str(out)}
    failed = ""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    # a session of its own: Ctrl-C in the terminal reaches the studio alone, and its end ends the process
    with subprocess.Popen(COMMAND, start_new_session=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            event = json.loads(line)
            failed = event.get("failed", "")
            report(event.get("done", 1.0))
    if failed or process.returncode:
        raise RunError(failed or f"The cross-validation ended with exit code {process.returncode}. See the terminal.")
