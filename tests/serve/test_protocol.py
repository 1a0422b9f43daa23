"""The Open Inference Protocol: what its specification names, answered as it says."""

import json
from typing import Any

import numpy as np
import pytest

from app_client import AppClient
from served import CLASSES, INFER, known_probs, tensor


def test_health_and_server_metadata(client: AppClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    server = client.get("/v2").json()
    assert set(server) == {"name", "version", "extensions"}


def test_model_metadata_has_the_tensors_and_the_class_names(client: AppClient) -> None:
    found = client.get("/v2/models/halves").json()
    assert found["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 4, 6, 3]}]
    assert found["outputs"] == [{"name": "probs", "datatype": "FP32", "shape": [-1, 3]}]
    assert (found["name"], found["platform"]) == ("halves", "test")
    assert found["parameters"] == {"data": "halves", "class_names": list(CLASSES)}
    assert client.get("/v2/models/halves/ready").json() == {"name": "halves", "ready": True}


@pytest.mark.parametrize("nested", [False, True])
def test_infer_gives_the_probabilities_of_each_image(client: AppClient, images: np.ndarray, nested: bool) -> None:
    data = images.tolist() if nested else images.ravel().tolist()
    request = {**tensor(images, data=data), "id": "42", "outputs": [{"name": "probs"}]}
    answer = client.post(INFER, json=request)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["model_name"], found["id"]) == ("halves", "42")
    (output,) = found["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probs", "FP32", [5, 3])
    np.testing.assert_array_equal(np.array(output["data"], np.float32).reshape(5, 3), known_probs(images))


def test_an_answer_has_no_id_if_the_request_has_none(client: AppClient, images: np.ndarray) -> None:
    assert "id" not in client.post(INFER, json=tensor(images)).json()


SHAPE = "The shape must be [N, 4, 6, 3] with N at least 1."
NUMBERS = "data must be whole numbers from 0 to 255"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shape": [-1, 4, 6, 3]}, SHAPE), ({"shape": [0, 4, 6, 3]}, SHAPE), ({"shape": [1, 6, 4, 3]}, SHAPE),
        ({"shape": [1, 72]}, SHAPE), ({"shape": [1.0, 4, 6, 3]}, SHAPE), ({"shape": [True, 4, 6, 3]}, SHAPE),
        ({"shape": "1463"}, SHAPE), ({"shape": None}, SHAPE), ({"shape": [[1], 4, 6, 3]}, SHAPE),
        ({"shape": [2, 4, 6, 3]}, "data has 72 values, but the shape [2, 4, 6, 3] has 144."),
        ({"shape": [10**25, 4, 6, 3]}, "has far more"),
        ({"datatype": "FP32"}, 'The datatype must be "UINT8"'), ({"datatype": ["UINT8"]}, "datatype"),
        ({"name": "x"}, 'The input\'s name must be "images".'),
        ({"data": [0.5] * 72}, NUMBERS), ({"data": [256] * 72}, NUMBERS), ({"data": [-1] * 72}, NUMBERS),
        ({"data": ["1"] * 72}, NUMBERS), ({"data": [None] * 72}, NUMBERS), ({"data": [10**400] * 72}, NUMBERS),
        ({"data": [0, *[[0]] * 71]}, NUMBERS), ({"data": []}, "data has 0 values"),
        ({"data": None}, "data is missing"), ({"data": "AAAA"}, "data is missing"), ({"data": {}}, "data is missing"),
        ({"data": [[0] * 72]}, "nested, but not like the shape"), ({"data": [[[[0] * 3] * 6] * 4, 1]}, "not like"),
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named(client: AppClient, changed: dict[str, Any], said: str) -> None:
    answer = client.post(INFER, json=tensor(np.zeros((1, 4, 6, 3), np.uint8), **changed))
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert len(answer.content) < 300


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"), (b"\xff\xfe", "not JSON"), (b"{", "not JSON"), (b"[" * 10**6, "nested too deeply"),
        (b'{"inputs":' * 10**5, "nested too deeply"), (b'{"inputs": NaN}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"inputs": [{"shape": [Infinity]}]}', "not JSON"), (b'{"inputs": ' + b"9" * 10**6 + b"}", "not JSON"),
        (b"{}", "one tensor"), (b'{"inputs": []}', "there are 0"), (b'{"inputs": [1]}', "there are 1"),
        (b'{"inputs": [' + b"{}," * 9999 + b"{}]}", "there are 10,000"), (b'{"inputs": 1e999}', "one tensor"),
        (b'{"id": 7}', "id must be a text"), (b'{"id": "' + b"x" * 201 + b'"}', "at most 200"),
        (b'{"outputs": [{"name": "logits"}]}', 'the one output, "probs"'), (b'{"outputs": {}}', "the one output"),
        (b'{"outputs": [{"name": "probs"}, {"name": "probs"}]}', "the one output"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_named(client: AppClient, body: bytes, said: str) -> None:
    answer = client.post(INFER, content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "name",
    ["other", "%2e%2e", "..%2f..%2fetc%2fpasswd", "halves%00", "Halves", "%F0%9F%92%A9", "x" * 5000, "a%2f"],
)
def test_no_other_model_is_found_whatever_its_name(client: AppClient, name: str) -> None:
    for address, method in [("", "GET"), ("/ready", "GET"), ("/infer", "POST")]:
        answer = client.request(method, f"/v2/models/{name}{address}")
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}
        assert len(answer.content) < 500


def test_errors_of_addresses_and_methods_are_json(client: AppClient) -> None:
    for method, address, status in [("GET", "/predict", 405), ("POST", "/v2", 405), ("GET", "/nothing", 404)]:
        answer = client.request(method, address)
        assert (answer.status_code, set(json.loads(answer.content))) == (status, {"error"})
