"""Fixtures: some images, a client of an application, and real servers."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn

from app_client import AppClient
from misread.http.sockets import listen
from misread.serve.app import make_app
from misread.serve.guard import Access
from misread.serve.model import Model
from misread.serve.server import uvicorn_config
from served import HOST, Running, Serve, known_model


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def client() -> AppClient:
    return AppClient(make_app(known_model(), Access("127.0.0.1")), f"http://{HOST}")


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
