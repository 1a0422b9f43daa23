"""The API of a run's images, labels, predictions and network: raw bytes, which a page reads as typed arrays."""

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.studio.runs import SPLITS

MAX_IMAGE_BYTES = 2**26  # in one answer
BINARY = "application/octet-stream"


def routes() -> list[Route]:
    return [
        Route("/api/runs/{id}/images/{split}", images),
        Route("/api/runs/{id}/labels/{split}", labels),
        Route("/api/runs/{id}/predictions/{split}", predictions),
        Route("/api/runs/{id}/model", model),
    ]


def images(request: Request) -> Response:
    """The pixels of some images, (n, H, W, C) uint8.

    ?rows=5,0,7: positions in the split, in this order; or ?from=0&count=100. Raises HTTPException: there is no such
    image, or they are too many for one answer.
    """
    split = request.app.state.runs.open(request.path_params["id"]).split(_split(request))
    rows = _rows(request, len(split))
    if len(rows) * np.prod(split.images.shape[1:]) > MAX_IMAGE_BYTES:
        raise HTTPException(400, f"{len(rows):,} images are too many for one answer. Ask for fewer at a time.")
    return Response(np.ascontiguousarray(split.images[rows]).tobytes(), media_type=BINARY)


def labels(request: Request) -> Response:
    """Labels, file names (or null) and rows in the source, of all images of a split in their order."""
    split = request.app.state.runs.open(request.path_params["id"]).split(_split(request))
    files = list(split.files) if split.files is not None else None
    return JSONResponse({"labels": split.labels.tolist(), "files": files, "rows": split.rows.tolist()})


def predictions(request: Request) -> Response:
    """The probabilities of all images of a split in their order, (N, K) float32, little-endian."""
    found = request.app.state.runs.open(request.path_params["id"]).predictions(_split(request))
    return Response(np.ascontiguousarray(found.probs, dtype="<f4").tobytes(), media_type=BINARY)


def model(request: Request) -> Response:
    """The network in the format of `web/model_file.py`."""
    return Response(request.app.state.runs.open(request.path_params["id"]).model_file(), media_type=BINARY)


def _split(request: Request) -> str:
    split: str = request.path_params["split"]
    if split not in SPLITS:
        raise HTTPException(404, f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    return split


def _rows(request: Request, n: int) -> np.ndarray:
    """The positions that a request asks for, (n,) int64."""
    query = request.query_params
    try:
        if "rows" in query:
            rows = np.array([int(row) for row in query["rows"].split(",") if row], np.int64)
        else:
            first = int(query.get("from", "0"))
            rows = np.arange(first, first + min(int(query.get("count", "100")), n), dtype=np.int64)
    except (ValueError, OverflowError):
        raise HTTPException(400, "rows, from and count must be whole numbers.") from None
    if "rows" not in query:
        rows = rows[rows < n]
    if len(rows) and (rows.min() < 0 or rows.max() >= n):
        raise HTTPException(404, f"There is no such image; the split has {n:,}.")
    return rows
