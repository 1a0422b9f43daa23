"""The embedded digits that the lesson shows where there is no run."""

import base64
import json

import numpy as np
from starlette.requests import Request

import misread
from misread.studio.example_routes import examples


def test_examples_are_the_first_test_images_of_digits() -> None:
    found = json.loads(bytes(examples(Request({"type": "http"})).body))
    images = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(-1, *found["image_shape"])
    test = misread.load("digits").test
    assert np.array_equal(images, test.images[: len(images)])
    assert found["labels"] == test.labels[: len(images)].tolist()
    assert len(found["labels"]) >= 100
