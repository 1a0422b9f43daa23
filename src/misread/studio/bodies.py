"""Reading the JSON bodies of requests, with messages for what is wrong in them."""

import binascii
import json
from base64 import b64decode
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body. Raises HTTPException: it is none, or larger than the studio allows."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "The body must be a JSON object.")
    return body


def text_of(body: dict[str, Any], name: str, longest: int) -> str:
    """A text in a JSON body, without spaces around it. Raises HTTPException: it is missing, no text, or too long."""
    value = body.get(name)
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} must be a text.")
    if len(value) > longest:
        raise HTTPException(400, f"{name} has {len(value):,} characters; {longest:,} are allowed.")
    return value.strip()


def image_of(body: dict[str, Any], name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """An image (H, W, C) uint8 of this shape from base64 text in a JSON body: the pixels row by row, channels last.

    Raises HTTPException: it is missing, no base64, or of another size.
    """
    value = body.get(name)
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} must be a text: the pixels as base64.")
    try:
        pixels = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(400, f"{name} is not base64.") from None
    wanted = int(np.prod(shape))
    if len(pixels) != wanted:
        raise HTTPException(400, f"{name} has {len(pixels):,} bytes; an image of {shape} (H, W, C) has {wanted:,}.")
    return np.frombuffer(pixels, np.uint8).reshape(shape)
