"""Drawings kept as labelled examples: the requests of the room Draw."""

import base64

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.data.drawings import Drawings, delete_drawing, keep_drawing, read_drawings, set_name
from misread.runs import run_folder
from misread.runs.record import DataRecord
from misread.studio.bodies import image_of, json_body, text_of


def routes() -> list[Route]:
    return [
        Route("/api/drawings", _list, methods=["GET"]),
        Route("/api/drawings", _keep, methods=["POST"]),
        Route("/api/drawings/{id:int}/delete", _delete, methods=["POST"]),
    ]


def _list(request: Request) -> Response:
    """The drawings in the classes of a run's data."""
    data = _data(request, request.query_params.get("run", ""))
    name = _name(data)
    return _answer(name, read_drawings(name, data.class_names, data.image_shape))


async def _keep(request: Request) -> Response:
    body = await json_body(request)
    data = _data(request, text_of(body, "run", 100))
    label = body.get("label")
    if not isinstance(label, int) or isinstance(label, bool):
        raise HTTPException(400, "label must be the number of a class.")
    image = image_of(body, "pixels", data.image_shape)
    name = _name(data)
    return _answer(name, await run_in_threadpool(keep_drawing, name, data.class_names, image, label))


async def _delete(request: Request) -> Response:
    body = await json_body(request)
    data = _data(request, text_of(body, "run", 100))
    name, id = _name(data), request.path_params["id"]
    return _answer(name, await run_in_threadpool(delete_drawing, name, data.class_names, data.image_shape, id))


def _answer(name: str, found: Drawings) -> JSONResponse:
    """The whole set, with the pixels of all drawings in one base64 text."""
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
