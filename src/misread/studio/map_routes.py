"""The API of the map: where each image of a split is placed, and what the network made of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.studio.background import Jobs, Report, is_kept, keeping, result_folder
from misread.studio.feature_map import METHODS, place
from misread.studio.features import split_features
from misread.studio.image_routes import BINARY
from misread.studio.positions import split_of

if TYPE_CHECKING:
    from misread.runs.run import Run

ALL = "all"  # training and test images on one map


def routes() -> list[Route]:
    jobs = Jobs()

    def state(request: Request) -> Response:
        """Whether the map is there: {splits: [{name, n}]}, or 202 with {progress, seconds} while it is computed."""
        run, splits, method, path = _asked(request)
        waiting = jobs.ready(path, lambda report: _write(run, splits, method, path, report))
        if waiting:
            return JSONResponse(waiting, 202)
        return JSONResponse({"splits": [{"name": name, "n": len(run.split(name))} for name in splits]})

    def points(request: Request) -> Response:
        """(N, 4) float32, little-endian: x, y, predicted class and its probability; the splits one after the other."""
        run, splits, _, path = _asked(request)
        if not is_kept(path):
            raise HTTPException(404, "This map is not computed yet.")
        read = [run.predictions(name) for name in splits]
        predicted, confidence = (
            np.concatenate(parts) for parts in zip(*((p.predicted, p.confidence) for p in read), strict=True)
        )
        columns = np.column_stack([np.load(path), predicted, confidence])
        return Response(columns.astype("<f4").tobytes(), media_type=BINARY)

    return [
        Route("/api/runs/{id}/map/{split}", state),
        Route("/api/runs/{id}/map/{split}/points", points),
    ]


def _asked(request: Request) -> tuple["Run", list[str], str, Path]:
    """The run, the splits on the map, the method, and the file that the points are kept in."""
    run: Run = request.app.state.runs.open(request.path_params["id"])
    split, method = split_of(request, ALL), request.query_params.get("method", METHODS[0])
    if method not in METHODS:
        raise HTTPException(400, f"There is no method {method!r}; there are {', '.join(METHODS)}.")
    splits = ["train", "test"] if split == ALL else [split]
    return run, splits, method, result_folder(run.folder) / f"map-{method}-{split}.npy"


def _write(run: "Run", splits: list[str], method: str, path: Path, report: Report) -> None:
    """Compute a map and keep it. Half of what is reported are the features, half the points."""
    parts = []
    for i, name in enumerate(splits):
        parts.append(split_features(run, name, lambda done, i=i: report((i + done) / len(splits) / 2)))  # type: ignore[misc]
    features = parts[0] if len(parts) == 1 else np.concatenate(parts)
    points = place(features, method, lambda done: report(0.5 + done / 2))
    with keeping(path) as partial:
        np.save(partial, points)
