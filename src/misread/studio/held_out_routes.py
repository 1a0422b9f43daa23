"""The API of doubtful training labels: held-out predictions of a run's data, and the cross-validation for them."""

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.errors import RunError
from misread.studio.background import Jobs, Report
from misread.studio.misread_routes import DOUBTFUL, image_list

if TYPE_CHECKING:
    from misread.runs.run import Run

FOLDER = "held-out"  # in the runs folder; that of `misread labels` is beside it
SEEDS = 2  # the fewest that tell how many labels are wrong
FOLDS = 5


def routes() -> list[Route]:
    jobs = Jobs()

    def doubtful(request: Request) -> Response:
        """The training images with the most doubtful labels, as `image_list` gives them, with seeds and flagged.

        Without held-out predictions {command}, which makes them; 202 and {progress, seconds} while they are made.
        """
        run = _run(request)
        if waiting := jobs.running(_key(request, run)):
            return JSONResponse(waiting, 202)
        found = _doubtful(request, run)
        return JSONResponse(found or {"command": f"misread labels {run.record.data.source}"})

    def start(request: Request) -> Response:
        """Starts the cross-validation. 202 and {progress, seconds}; 200 if the predictions are there."""
        run = _run(request)
        if not run.record.data.source:
            raise RunError(f"{run.record.data.name} was given as arrays in memory, so it cannot be loaded again here.")
        if _doubtful(request, run):
            return JSONResponse({})
        out = _folders(request)[0]
        return JSONResponse(jobs.ready(_key(request, run), lambda report: _cross_validate(run, out, report)), 202)

    path = "/api/runs/{id}/held-out"
    return [Route(path, doubtful), Route(path, start, methods=["POST"])]


def _run(request: Request) -> "Run":
    run: Run = request.app.state.runs.open(request.path_params["id"])
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
    return {"flagged": int(found["flagged"].sum()), **image_list(found.scored, found.order[:DOUBTFUL])}


def _cross_validate(run: "Run", out: Path, report: Report) -> None:
    """Predict every training image by networks that did not train on it, and keep the predictions in `out`."""
    from rich.console import Console

    from misread.runs.held_out import cross_val_predict
    from misread.runs.progress import FoldProgress
    from misread.training.cross_validation import FoldDone

    class Share(FoldProgress):
        """The share of trainings that are done."""

        done = 0

        def on_fold_end(self, fold: FoldDone) -> None:
            super().on_fold_end(fold)
            self.done += 1
            report(self.done / (SEEDS * self.trainings))

    cross_val_predict(run.data, folds=FOLDS, seeds=SEEDS, out=out, progress=Share(Console(quiet=True)))
