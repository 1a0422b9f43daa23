"""What tests of the studio share: a folder with a small run, and a client that may talk to the studio over it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import misread
from misread import Run
from misread.studio.app import make_app
from misread.studio.runs import run_id
from misread.studio.security import Access
from samples import blocks

SMALL = ['layers=[{type="Flatten"}, {type="Dense", units=12, activation="relu"}, {type="Dense", units="classes"}]']
NAMES = ("up", "down", "left", "right")
ORIGIN = "http://127.0.0.1:8000"


def wrong_blocks(folder: Path) -> Path:
    """A data file of blocks, every fifth test label wrong."""
    (images, labels), (test_images, test_labels) = blocks(240), blocks(120, seed=1)
    test_labels[::5] = (test_labels[::5] + 1) % 4
    path = folder / "signs.npz"
    arrays = {"x_train": images, "y_train": labels, "x_test": test_images, "y_test": test_labels}
    np.savez(path, **arrays, class_names=np.array(NAMES))
    return path


def small_run(folder: Path) -> Run:
    """A run on `wrong_blocks` in the folder `runs`; it reads most images as what they show."""
    return misread.train(
        str(wrong_blocks(folder)), "tutorial-mlp", epochs=12, settings=SMALL, out=folder / "runs", progress=False
    )


class Client:
    """Requests about one run to the studio over its folder."""

    def __init__(self, run: Run) -> None:
        self.run, self.id = run, run_id(run.folder)
        self.access = Access("secret", "127.0.0.1", 8000)
        self.app = make_app(run.folder.parent, self.access)

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("GET", path))

    def post(self, path: str, body: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, json=body, headers={"Origin": ORIGIN}))

    async def _ask(self, method: str, path: str, **values: Any) -> httpx.Response:
        transport, cookies = httpx.ASGITransport(app=self.app), {self.access.cookie: "secret"}
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, cookies=cookies) as client:
            return await client.request(method, f"/api/runs/{self.id}/{path}", **values)

    def when_ready(self, path: str) -> Any:
        """The answer when work in the background has ended; and how often it was not ready."""
        for waited in range(3000):
            answer = self.get(path)
            if answer.status_code != 202:
                return answer, waited
            assert 0 <= answer.json()["progress"] <= 1
            time.sleep(0.02)
        raise AssertionError(f"{path} is still not ready")


def until(page: Any, script: str) -> None:
    """Waits for a condition; `wait_for_function` needs eval, which the page's security policy forbids."""
    for _ in range(4800):
        if page.evaluate(script):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it never came to {script}")
