"""The API of nearest images: the training images nearest to any image, by the network's features."""

from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.studio.bodies import image_of, json_body
from misread.studio.features import split_features

COUNT, MOST = 8, 100  # images in an answer: by default, and at most


def routes() -> list[Route]:
    return [Route("/api/runs/{id}/nearest", nearest_images, methods=["POST"])]


async def nearest_images(request: Request) -> Response:
    """{pixels: base64 of (H, W, C) uint8, count} -> [{row, label, distance}], the nearest first.

    row: the position in the training split. label: a class index. distance: Euclidean, between features.
    The first answer of a run takes as long as computing the features of its training images.
    """
    run = await run_in_threadpool(request.app.state.runs.open, request.path_params["id"])
    body = await json_body(request)
    image = image_of(body, "pixels", run.record.data.image_shape)
    count = body.get("count", COUNT)
    if type(count) is not int or not 1 <= count <= MOST:
        raise HTTPException(400, f"count must be a whole number from 1 to {MOST}.")
    return JSONResponse(await run_in_threadpool(_nearest, run, image, count))


def _nearest(run: Any, image: np.ndarray, count: int) -> list[dict[str, float | int]]:
    from misread.analysis.neighbours import nearest

    found = nearest(run.predictor.features(image[None]), split_features(run, "train"), count)
    labels = run.split("train").labels
    return [
        {"row": int(row), "label": int(labels[row]), "distance": float(distance)}
        for row, distance in zip(found.positions[0], found.distances[0], strict=True)
    ]
