"""What the tests of the studio's trainings share: a real server on a free port, and a client that reads events."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from misread.studio.app import make_app
from misread.studio.security import Access
from misread.studio.server import open_socket

SECONDS = 300.0  # to wait for anything: other work may hold the machine
TINY: dict[str, Any] = {
    "layers": [
        {"type": "Flatten"},
        {"type": "Dense", "units": 8, "activation": "relu"},
        {"type": "Dense", "units": "classes"},
    ],
    "name": "tiny",
    "batch_size": 32,  # 45 steps an epoch of `digits`
    "epochs": 2,
}


class Client:
    """A page of the studio, without a browser."""

    def __init__(self, access: Access, app: Any) -> None:
        self.origin, self.app, self.access = f"http://127.0.0.1:{access.port}", app, access
        self.http = httpx.Client(base_url=self.origin, timeout=SECONDS)
        assert self.http.get(f"/?token={access.token}").status_code == 200

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body, headers={"origin": self.origin})

    def start(self, **body: Any) -> str:
        answer = self.post("/api/trainings", **body)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def tiny(self, settings: dict[str, Any] | None = None, **more: Any) -> str:
        return self.start(data="digits", recipe="tutorial-mlp", settings={**TINY, **(settings or {})}, **more)

    def act(self, id: str, action: str, **body: Any) -> None:
        answer = self.post(f"/api/trainings/{id}/{action}", **body)
        assert answer.status_code == 200, answer.text

    def events(self, id: str) -> Iterator[dict[str, Any]]:
        with self.http.stream("GET", f"/api/trainings/{id}/events") as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def snapshot(self, id: str) -> dict[str, Any]:
        return next(self.events(id))

    def wait(self, id: str, *states: str) -> dict[str, Any]:
        """The snapshot when the training has reached one of these states."""
        return self.until(id, lambda now: now["training"]["state"] in states)

    def until(self, id: str, there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while not there(now := self.snapshot(id)):
            assert time.monotonic() < end, now["training"]
            time.sleep(0.05)
        return now

    def step(self, id: str) -> dict[str, Any]:
        """One step; returns the snapshot after it."""
        before = place(self.snapshot(id))
        self.act(id, "step")
        return self.until(id, lambda now: now["training"]["state"] == "paused" and place(now) != before)


def place(snapshot: dict[str, Any]) -> tuple[int, int]:
    """(epoch, step) of the last step that the page knows of; (0, 0) before the first."""
    now = snapshot.get("now")
    return (now["epoch"], now["step"]) if now else (0, 0)


@contextmanager
def studio(runs: Path, data: str | None = None) -> Iterator[Client]:
    """The studio over a folder of runs, in a thread of this process, and a client that may talk to it."""
    with open_socket("127.0.0.1", 0) as listening:
        access = Access("t" * 43, "127.0.0.1", listening.getsockname()[1])
        app = make_app(runs, access, data=data)
        config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            client = Client(access, app)
            yield client
            client.http.close()
        finally:
            server.should_exit = True
            thread.join()
