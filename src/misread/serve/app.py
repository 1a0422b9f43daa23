"""The server as a Starlette application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from misread.errors import MisreadError
from misread.serve import description, routes
from misread.serve.guard import Access, Guard
from misread.serve.logs import LOGGER
from misread.serve.metrics import Metrics
from misread.serve.model import Model
from misread.serve.work import Work

CONCURRENCY = 64


def make_app(model: Model, access: Access, *, concurrency: int = CONCURRENCY, log: bool = False) -> Starlette:
    """The server of one model.

    concurrency: predictions that run or wait; further requests get 503. log: whether requests are logged.
    Its endpoints find in `request.app.state`: model, work (`Work`), metrics (`Metrics`).
    """
    metrics, work = Metrics(model), Work(concurrency)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        work.close()

    app = Starlette(
        routes=[*routes.routes(), *description.routes()],
        middleware=[Middleware(Guard, access=access, metrics=metrics, log=log)],
        exception_handlers={
            MisreadError: _misread_error,
            HTTPException: _http_error,
            ClientDisconnect: _left,
            Exception: _failure,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.model, app.state.work, app.state.metrics = model, work, metrics
    return app


def _misread_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400 if getattr(error, "exit_code", 1) == 2 else 500)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _left(request: Request, error: Exception) -> Response:
    """Nobody reads this answer; its status is for the log."""
    return JSONResponse({"error": "The client left."}, 400)


def _failure(request: Request, error: Exception) -> Response:
    LOGGER.error("failure", exc_info=error, extra={"values": {"path": request.url.path[:200]}})
    return JSONResponse({"error": f"The server failed at this: {type(error).__name__}. Its log has the details."}, 500)
