"""The API of a few embedded digits, with which the lesson shows its ideas where there is no run."""

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

EXAMPLES = 120


def routes() -> list[Route]:
    return [Route("/api/examples", examples)]


def examples(request: Request) -> Response:
    """The first test images of `digits`: image_shape [H, W, C], class_names, labels, pixels (N, H, W, C) in base64."""
    from misread.data.digits import load_digits

    digits = load_digits()
    images, labels = digits.test.images[:EXAMPLES], digits.test.labels[:EXAMPLES]
    return JSONResponse(
        {
            "image_shape": list(images.shape[1:]),
            "class_names": list(digits.class_names),
            "labels": labels.tolist(),
            "pixels": base64.b64encode(images.tobytes()).decode(),
        }
    )
