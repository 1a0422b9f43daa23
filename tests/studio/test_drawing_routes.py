"""The requests of the room Draw that keep, list and delete drawings."""

import asyncio
import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette

import misread
from misread.errors import MisreadError
from misread.studio import drawing_routes
from misread.studio.app import _misread_error


class Client:
    """Asks an application, without a server."""

    def __init__(self, app: Starlette) -> None:
        self.transport = httpx.ASGITransport(app)

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("GET", path))

    def post(self, path: str, json: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, json=json))

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self.transport, base_url="http://studio.test") as client:
            return await client.request(method, path, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on digits."""
    return misread.train("digits", "fast-mlp", epochs=1, out=tmp_path_factory.mktemp("runs"), progress=False).folder


@pytest.fixture
def client(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("MISREAD_DRAWINGS", str(tmp_path))
    app = Starlette(routes=drawing_routes.routes(), exception_handlers={MisreadError: _misread_error})
    app.state.runs = SimpleNamespace(path=lambda run: folder)
    return Client(app)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (28, 28, 1), dtype=np.uint8)


def body(seed: int = 0, **values: Any) -> dict[str, Any]:
    pixels = base64.b64encode(picture(seed).tobytes()).decode()
    return {"run": "id", "pixels": pixels, "label": 7, **values}


def test_keep_list_delete(client: Client) -> None:
    assert client.get("/api/drawings?run=id").json()["ids"] == []
    for seed, label in enumerate([7, 7, 2]):
        answer = client.post("/api/drawings", json=body(seed, label=label))
        assert answer.status_code == 200, answer.text
    found = client.get("/api/drawings?run=id").json()
    assert (found["name"], found["ids"], found["labels"]) == ("my-digits", [0, 1, 2], [7, 7, 2])
    assert found["splits"] == ["train", "test", "train"]
    assert base64.b64decode(found["pixels"]) == b"".join(picture(seed).tobytes() for seed in range(3))
    left = client.post("/api/drawings/1/delete", json={"run": "id"}).json()
    assert left["ids"] == [0, 2]
    assert client.get("/api/drawings?run=id").json() == left


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pixels": "no base64!"}, "pixels is not base64"),
        ({"pixels": ""}, "pixels has 0 bytes"),
        ({"label": 10}, "The label is 10, outside 0..9"),
        ({"label": True}, "label must be the number of a class"),
        ({"label": "7"}, "label must be the number of a class"),
        ({"run": 5}, "run must be a text"),
    ],
)
def test_what_is_refused(client: Client, values: dict[str, Any], message: str) -> None:
    try:
        answer = client.post("/api/drawings", json=body(**values))
    finally:
        assert client.get("/api/drawings?run=id").json()["ids"] == []
    assert answer.status_code == 400
    assert message in answer.text


def test_a_drawing_that_is_not_there(client: Client) -> None:
    answer = client.post("/api/drawings/5/delete", json={"run": "id"})
    assert answer.status_code == 400
    assert "no longer there" in answer.json()["error"]
