"""The API of lists of images: the misread ones with their causes, those with doubtful labels, or any others."""

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.errors import RunError
from misread.studio.background import Jobs, keeping, result_folder
from misread.studio.positions import positions_in, split_of

if TYPE_CHECKING:
    from misread.analysis.scored import Scored
    from misread.runs.run import Run

DOUBTFUL = 200  # of the most doubtful labels
MOST = 2000  # chosen images in an answer


def routes() -> list[Route]:
    jobs = Jobs()

    def causes(request: Request) -> Response:
        """The misread images as `images` gives them, with causes; 202 and {progress, seconds} until these are found."""
        run, split = _asked(request)
        path = result_folder(run.folder) / f"causes-{split}.json.gz"
        waiting = jobs.ready(path, lambda report: _write_causes(run, split, path))
        if waiting:
            return JSONResponse(waiting, 202)
        return Response(path.read_bytes(), media_type="application/json", headers={"Content-Encoding": "gzip"})

    return [Route("/api/runs/{id}/misreads/{split}", images), Route("/api/runs/{id}/causes/{split}", causes)]


def images(request: Request) -> Response:
    """Some images of a split, as the report's page has them: {classes, positions, items, pictures}.

    ?list=misread (the most confident first), ?list=doubtful (the most doubtful label first), or ?rows=5,0,7
    (positions).
    """
    run, split = _asked(request)
    scored = run.predictions(split)
    query = request.query_params
    if "rows" in query:
        positions = _positions(query["rows"], len(scored))
    elif query.get("list", "misread") == "misread":
        positions = scored.misread_positions
    elif query["list"] == "doubtful":
        positions = _doubtful(run, split)
    else:
        raise HTTPException(400, f"There is no list {query['list']!r}; there are misread and doubtful.")
    return JSONResponse(image_list(run.predictions(split), positions))


def image_list(scored: "Scored", positions: np.ndarray, explanation: Any = None) -> dict[str, Any]:
    """The images at these positions of the scored ones; explanation: of all that were misread, with their causes."""
    from misread.report.items import Items

    items = Items(scored, scored.images)
    items.add(positions)
    if explanation is not None:
        items.explain(explanation)
    return {"classes": list(scored.class_names), "positions": positions.tolist(), **items.data()}


def _doubtful(run: "Run", split: str) -> np.ndarray:
    """The positions of the most doubtful labels; for the training split see held_out_routes.

    Raises RunError: the run trained on these images.
    """
    return run.label_issues(split).order[:DOUBTFUL]


def _write_causes(run: "Run", split: str, path: Path) -> None:
    scored = run.predictions(split)
    found = scored.misreads.explanation() if scored.misread.any() else None
    text = json.dumps(image_list(scored, scored.misread_positions, found), separators=(",", ":"))
    with keeping(path) as partial:
        partial.write_bytes(gzip.compress(text.encode(), 1))


def _asked(request: Request) -> tuple["Run", str]:
    split = split_of(request)
    return request.app.state.runs.open(request.path_params["id"]), split


def _positions(text: str, n: int) -> np.ndarray:
    """Distinct positions in a split of n images, in the order of the text."""
    positions = positions_in(text, n).tolist()
    if len(positions) > MOST:
        raise RunError(f"{len(positions):,} images are too many for one list. Choose at most {MOST:,}.")
    return np.array(list(dict.fromkeys(positions)), np.int64)
