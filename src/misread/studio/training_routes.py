"""The API of trainings: what can be trained, the queue, commands, and events as they happen."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from misread.errors import RecipeError
from misread.studio.bodies import json_body
from misread.studio.training_choices import (
    check_settings,
    chosen_data,
    data_sources,
    new_training,
    recipe_schema,
    recipe_values,
    training_again,
    training_resumed,
)
from misread.studio.trainings import Training, Trainings

ACTIONS = ("pause", "step", "resume", "stop")
MAX_RATE = 1e6  # as of a recipe


def routes() -> list[Route]:
    return [
        Route("/api/trainings", list_trainings),
        Route("/api/trainings", start, methods=["POST"]),
        Route("/api/trainings/choices", choices),
        Route("/api/trainings/check", check, methods=["POST"]),
        Route("/api/trainings/{id}/events", events),
        Route("/api/trainings/{id}/rate", rate, methods=["POST"]),
        Route("/api/trainings/{id}/{action}", act, methods=["POST"]),
    ]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The trainings of the app, in `app.state.trainings`. At its end, the one that runs is interrupted."""
    app.state.trainings = Trainings()
    try:
        yield
    finally:
        await app.state.trainings.close()


def choices(request: Request) -> Response:
    """The names of data sets and the one to begin with, the recipes with their values, and a recipe's JSON schema."""
    return JSONResponse(
        {
            "data": list(data_sources(request.app.state)),
            "chosen": chosen_data(request.app.state),
            "recipes": recipe_values(),
            "schema": recipe_schema(),
        }
    )


def list_trainings(request: Request) -> Response:
    """The running and waiting trainings and the last ended ones, in the order in which they were asked for."""
    return JSONResponse([training.summary() for training in request.app.state.trainings.all()])


async def check(request: Request) -> Response:
    """{recipe, settings} -> {problem}: why no training can start with them, a problem a line after the first; or empty.

    It is an answer, not an error, because a form asks after every key.
    """
    body = await json_body(request)
    try:
        await run_in_threadpool(check_settings, _text(body, "recipe"), _settings(body))
    except RecipeError as error:
        return JSONResponse({"problem": str(error)})
    return JSONResponse({"problem": ""})


async def start(request: Request) -> Response:
    """Put a training into the queue: {data, recipe, settings}, {again: run, patch: bool, settings}, or {resume: run}.

    paused: true begins with a pause, before the first step.
    """
    body = await json_body(request)
    training = await run_in_threadpool(_training, request.app.state, body)
    trainings: Trainings = request.app.state.trainings
    trainings.add(training)
    return JSONResponse(training.summary())


def _training(state: Any, body: dict[str, Any]) -> Training:
    paused = body.get("paused") is True
    if "resume" in body:
        return training_resumed(state, _text(body, "resume"), paused)
    if "again" in body:
        return training_again(state, _text(body, "again"), body.get("patch") is True, _settings(body), paused)
    return new_training(state, _text(body, "data"), _text(body, "recipe"), _settings(body), paused)


async def act(request: Request) -> Response:
    """Pause, one step, resume, or stop with a complete run. A training that waits in the queue is cancelled by stop."""
    action = request.path_params["action"]
    if action not in ACTIONS:
        raise HTTPException(404, f"There is no command {action!r}; there are {', '.join(ACTIONS)} and rate.")
    return await _command(request, {"command": action})


async def rate(request: Request) -> Response:
    """{rate}: the learning rate of the recipe from the next step on; the schedule multiplies it as before."""
    value = (await json_body(request)).get("rate")
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise HTTPException(400, "rate must be a number.")
    if not 0 < value <= MAX_RATE:
        raise HTTPException(400, f"The learning rate must be above 0 and at most {MAX_RATE:g}, not {value:g}.")
    return await _command(request, {"command": "rate", "rate": float(value)})


async def _command(request: Request, command: dict[str, Any]) -> Response:
    trainings: Trainings = request.app.state.trainings
    await trainings.command(request.path_params["id"], command)
    return JSONResponse(trainings.get(request.path_params["id"]).summary())


async def events(request: Request) -> Response:
    """Server-sent events: first `snapshot` with everything so far, then each event until the training has ended."""
    training = request.app.state.trainings.get(request.path_params["id"])

    async def lines() -> AsyncIterator[str]:
        async for event in training.events():
            yield f"data: {json.dumps(event)}\n\n"
        yield 'data: {"type": "end"}\n\n'

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} must be a text.")
    return value


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    value = body.get("settings", {})
    if not isinstance(value, dict):
        raise HTTPException(400, "settings must be an object of keys and values.")
    return value
