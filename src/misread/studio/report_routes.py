"""The report of a run, as a page of the studio."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from misread.runs.run_folder import RECORD, REPORT

if TYPE_CHECKING:
    from misread.runs.run import Run

ONE_AT_A_TIME = Lock()  # a report takes seconds and all cores; who asks twice waits for the first


def routes() -> list[Route]:
    return [Route("/reports/{id}", report)]


def report(request: Request) -> Response:
    """The report of a run, made now if there is none by this version of misread.

    Its own script is allowed by its hash: a report that somebody else wrote shows, but no script of it runs here.
    """
    from misread.report.page import PLAYGROUND_SCRIPT, SCRIPT
    from misread.web.modules import bundle

    run = request.app.state.runs.open(request.path_params["id"])
    own = [f"\n{bundle(name)}\n".encode() for name in (SCRIPT, PLAYGROUND_SCRIPT)]  # as between the page's tags
    with ONE_AT_A_TIME:
        html = _current(run.folder, own) or _made(run)
    script = next(script for script in own if _has(html, script))
    allowed = b64encode(sha256(script).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, headers={"content-security-policy": policy})


def _current(folder: Path, scripts: list[bytes]) -> bytes | None:
    """The report in a run folder, if it is younger than the run and has one of these scripts: it is of this version."""
    path = folder / REPORT
    if not path.is_file() or path.stat().st_mtime < (folder / RECORD).stat().st_mtime:
        return None
    html = path.read_bytes()
    return html if any(_has(html, script) for script in scripts) else None


def _has(html: bytes, script: bytes) -> bool:
    return b'<script type="module">' + script + b"</script>" in html


def _made(run: "Run") -> bytes:
    return run.report().read_bytes()
