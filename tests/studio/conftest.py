"""Fixtures: runs, a studio over them in a process of its own, and pages of it in a browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from pages import NAMES, watch
from samples import blocks
from studio_process import Studio, start_studio

Open = Callable[..., Any]
MLP = ['layers=[{type="Flatten"}, {type="Dense", units=12, activation="relu"}, {type="Dense", units="classes"}]']
CNN = [
    'layers=[{type="Conv2D", filters=4, kernel_size=3, activation="relu"}, {type="MaxPooling2D"}, {type="Flatten"}, '
    '{type="Dropout", rate=0.2}, {type="Dense", units="classes"}]'
]


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs, the newest last: two on blocks whose classes have dangerous names, an MLP and a CNN on digits."""
    folder = tmp_path_factory.mktemp("studio")
    (images, labels), (test_images, test_labels) = blocks(320), blocks(160, seed=1)
    test_labels[::5] = (test_labels[::5] + 1 + np.arange(32) % 3) % 4
    arrays = {"x_train": images, "y_train": labels, "x_test": test_images, "y_test": test_labels}
    np.savez(folder / "signs.npz", **arrays, class_names=np.array(NAMES))
    signs, out = str(folder / "signs.npz"), folder / "runs"
    trainings = [
        (signs, "tutorial-mlp", MLP, 12),
        (signs, "tutorial-mlp", MLP, 1),
        ("digits", "tutorial-mlp", MLP, 3),
        ("digits", "tutorial-cnn", CNN, 3),
    ]
    for number, (data, recipe, settings, epochs) in enumerate(trainings, 1):
        run = misread.train(data, recipe, epochs=epochs, seed=epochs, settings=settings, out=out, progress=False)
        run.folder.rename(out / f"{number}-{run.folder.name}")  # so that runs of the same second keep their order
    return out


@pytest.fixture(scope="module")
def runs_folder(trained_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained runs, for the tests of one module."""
    folder = tmp_path_factory.mktemp("copy") / "runs"
    return Path(shutil.copytree(trained_runs, folder))


@pytest.fixture(scope="module")
def studio(runs_folder: Path) -> Iterator[Studio]:
    """A studio over a copy of the trained runs."""
    found = start_studio(runs_folder)
    yield found
    found.stop()


@pytest.fixture
def pages(browser: Any) -> Iterator[Open]:
    """Opens pages of any studio: see `studio_page`, which is for the one of the module."""
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(
        studio: Studio,
        state: str = "",
        *,
        width: int = 1280,
        theme: str = "light",
        lang: str = "en",
        quiet: bool = True,
        **more: Any,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce", **more
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        watch(page, faults, (studio.origin + "/", "data:", "blob:"), console=quiet)
        page.goto(f"{studio.url}&lang={lang}#{state}")
        page.wait_for_selector("#main section")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def studio_page(pages: Open, studio: Studio) -> Open:
    """Opens a page: studio_page("room=runs", width=390, theme="dark", lang="ko").

    No test ends well whose page asked another host for anything, or wrote to the console. quiet=False: it may write to
    the console, since a browser writes there when a request fails.
    """
    return lambda state="", **options: pages(studio, state, **options)
