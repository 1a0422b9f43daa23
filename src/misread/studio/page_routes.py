"""The page itself: its frame, its modules and styles, and the texts of a language."""

from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from misread.messages import LANGUAGES, catalogue
from misread.version import __version__

TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
STYLE = "style.css"  # all style sheets as one
LASTING = "private, max-age=31536000, immutable"
FIRST_STYLES = ["style/tokens.css", "style/components.css", "style/shell.css"]  # those of rooms come after them


def routes() -> list[Route]:
    web = resources.files("misread.web")
    files = dict(_files(web))
    styles = FIRST_STYLES + sorted(name for name in files if name.startswith("style/") and name not in FIRST_STYLES)

    held = "", dict[str, bytes]()  # the version of the page that was opened last, and its files

    def read(name: str) -> bytes:
        return b"\n".join(files[one].read_bytes() for one in (styles if name == STYLE else [name]))

    def frame(request: Request) -> Response:
        """The page. The addresses of its files have their version, so that a browser asks for each of them once."""
        nonlocal held
        contents = {name: read(name) for name in (*files, STYLE)}
        version = sha256(b"".join(sha256(content).digest() for content in contents.values())).hexdigest()[:32]
        held = version, contents
        page = resources.files("misread.studio").joinpath("shell.html").read_text(encoding="utf-8")
        return HTMLResponse(page.replace('"/web/', f'"/web-{version}/'))

    def module(request: Request) -> Response:
        """A file of the package. The table has every name that is answered; a request never becomes a path."""
        name = request.path_params["name"]
        if name not in files and name != STYLE:
            raise HTTPException(404, "There is no such file.")
        media_type = TYPES[name[name.rindex(".") :]]
        version, contents = held
        if request.path_params.get("version") == version:
            return Response(contents[name], headers={"cache-control": LASTING}, media_type=media_type)
        return _unless_known(request, read(name), media_type)

    return [
        Route("/", frame),
        Route("/api/state", state),
        Route("/api/alive", alive),
        Route("/messages/{language}", messages),
        Route("/web/{name:path}", module),
        Route("/web-{version}/{name:path}", module),
    ]


def state(request: Request) -> Response:
    """What the page needs first: its rooms, and the run or the data to begin with."""
    app = request.app.state
    return JSONResponse(
        {
            "version": __version__,
            "runs_folder": str(app.runs.folder),
            "selected": app.selected or app.runs.newest(),
            "data": app.data,
            "rooms": rooms(),
        }
    )


def rooms() -> list[str]:
    """The rooms that this misread has."""
    folder = resources.files("misread.web") / "rooms"
    return sorted(file.name.removesuffix(".js") for file in folder.iterdir() if file.name.endswith(".js"))


def alive(request: Request) -> Response:
    return JSONResponse({})


def messages(request: Request) -> Response:
    language = request.path_params["language"]
    if language not in LANGUAGES:
        raise HTTPException(404, f"There are no texts in this language; there are {', '.join(LANGUAGES)}.")
    return JSONResponse(catalogue(language))


def _files(folder: Traversable, prefix: str = "") -> Any:
    """(name, file) of every module and style sheet below a folder."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(tuple(TYPES)):
            yield f"{prefix}{entry.name}", entry


def _unless_known(request: Request, content: bytes, media_type: str) -> Response:
    """The content, or 304 if the browser has it already."""
    headers = {"etag": f'"{sha256(content).hexdigest()[:32]}"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
