"""Fixtures: reports, and visiting them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread import Run
from pages import NAMES, foreign, watch
from samples import blocks

Open = Callable[..., Any]
SETTINGS = ['layers=[{type="Flatten"}, {type="Dense", units=12, activation="relu"}, {type="Dense", units="classes"}]']


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens a page. No test ends well whose page asked the network for anything, or said something to the console."""
    contexts, faults = [], []

    def open_page(path: Path, width: int = 1280, theme: str = "light", script: str = "") -> Any:
        # without motion: a click waits until nothing moves
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.set_default_navigation_timeout(300_000)  # where other work holds the machine
        page = context.new_page()
        if script:
            page.add_init_script(script)
        watch(page, faults)
        page.on("request", lambda request: request.url == path.as_uri() or faults.append(request.url[:80]))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for fault in faults if not fault.startswith(("data:", "blob:"))] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """Blocks whose classes have dangerous names, every fifth test label and some training labels wrong."""
    (images, labels), (test_images, test_labels) = blocks(320), blocks(160, seed=1)
    test_labels[::5] = (test_labels[::5] + 1 + np.arange(32) % 3) % 4
    labels[:8] = (labels[:8] + 1) % 4
    path = folder / "signs.npz"
    arrays = {"x_train": images, "y_train": labels, "x_test": test_images, "y_test": test_labels}
    np.savez(path, **arrays, class_names=np.array(NAMES))
    return path


@pytest.fixture(scope="module")
def runs(data: Path, folder: Path) -> tuple[Run, Run]:
    """One that learnt the blocks, and one that was stopped early."""
    first, second = (
        misread.train(str(data), "tutorial-mlp", epochs=n, seed=n, settings=SETTINGS, out=folder, progress=False)
        for n in (12, 1)
    )
    return first, second


@pytest.fixture(scope="module")
def whole(runs: tuple[Run, Run]) -> Path:
    """The report of the first run, with its comparison to the second."""
    return runs[0].report(compare=runs[1])


@pytest.fixture(scope="module")
def many(folder: Path) -> Path:
    """The report of 1,000 colour images, not square, more of them misread than are drawn at a time."""
    return foreign(1000, 10, shape=(12, 20, 3)).report(folder / "many.html")
