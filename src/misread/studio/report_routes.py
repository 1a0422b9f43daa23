"""The report of a run, as a page of the studio."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from misread.messages import LANGUAGES
from misread.runs.run_folder import RECORD, REPORT
from misread.studio.background import result_folder

if TYPE_CHECKING:
    from misread.runs.run import Run

ONE_AT_A_TIME = Lock()  # a report takes seconds and all cores; who asks twice waits for the first


def routes() -> list[Route]:
    return [Route("/reports/{id}", report)]


def report(request: Request) -> Response:
    """The report of a run in ?lang=, "en" by default; made now if there is none by this version of misread.

    Its own script is allowed by its hash: a report that somebody else wrote shows, but no script of it runs here.
    """
    from misread.report.page import PLAYGROUND_SCRIPT, SCRIPT
    from misread.web.modules import bundle

    run = request.app.state.runs.open(request.path_params["id"])
    language = request.query_params.get("lang", LANGUAGES[0])
    if language not in LANGUAGES:
        raise HTTPException(400, f"There is no report in this language; there are {', '.join(LANGUAGES)}.")
    own = [f"\n{bundle(name)}\n".encode() for name in (SCRIPT, PLAYGROUND_SCRIPT)]  # as between the page's tags
    with ONE_AT_A_TIME:
        html = _report(run, own, language)
    script = next(script for script in own if _has(html, script))
    allowed = b64encode(sha256(script).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{allowed}' 'wasm-unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, headers={"content-security-policy": policy})


def _report(run: "Run", scripts: list[bytes], language: str) -> bytes:
    """The page in this language. One in another language stays in the run folder; this one is then kept elsewhere."""
    own, other = run.folder / REPORT, result_folder(run.folder) / f"report-{language}.html"
    for path in (own, other):
        html = _current(path, run.folder, scripts)
        if html is not None and _is_in(html, language):
            return html
    path = own if _current(own, run.folder, scripts) is None else other
    path.parent.mkdir(parents=True, exist_ok=True)
    return run.report(path, language=language).read_bytes()


def _current(path: Path, run: Path, scripts: list[bytes]) -> bytes | None:
    """A report, if it is younger than the run and has one of these scripts: it is of this version."""
    if not path.is_file() or path.stat().st_mtime < (run / RECORD).stat().st_mtime:
        return None
    html = path.read_bytes()
    return html if any(_has(html, script) for script in scripts) else None


def _is_in(html: bytes, language: str) -> bool:
    return f'<html lang="{language}">'.encode() in html[:200]


def _has(html: bytes, script: bytes) -> bool:
    return b'<script type="module">' + script + b"</script>" in html
