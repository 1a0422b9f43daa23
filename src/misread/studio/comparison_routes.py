"""The API of comparisons of two runs."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from misread.errors import MisreadError
from misread.studio.runs import Runs


def routes() -> list[Route]:
    return [Route("/api/compare", compare_runs)]


def compare_runs(request: Request) -> Response:
    """?a=ID&b=ID: what run B fixes and breaks, on the test images: `Comparison.to_dict`.

    Each line of `changes` also has `position`, that of the image in the split. `on_fixed_labels` has the keys of
    `Comparison.summary`, by the labels that the patch of B fixed; it is null if B was trained without one, or if its
    data is gone, since the patch names images.
    Raises MisreadError: the two are not of the same images.
    """
    from misread.runs.compare import compare, compare_on_fixed_labels

    runs: Runs = request.app.state.runs
    ids = [request.query_params.get(name, "") for name in "ab"]
    if ids[0] == ids[1]:
        raise HTTPException(400, "Choose two different runs.")
    a, b = map(runs.open, ids)
    found = compare(a, b)
    try:
        fixed = compare_on_fixed_labels(a, b)
    except MisreadError:
        fixed = None
    parts = found.to_dict() | {"on_fixed_labels": fixed and fixed.summary()}
    for line, position in zip(parts["changes"], found.changes.index.tolist(), strict=True):
        line["position"] = position
    return JSONResponse(parts)
