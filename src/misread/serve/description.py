"""The description of the addresses: OpenAPI, and the same as a page for people."""

import json
import re
from functools import cache, partial
from importlib import resources
from typing import Any

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from misread.version import __version__


def routes() -> list[Route]:
    return [Route("/", page), Route("/openapi.json", openapi), Route("/page.css", style)]


async def openapi(request: Request) -> Response:
    return JSONResponse(document())


async def page(request: Request) -> Response:
    return HTMLResponse(_page())


async def style(request: Request) -> Response:
    tokens = resources.files("misread.web").joinpath("style/tokens.css").read_text(encoding="utf-8")
    return Response(tokens + _file("page.css"), media_type="text/css")


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document (version 3.1) of the server."""
    found: dict[str, Any] = json.loads(_file("openapi.json"))
    found["info"]["version"] = __version__
    return found


@cache
def _page() -> str:
    from jinja2 import Environment

    described = document()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"target": partial(_target, described), "code": _code}
    return environment.from_string(_file("page.html")).render(described)


def _target(described: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` refers to; any other value itself."""
    if "$ref" not in value:
        return value
    found: Any = described
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _code(text: str) -> Markup:
    """Text whose `code` is marked."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _file(name: str) -> str:
    return resources.files("misread.serve").joinpath(name).read_text(encoding="utf-8")
