"""The API of a run's images, labels, predictions and network: raw bytes, which a page reads as typed arrays."""

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.studio.positions import positions_in, split_of

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
    split = request.app.state.runs.open(request.path_params["id"]).split(split_of(request))
    rows = _rows(request, len(split))
    if len(rows) * np.prod(split.images.shape[1:]) > MAX_IMAGE_BYTES:
        raise HTTPException(400, f"{len(rows):,} images are too many for one answer. Ask for fewer at a time.")
    return Response(np.ascontiguousarray(split.images[rows]).tobytes(), media_type=BINARY)


def labels(request: Request) -> Response:
    """Labels, file names (or null) and rows in the source, of all images of a split in their order."""
    split = request.app.state.runs.open(request.path_params["id"]).split(split_of(request))
    files = list(split.files) if split.files is not None else None
    return JSONResponse({"labels": split.labels.tolist(), "files": files, "rows": split.rows.tolist()})


def predictions(request: Request) -> Response:
    """The probabilities of all images of a split in their order, (N, K) float32, little-endian."""
    found = request.app.state.runs.open(request.path_params["id"]).predictions(split_of(request))
    return Response(np.ascontiguousarray(found.probs, dtype="<f4").tobytes(), media_type=BINARY)


def model(request: Request) -> Response:
    """The network in the format of `web/model_file.py`."""
    return Response(request.app.state.runs.open(request.path_params["id"]).model_file(), media_type=BINARY)


def _rows(request: Request, n: int) -> np.ndarray:
    """The positions that a request asks for, (m,) int64."""
    query = request.query_params
    if "rows" in query:
        return positions_in(query["rows"], n)
    try:
        first, count = int(query.get("from", "0")), int(query.get("count", "100"))
    except ValueError:
        raise HTTPException(400, "from and count must be whole numbers.") from None
    if first < 0:
        raise HTTPException(404, f"There is no such image; the split has {n:,}.")
    return np.arange(min(first, n), min(first + count, n), dtype=np.int64)
