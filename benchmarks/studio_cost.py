"""What an open page of the studio costs a training: pairs of the same training, with and without, one after the other.

    python benchmarks/studio_cost.py [--data mnist] [--recipe tutorial-mlp] [--epochs 10] [--pairs 5]

Prints, for each training, the CPU seconds of its process (user and system), and the wall seconds from the call to the
written run; then the medians, and how much more the training with the page took. The studio, its page in headless
Chromium and the trainings share this machine.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import sync_playwright

from misread.studio.app import make_app
from misread.studio.security import Access
from misread.studio.server import address_of, open_socket

TOKEN = "t" * 43


def cpu_seconds() -> float:
    """Of all child processes that have ended. The browser is not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(train: Callable[[], None]) -> tuple[float, float]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    train()
    return cpu_seconds() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--recipe", default="tutorial-mlp")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_socket("127.0.0.1", 0) as listening:
        access = Access(TOKEN, "127.0.0.1", listening.getsockname()[1])
        app = make_app(Path(folder), access)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with sync_playwright() as playwright:
                compare(options, app, access, playwright, folder)
        finally:
            server.should_exit = True
            thread.join()


def compare(options: Any, app: Any, access: Access, playwright: Any, folder: str) -> None:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(600_000)
    page.goto(f"{address_of(access)}&lang=en#room=train")
    page.wait_for_selector("#train-data")
    origin = f"http://127.0.0.1:{access.port}"
    client = httpx.Client(base_url=origin, cookies={access.cookie: TOKEN}, headers={"origin": origin}, timeout=600)

    def plain() -> None:
        command = [sys.executable, "-m", "misread", "train", options.data, "--recipe", options.recipe]
        command += ["--epochs", str(options.epochs), "--out", folder, "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def watched() -> None:
        body = {"data": options.data, "recipe": options.recipe, "settings": {"epochs": options.epochs}}
        id = client.post("/api/trainings", json=body).raise_for_status().json()["id"]
        page.goto(f"{origin}/?lang=en#room=train&training={id}")
        training = app.state.trainings.get(id)
        while training.process is None or training.process.returncode is None:
            page.wait_for_timeout(200)
        assert training.state == "finished", training.message

    results: dict[str, list[tuple[float, float]]] = {"plain": [], "studio": []}
    for pair in range(options.pairs):
        for train in (plain, watched) if pair % 2 == 0 else (watched, plain):
            name = "plain" if train is plain else "studio"
            results[name].append(measured(train))
            cpu, wall = results[name][-1]
            sys.stdout.write(
                json.dumps({"training": name, "cpu_seconds": round(cpu, 2), "wall_seconds": round(wall, 2)}) + "\n"
            )
            sys.stdout.flush()
    for i, what in enumerate(("CPU", "wall")):
        before, after = (statistics.median(pair[i] for pair in results[name]) for name in ("plain", "studio"))
        sys.stdout.write(
            f"{what}: median {before:.2f} s without, {after:.2f} s with a page: {after / before - 1:+.1%}\n"
        )
    browser.close()


if __name__ == "__main__":
    main()
