"""What tests of the server share: a model whose probabilities are known without misread, and a server that runs."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.data.geometry import Geometry
from misread.serve.model import Model

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
