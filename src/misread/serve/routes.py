"""The addresses of the server."""

import json
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from misread.serve import metrics as prometheus
from misread.serve import tensors
from misread.serve.model import Model
from misread.serve.pictures import picture_of
from misread.version import __version__

TOP = 3


def routes() -> list[Route]:
    return [
        Route("/predict", predict, methods=["POST"]),
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/{name}", model_metadata),
        Route("/v2/models/{name}/ready", model_ready),
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
        Route("/metrics", metrics),
    ]


async def predict(request: Request) -> Response:
    """The classes of one picture, which is the body."""
    state = request.app.state
    async with state.work.body(request) as body:
        request.state.log = {"bytes": len(body)}
        if not body:
            raise HTTPException(400, "The body is empty. Send the picture itself, as in `curl --data-binary @a.png`.")
        probs = await state.work.run(_predict_picture, state.model, body)
    best = np.argsort(-probs, kind="stable")
    state.metrics.predicted([int(best[0])])
    return JSONResponse(prediction(state.model, probs, best))


def _predict_picture(model: Model, body: bytes) -> np.ndarray:
    return model.predict_picture(picture_of(body))


def prediction(model: Model, probs: np.ndarray, best: np.ndarray) -> dict[str, Any]:
    """probs: (K,) float32. best: (K,) class indices, the most probable first."""
    top = [{"class": model.class_names[k], "probability": float(probs[k])} for k in best[:TOP]]
    return {
        "prediction": top[0]["class"],
        "confidence": top[0]["probability"],
        "top": top,
        "probs": probs.tolist(),
    }


async def infer(request: Request) -> Response:
    """Probabilities of images that are given as a tensor."""
    state = request.app.state
    _check_name(request)
    async with state.work.body(request) as body:
        request.state.log = {"bytes": len(body)}
        answer, classes = await state.work.run(_infer, state.model, body)
    request.state.log["images"] = len(classes)
    state.metrics.predicted(classes)
    return Response(answer, media_type="application/json")


def _infer(model: Model, body: bytes) -> tuple[bytes, list[int]]:
    images, identity = tensors.read_request(body, model.image_shape)
    probs = model.probs(images)
    return json.dumps(tensors.response(model, probs, identity)).encode(), probs.argmax(axis=1).tolist()


async def server(request: Request) -> Response:
    return JSONResponse({"name": "misread", "version": __version__, "extensions": ["model_parameters"]})


async def live(request: Request) -> Response:
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """The model is loaded before the server listens. The protocol's text names the field live, its schema ready."""
    return JSONResponse({"live": True, "ready": True})


async def model_metadata(request: Request) -> Response:
    _check_name(request)
    return JSONResponse(tensors.metadata(request.app.state.model))


async def model_ready(request: Request) -> Response:
    _check_name(request)
    return JSONResponse({"name": request.app.state.model.name, "ready": True})


async def metrics(request: Request) -> Response:
    return PlainTextResponse(request.app.state.metrics.text(), media_type=prometheus.CONTENT_TYPE)


def _check_name(request: Request) -> None:
    given, model = request.path_params["name"], request.app.state.model
    if given != model.name:
        raise HTTPException(404, f"There is no model {given[:100]!r} here; the model is {model.name!r}.")
