"""The API of comparisons of two runs."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.studio.runs import Runs


def routes() -> list[Route]:
    return [Route("/api/compare", compare_runs)]


def compare_runs(request: Request) -> Response:
    """?a=ID&b=ID: what run B fixes and breaks, on the test images: `Comparison.to_dict`.

    Each line of `changes` also has `position`, that of the image in the split.
    Raises MisreadError: the two are not of the same images.
    """
    from misread.runs.compare import compare

    runs: Runs = request.app.state.runs
    a, b = (request.query_params.get(name, "") for name in "ab")
    if a == b:
        raise HTTPException(400, "Choose two different runs.")
    found = compare(runs.open(a), runs.open(b))
    parts = found.to_dict()
    for line, position in zip(parts["changes"], found.changes.index.tolist(), strict=True):
        line["position"] = position
    return JSONResponse(parts)
