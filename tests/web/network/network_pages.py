"""A page that has the network's modules."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from misread.training.recipe import Recipe
from misread.web.model_file import model_bytes

ORIGIN = "http://misread.localhost/"


class NetworkPage:
    """A page whose requests are answered from misread's folder `web`, and from `given`: bytes by name."""

    def __init__(self, page: Any) -> None:
        self.page, self.given = page, dict[str, bytes]()
        page.route("**/*", self._answer)
        page.goto(ORIGIN)

    def _answer(self, route: Any) -> None:
        name = route.request.url.removeprefix(ORIGIN)
        if name in self.given:
            route.fulfill(body=self.given[name], content_type="application/octet-stream")
        elif name:
            route.fulfill(
                body=Path(str(files("misread.web"))).joinpath(name).read_bytes(), content_type="text/javascript"
            )
        else:
            route.fulfill(body="<!DOCTYPE html><title>test</title>", content_type="text/html")

    def run(self, script: str, argument: Any = None) -> Any:
        """What an async function's body gives. In it: `file(name)`, a given file, and `load(path)`, a module."""
        return self.page.evaluate(
            f"""async (argument) => {{
              const file = async (name) => (await fetch("/" + name)).arrayBuffer();
              const load = (path) => import("/" + path);
              {script}
            }}""",
            argument,
        )

    def give(self, recipe: Recipe, network: nn.Module, pixels: np.ndarray, n_classes: int = 10, **how: Any) -> None:
        """The files `model` and `images`, for `ON_IMAGES`."""
        names = [f"class {k}" for k in range(n_classes)]
        self.given["model"] = model_bytes(network, recipe.layers, names, pixels.shape[1:], **how)
        self.given["images"] = np.ascontiguousarray(pixels).tobytes()


ON_IMAGES = """
const { readModel } = await load("network/model.js");
const model = readModel(await file("model"));
const size = model.imageShape.reduce((a, b) => a * b, 1);
const pixels = new Uint8Array(await file("images"));
const image = (i) => pixels.subarray(i * size, (i + 1) * size);
const count = pixels.length / size;
"""
