"""The API of labels: the decisions on the images of a run's data, kept in a label patch.

The patch belongs to the data, so all runs on it share its decisions; a patch file is also written by `misread labels`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from misread.data.label_decisions import FIXED, Decision, Wish, decide, decisions
from misread.data.label_patch import LabelPatch, read_patch
from misread.errors import RunError
from misread.runs import run_folder
from misread.studio.bodies import json_body
from misread.studio.runs import SPLITS, Runs

if TYPE_CHECKING:
    from misread.runs.record import RunRecord
    from misread.runs.run import Run

FOLDER = "labels"  # in the runs folder
MOST = 5000  # decisions in a request
LOOK = 0.4  # seconds between looks at the file
ALIVE = 15  # seconds after which a quiet stream says that it is there


def routes() -> list[Route]:
    return [
        Route("/api/runs/{id}/decisions", list_decisions),
        Route("/api/runs/{id}/decisions", add_decisions, methods=["POST"]),
        Route("/api/runs/{id}/decisions/events", decision_events),
    ]


def patch_file(runs: Path, record: "RunRecord") -> Path:
    """The label patch of a run's data set, which may not exist yet. runs: the folder of runs.

    Raises RunError: the data was given as arrays in memory, so that its images cannot be loaded again.
    """
    source, name = record.data.source, record.data.name
    if not source:
        raise RunError(f"{name} was given as arrays in memory, so its labels cannot be changed here.")
    plain = re.sub(r"[^\w.-]", "_", name)[:60].lstrip(".")
    if source != plain:
        plain = f"{plain}-{sha256(source.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return runs / FOLDER / f"{plain}.jsonl"


def list_decisions(request: Request) -> Response:
    """{file, fixes, decisions}: the patch, how many labels it changes, and the decision on each image by its hash."""
    path = _patch_of(request)
    patch = _read(path)
    return JSONResponse({"file": str(path), "fixes": len(patch.fixes), "decisions": _plain(decisions(patch))})


async def add_decisions(request: Request) -> Response:
    """{split, decisions: [{position, kind, label, seen}]} -> {written, conflicts}, decisions by the hashes of images.

    position: in the split. kind, label, seen: as in `label_decisions.Wish`.
    """
    body = await json_body(request)
    split, given = body.get("split"), body.get("decisions")
    if split not in SPLITS or not isinstance(given, list) or not 0 < len(given) <= MOST:
        raise HTTPException(400, f"split must be one of {', '.join(SPLITS)}, decisions a list of 1 to {MOST:,}.")
    return JSONResponse(await run_in_threadpool(_decide, request, split, given))


def _decide(request: Request, split: str, given: list[Any]) -> dict[str, Any]:
    runs: Runs = request.app.state.runs
    run = runs.open(request.path_params["id"])
    path = patch_file(runs.folder, run.record)
    wishes = [_wish(run, split, item) for item in given]
    path.parent.mkdir(parents=True, exist_ok=True)
    written, conflicts = decide(path, wishes, run.record.data.class_names)
    return {"written": _plain(written), "conflicts": _plain(conflicts)}


def _wish(run: "Run", split: str, item: Any) -> Wish:
    from misread.data.image_hash import image_hash

    values = item if isinstance(item, dict) else {}
    position, kind, label, seen = (values.get(name) for name in ("position", "kind", "label", "seen"))
    images = run.split(split)
    if type(position) is not int or not 0 <= position < len(images):
        raise HTTPException(400, f"position must be a whole number from 0 to {len(images) - 1:,}, not {position!r}.")
    if not isinstance(kind, str) or not isinstance(label, str | None) or type(seen) not in (int, type(None)):
        raise HTTPException(400, "A decision has a kind (text), and may have a label (text) and seen (a whole number).")
    old = run.record.data.class_names[images.labels[position]]
    return Wish(image_hash(images.images[position]), old, kind, label or "" if kind == FIXED else "", seen)


async def decision_events(request: Request) -> Response:
    """Server-sent events: the decisions that changed, by hash, whoever wrote them; at first all of them."""
    path = await run_in_threadpool(_patch_of, request)
    return StreamingResponse(
        _changes(path, request), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _changes(path: Path, request: Request) -> AsyncIterator[str]:
    known: dict[str, Any] | None = None
    stamp: tuple[int, int] | None = None
    quiet = 0.0
    while not await request.is_disconnected():
        now = _stamp(path)
        if known is None or now != stamp:
            stamp, quiet = now, 0.0
            current = _plain(decisions(await run_in_threadpool(_read, path)))
            changed = {image: made for image, made in current.items() if (known or {}).get(image) != made}
            first, known = known is None, current
            if changed or first:
                yield f"data: {json.dumps(changed)}\n\n"
        elif quiet >= ALIVE:
            quiet = 0.0
            yield ": alive\n\n"
        await asyncio.sleep(LOOK)
        quiet += LOOK


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with the file."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _patch_of(request: Request) -> Path:
    runs: Runs = request.app.state.runs
    return patch_file(runs.folder, run_folder.read_record(runs.path(request.path_params["id"])))


def _read(path: Path) -> LabelPatch:
    return read_patch(path) if path.is_file() else LabelPatch((), (), b"", str(path))


def _plain(made: dict[str, Decision]) -> dict[str, Any]:
    return {image: asdict(decision) for image, decision in made.items()}
