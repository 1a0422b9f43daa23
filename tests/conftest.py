"""Fixtures: a home of its own for every test, the command line, small data sets, a browser, the real MNIST."""

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from misread.cli.main import main
from misread.data.image_set import ImageSet
from samples import Result, blocks, draw_nothing, write_idx_folder

# shells start background jobs with Ctrl-C ignored, and child processes inherit that; some tests press it
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New folders. `mktemp` would read the names of all folders that there are, for each test."""
    root = tmp_path_factory.mktemp("homes")
    return (root / str(n) for n in itertools.count())


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, _homes: Iterator[Path]) -> None:
    """No test finds this machine's data sets, cache or home, or writes beside the sources."""
    away = next(_homes)
    away.mkdir()
    monkeypatch.setenv("HOME", str(away))
    monkeypatch.setenv("MISREAD_CACHE", str(away / "cache"))
    monkeypatch.delenv("MISREAD_DATA", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.chdir(away)


_MNIST_ROOT = os.environ.get("MISREAD_DATA")
_MNIST_ROOT = str(Path(_MNIST_ROOT).resolve()) if _MNIST_ROOT else None


@pytest.fixture
def mnist_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above the real MNIST; skips where there is none."""
    if not _MNIST_ROOT or not (Path(_MNIST_ROOT) / "mnist").is_dir():
        pytest.skip("MISREAD_DATA does not lead to the real MNIST")
    monkeypatch.setenv("MISREAD_DATA", _MNIST_ROOT)
    return Path(_MNIST_ROOT)


@pytest.fixture
def block_set() -> ImageSet:
    """320 training and 80 test images of `blocks`."""
    return ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=1), name="blocks")


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_nothing(monkeypatch)


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    return write_idx_folder(tmp_path / "idx", blocks(40), blocks(20, seed=1))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command line as a person or a script calls it."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            main([str(a) for a in arguments])
            code = 0
        except SystemExit as leave:
            code = int(leave.code or 0)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    in_browser = set()
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
            in_browser.add(item.path)
    # the longest files first: of several processes none waits long for the last one
    items.sort(key=lambda item: item.path not in in_browser)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, closed with the module: its event loop would be in the way of other tests'."""
    if CHROMIUM is None:
        message = "pages are tested in Chromium, and there is none: apt-get install chromium"
        (pytest.fail if os.environ.get("MISREAD_CI") else pytest.skip)(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a picture, and no question
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield found
        found.close()
