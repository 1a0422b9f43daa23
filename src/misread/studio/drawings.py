"""Drawings kept as labelled examples: the requests of the room Draw."""

import base64
import binascii
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.data.drawings import Drawings, delete_drawing, keep_drawing, read_drawings, set_name
from misread.errors import DataError
from misread.runs import run_folder
from misread.runs.record import DataRecord


def routes() -> list[Route]:
    return [
        Route("/api/drawings", _list, methods=["GET"]),
        Route("/api/drawings", _keep, methods=["POST"]),
        Route("/api/drawings/{id:int}/delete", _delete, methods=["POST"]),
    ]


def _list(request: Request) -> Response:
    data = _data(request, request.query_params.get("run", ""))
    name = _name(data)
    return _answer(name, read_drawings(name, data.class_names, data.image_shape))


async def _keep(request: Request) -> Response:
    body = await _body(request)
    data = _data(request, str(body.get("run", "")))
    label = body.get("label")
    if not isinstance(label, int) or isinstance(label, bool):
        raise DataError("A drawing needs the number of its class as `label`.")
    name = _name(data)
    return _answer(name, keep_drawing(name, data.class_names, _image(body.get("pixels"), data.image_shape), label))


async def _delete(request: Request) -> Response:
    body = await _body(request)
    data = _data(request, str(body.get("run", "")))
    name = _name(data)
    return _answer(name, delete_drawing(name, data.class_names, data.image_shape, request.path_params["id"]))


def _answer(name: str, found: Drawings) -> JSONResponse:
    """The set, with the pixels of all drawings in one base64 text."""
    return JSONResponse(
        {
            "name": name,
            "ids": found.ids.tolist(),
            "labels": found.labels.tolist(),
            "splits": ["test" if test else "train" for test in found.is_test],
            "pixels": base64.b64encode(found.images.tobytes()).decode(),
        }
    )


def _data(request: Request, run: str) -> DataRecord:
    return run_folder.read_record(request.app.state.runs.path(run)).data


def _name(data: DataRecord) -> str:
    return set_name(data.name, data.class_names, data.image_shape)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise DataError("The request must be a JSON object.")
    return body


def _image(pixels: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Raises DataError: not base64, or not as many bytes as an image has."""
    try:
        data = base64.b64decode(pixels, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise DataError("`pixels` is not the base64 text of an image.") from None
    if len(data) != np.prod(shape):
        raise DataError(
            f"`pixels` has {len(data):,} bytes; an image of {'x'.join(map(str, shape))} has {np.prod(shape):,}."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
