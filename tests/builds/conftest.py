"""Compilers and the programs made with them. What is missing skips a test, or fails it where MISREAD_CI is set."""

import os
import runpy
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "src" / "misread" / "engine" / "kernels"
FUZZ = Path(__file__).with_name("fuzz.cpp")
SETUP = runpy.run_path(str(ROOT / "setup.py"))
STRICT = ["-Wall", "-Wextra", "-Werror"]


@pytest.fixture(scope="session")
def needs() -> Callable[[str, str], None]:
    """needs(program, Debian package)"""

    def check(program: str, package: str) -> None:
        if shutil.which(program) is None:
            message = f"there is no {program} here: apt-get install {package}"
            (pytest.fail if os.environ.get("MISREAD_CI") else pytest.skip)(message)

    return check


def run(*command: object, limit: int = 500, **settings: object) -> str:
    """What the command wrote; fails with it where the command fails."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
        **settings,
    )  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def run_all(commands: Sequence[Sequence[object]]) -> None:
    """As many at once as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda command: run(*command), commands))


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Paths, flags and functions that the tests of builds share."""
    return SimpleNamespace(
        root=ROOT, kernels=KERNELS / "kernels.cpp", fuzz=FUZZ, include=f"-I{KERNELS}", strict=STRICT,
        flags=SETUP["FLAGS"], builds=SETUP["BUILDS"], run=run, run_all=run_all,
    )  # fmt: skip
