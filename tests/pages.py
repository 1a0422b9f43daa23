"""What tests of pages share: predictions, names, what a page may not do, and reading what it shows."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from misread import Predictions

NAMES = ["<script>alert(1)</script>", '</script><b>"x"', "it's & more", "plain"]


def foreign(n: int, classes: int, margin: float = 1.0, shape: tuple[int, ...] | None = None) -> Predictions:
    """Predictions by no network of ours."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    powers = np.exp(rng.normal(0, 1, (n, classes)) + margin * np.eye(classes)[labels])
    images = None if shape is None else rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return Predictions(labels, powers / powers.sum(axis=1, keepdims=True), images=images, name="elsewhere")


def tiles(page: Any, where: str = "#tiles") -> list[int]:
    """The rows in the source of all images of a list in their order, as they are printed: only then all are drawn."""
    script = f"""() => {{ const {{ items }} = JSON.parse(document.getElementById("data").textContent);
        dispatchEvent(new Event("beforeprint"));
        const all = [...document.querySelectorAll("{where} [data-item]")].map(tile => items.index[tile.dataset.item]);
        dispatchEvent(new Event("afterprint"));
        return all }}"""
    return page.evaluate(script)


def drawn(page: Any) -> list[int]:
    """The rows in the source of the images of the gallery that are drawn now."""
    return page.evaluate("""() => { const { items } = JSON.parse(document.getElementById("data").textContent);
        return [...document.querySelectorAll("#tiles [data-item]")].map(tile => items.index[tile.dataset.item]) }""")


def counts_of(page: Any, name: str) -> dict[str, int]:
    """What a filter offers, and how many images it says each has."""
    texts = page.eval_on_selector_all(f"#by-{name} option", "options => options.slice(1).map(o => o.textContent)")
    return {text.rpartition(" (")[0]: int(text.rpartition(" (")[2][:-1].replace(",", "")) for text in texts}


def pixels(src: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))).convert("L"))


def watch(page: Any, faults: list[str], own: tuple[str, ...] | None = None, *, console: bool = True) -> None:
    """Keep what a page may not do in `faults`: errors, dialogs, what it says to the console, requests elsewhere.

    own: how the addresses begin that it may ask; None does not look at requests. console: whether it must be silent.
    """
    if console:
        page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(f"a dialog opened: {dialog.message}"), dialog.dismiss()))
    if own is not None:
        page.on("request", lambda request: request.url.startswith(own) or faults.append(request.url[:80]))
