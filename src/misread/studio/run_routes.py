"""The API of runs: their list, one run, and changes of title, note and place."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.studio.bodies import json_body, text_of
from misread.studio.run_notes import MAX_NOTE, MAX_TITLE
from misread.studio.runs import Runs


def routes() -> list[Route]:
    return [
        Route("/api/runs", list_runs),
        Route("/api/runs/{id}", one_run),
        Route("/api/runs/{id}/rename", rename, methods=["POST"]),
        Route("/api/runs/{id}/note", note, methods=["POST"]),
        Route("/api/runs/{id}/delete", delete, methods=["POST"]),
        Route("/api/runs/{id}/restore", restore, methods=["POST"]),
    ]


def list_runs(request: Request) -> Response:
    """?deleted=1: the runs in the trash."""
    runs: Runs = request.app.state.runs
    return JSONResponse(runs.deleted() if request.query_params.get("deleted") else runs.rows())


def one_run(request: Request) -> Response:
    return JSONResponse(request.app.state.runs.details(request.path_params["id"]))


async def rename(request: Request) -> Response:
    title = text_of(await json_body(request), "title", MAX_TITLE)
    return await _changed(request.app.state.runs.rename, request.path_params["id"], title)


async def note(request: Request) -> Response:
    text = text_of(await json_body(request), "note", MAX_NOTE)
    return await _changed(request.app.state.runs.write_note, request.path_params["id"], text)


async def delete(request: Request) -> Response:
    return await _changed(request.app.state.runs.delete, request.path_params["id"])


async def restore(request: Request) -> Response:
    return await _changed(request.app.state.runs.restore, request.path_params["id"])


async def _changed(change: Any, *arguments: str) -> Response:
    await run_in_threadpool(change, *arguments)
    return JSONResponse({})
