"""Fixtures: a model whose probabilities are known without misread, a client of its application, and a real server."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import uvicorn

from app_client import AppClient
from misread.data.geometry import Geometry
from misread.http.sockets import listen
from misread.serve.app import make_app
from misread.serve.guard import Access
from misread.serve.model import Model
from misread.serve.server import uvicorn_config

HOST = "127.0.0.1:8000"
CLASSES = ("top", "bottom", 'a "quoted"\nclass')
INFER = "/v2/models/halves/infer"


def known_probs(images: np.ndarray) -> np.ndarray:
    """The upper and the lower half's share of the light, and nothing for the third class."""
    light = images.astype(np.float32).sum(axis=(2, 3)) + 1e-3
    top = light[:, :2].sum(axis=1) / light.sum(axis=1)
    return np.stack([top, 1 - top, np.zeros_like(top)], axis=1)


def known_model(probs: Callable[[np.ndarray], np.ndarray] = known_probs) -> Model:
    """(4, 6, 3) images; three classes."""
    return Model("halves", "test", CLASSES, (4, 6, 3), Geometry(4, 6, 3), {"data": "halves"}, probs)


def tensor(images: np.ndarray, **changed: Any) -> dict[str, Any]:
    """An inference request for images."""
    values = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    return {"inputs": [{**values, **changed}]}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def client() -> AppClient:
    return AppClient(make_app(known_model(), Access("127.0.0.1")), f"http://{HOST}")


@dataclass
class Running:
    """A server on a free port. `app` is its application."""

    app: Any
    port: int

    def exchange(self, *parts: bytes, pause: float = 0.0, timeout: float = 20.0) -> bytes:
        """All that the server answers, until it closes the connection, to raw bytes that are sent in parts."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has answered already
            return read_all(connection)

    def is_alive(self) -> bool:
        head = b"GET /v2/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        return status_of(self.exchange(head)) == 200


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(2**16):
            received += part
    except ConnectionResetError:
        pass
    return received


def status_of(answer: bytes) -> int:
    """0 if there is no answer."""
    return int(answer.split()[1]) if answer else 0


def error_of(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["error"])


def post(path: str, body: bytes, length: int | None = None) -> bytes:
    """A request as bytes. length: what its header says, if it lies."""
    stated = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {stated}\r\n\r\n".encode()
        + body
    )


Serve = Callable[..., Running]


@pytest.fixture
def serving() -> Iterator[Serve]:
    """Starts servers in threads: serving(model, concurrency=2)."""
    ends: list[Callable[[], None]] = []

    def start(model: Model | None = None, **options: Any) -> Running:
        app = make_app(model or known_model(), Access("127.0.0.1"), **options)
        listening = listen("127.0.0.1", 0, "The server")
        config = uvicorn_config(app)
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()

        def end() -> None:
            server.should_exit = True
            thread.join(30)
            listening.close()

        ends.append(end)
        return Running(app, listening.getsockname()[1])

    yield start
    for end in ends:
        end()
