"""The studio as a Starlette application."""

import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from misread.errors import MisreadError
from misread.studio.runs import Runs, UnknownRun
from misread.studio.security import Access, Guard

# Each has `routes()`. One that needs a start and an end also has `lifespan(app)`, an asynchronous context manager.
AREAS = (
    "page_routes",
    "run_routes",
    "image_routes",
    "comparison_routes",
    "drawing_routes",
    "report_routes",
    "example_routes",
    "label_routes",
    "misread_routes",
    "held_out_routes",
    "map_routes",
    "nearest_routes",
    "training_routes",
)


def make_app(folder: Path, access: Access, *, selected: str | None = None, data: str | None = None) -> Starlette:
    """The studio over the runs in a folder.

    selected: the id of the run that the page shows first; by default the newest.
    data:     the data set, a name or a path, that the training room has chosen first.
    Its parts find in `request.app.state`: runs (`Runs`), selected, data.
    """
    areas = [import_module(f"misread.studio.{name}") for name in AREAS]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for area in areas:
                if hasattr(area, "lifespan"):
                    await stack.enter_async_context(area.lifespan(app))
            yield

    app = Starlette(
        routes=[route for area in areas for route in area.routes()],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={MisreadError: _misread_error, HTTPException: _http_error, Exception: _failure},
        lifespan=lifespan,
    )
    app.state.runs, app.state.selected, app.state.data = Runs(folder), selected, data
    return app


def _misread_error(request: Request, error: Exception) -> Response:
    """What the user can mend is 400, or 404 for a run that is not there; a failure is 500."""
    user_can_mend = getattr(error, "exit_code", 1) == 2
    status = 404 if isinstance(error, UnknownRun) else 400 if user_can_mend else 500
    return JSONResponse({"error": str(error)}, status)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _failure(request: Request, error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stderr)
    message = f"The studio failed at this: {type(error).__name__}. The terminal shows the details."
    return JSONResponse({"error": message}, 500)
