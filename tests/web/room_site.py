"""A room on a page of its own, in real Chromium: the package's files, a run's network and its test images."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from misread import Run
from misread.messages import catalogue
from pages import watch

SITE = "http://rooms.test/"
HERE = Path(__file__).parent
TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".html": "text/html"}
Api = Callable[[str, str, Any], tuple[int, Any]]  # method, path, body -> status, answer


class Site:
    """Answers every request of a page from memory; what is not there is a fault."""

    def __init__(self, run: Run, images: np.ndarray, labels: np.ndarray, lang: str = "en", api: Api | None = None):
        facts = run.record.data
        self.api, self.faults = api, []
        data = {"name": facts.name, "class_names": facts.class_names, "image_shape": facts.image_shape}
        self.files = {
            "": (HERE / "room_page.html").read_bytes(),
            "page.js": (HERE / "room_page.js").read_bytes(),
            "images.bin": np.ascontiguousarray(images).tobytes(),
            "model.bin": network_bytes(run),
            "style.css": styles(),
            "facts.json": json.dumps(
                {
                    "lang": lang,
                    "texts": catalogue(lang),
                    "server": api is not None,
                    "labels": labels.tolist(),
                    "run": {"id": "run", "name": "run", "title": "run", "data": data, "splits": ["test"]},
                }
            ).encode(),
        }

    def open(
        self, browser: Any, address: str, width: int = 1280, theme: str = "light", motion: str = "reduce", **more: Any
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion=motion, **more
        )
        context.set_default_timeout(120_000)
        context.route("**/*", self.answer)
        page = context.new_page()
        watch(page, self.faults)
        page.goto(f"{SITE}#{address}")
        return page

    def answer(self, route: Any) -> None:
        request = route.request
        path = request.url.removeprefix(SITE).partition("#")[0]
        if path.startswith("api/") and self.api:
            body = json.loads(request.post_data) if request.post_data else None
            status, found = self.api(request.method, path, body)
            return route.fulfill(status=status, json=found)
        suffix = Path(path).suffix or (".html" if not path else "")
        if path.startswith("web/"):
            content = resources.files("misread").joinpath(*path.split("/")).read_bytes()
        elif path in self.files:
            content = self.files[path]
        else:
            self.faults.append(f"a request for {request.url[:100]}")
            return route.abort()
        return route.fulfill(body=content, content_type=TYPES.get(suffix, "application/octet-stream"))


def network_bytes(run: Run) -> bytes:
    """The network of a run as the page reads it."""
    from misread.web.model_file import model_bytes

    data = run.record.data
    return model_bytes(
        run.predictor.network, run.recipe.layers, data.class_names, data.image_shape, geometry=data.geometry
    )


def styles() -> bytes:
    folder = resources.files("misread.web") / "style"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".css"))
    names.sort(key=lambda name: name != "tokens.css")
    return b"\n".join((folder / name).read_bytes() for name in names)
