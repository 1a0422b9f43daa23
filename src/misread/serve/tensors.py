"""Requests and answers of the Open Inference Protocol: tensors as JSON.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import json
import math
from itertools import chain
from typing import Any, NoReturn, TypeGuard

import numpy as np
from starlette.exceptions import HTTPException

from misread.serve.model import Model

INPUT, OUTPUT = "images", "probs"
MAX_ID = 200


def read_request(body: bytes, image_shape: tuple[int, int, int]) -> tuple[np.ndarray, str | None]:
    """The images (N, H, W, C) uint8 in an inference request, and its id.

    Raises HTTPException 400, which says what is wrong.
    """
    try:
        request = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _refuse("The body is not JSON, or is nested too deeply. Binary tensors are not read.")
    if not isinstance(request, dict):
        _refuse("The body must be a JSON object with `inputs`.")
    identity = request.get("id")
    if identity is not None and not (isinstance(identity, str) and len(identity) <= MAX_ID):
        _refuse(f"id must be a text of at most {MAX_ID} characters.")
    _check_outputs(request.get("outputs"))
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"; there are {len(inputs):,}" if isinstance(inputs, list) else ""
        _refuse(f"inputs must be a list of one tensor, an object{found}.")
    return _images(inputs[0], image_shape), identity


def _images(tensor: dict[str, Any], image_shape: tuple[int, int, int]) -> np.ndarray:
    if tensor.get("name") != INPUT:
        _refuse(f'The input\'s name must be "{INPUT}".')
    if tensor.get("datatype") != "UINT8":
        _refuse('The datatype must be "UINT8": pixels from 0 to 255.')
    shape = tensor.get("shape")
    if not (_is_shape(shape) and tuple(shape[1:]) == image_shape and shape[0] >= 1):
        _refuse(f"The shape must be {['N', *image_shape]} with N at least 1.".replace("'", ""))
    values = _flat(tensor.get("data"), shape)
    expected = math.prod(shape)
    if len(values) != expected:
        _refuse(f"data has {len(values):,} values, but the shape {shape} has {_written(expected)}.")
    try:
        pixels = bytes(values)
    except (TypeError, ValueError):
        _refuse("data must be whole numbers from 0 to 255, flat or nested like the shape.")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _is_shape(shape: Any) -> TypeGuard[list[int]]:
    return isinstance(shape, list) and len(shape) == 4 and all(type(n) is int for n in shape)


def _flat(data: Any, shape: list[int]) -> list[Any]:
    """The values of a flat list, or of lists nested like the shape."""
    if not isinstance(data, list):
        _refuse("data is missing: it must be a list of numbers. Binary tensors are not read.")
    if not data or not isinstance(data[0], list):
        return data
    for count in shape[1:]:
        if not all(isinstance(part, list) and len(part) == count for part in data):
            _refuse("data is nested, but not like the shape.")
        data = list(chain.from_iterable(data))
    return data


def _check_outputs(outputs: Any) -> None:
    if outputs is None:
        return
    named = isinstance(outputs, list) and all(isinstance(o, dict) and o.get("name") == OUTPUT for o in outputs)
    if not named or len(outputs) > 1:
        _refuse(f'outputs may only name the one output, "{OUTPUT}".')


def _written(number: int) -> str:
    """A shape can have a number that takes megabytes to write."""
    return f"{number:,}" if number < 10**18 else "far more"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse(message: str) -> NoReturn:
    raise HTTPException(400, message)


def response(model: Model, probs: np.ndarray, identity: str | None) -> dict[str, Any]:
    """The inference response for probabilities (N, K) float32."""
    output = {"name": OUTPUT, "shape": list(probs.shape), "datatype": "FP32", "data": probs.ravel().tolist()}
    named = {"model_name": model.name, "outputs": [output]}
    return named if identity is None else {**named, "id": identity}


def metadata(model: Model) -> dict[str, Any]:
    """The model metadata response. `parameters` is an extension: class names, and what the model says of itself."""
    return {
        "name": model.name,
        "platform": model.platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *model.image_shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(model.class_names)]}],
        "parameters": {**model.facts, "class_names": list(model.class_names)},
    }
