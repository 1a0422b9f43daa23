"""The fuzz and the engine's tests under the sanitizers: `make sanitize`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from misread.engine.library import build_name

CASES = int(os.environ.get("MISREAD_SANITIZE", 150))
pytestmark = pytest.mark.slow
SANITIZERS = {
    "address and undefined behaviour": [
        "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all",
    ],
    "threads": ["-fsanitize=thread"],
}  # fmt: skip


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_random_networks(
    sanitizer: str, kit: SimpleNamespace, needs: Callable[[str, str], None], tmp_path: Path
) -> None:
    needs("g++", "g++")
    compile_one = ["g++", *kit.flags, "-O1", "-g", *SANITIZERS[sanitizer], kit.include, "-c"]
    kit.run_all(
        [
            [*compile_one, *kit.builds[build_name() or "plain"], kit.kernels, "-o", tmp_path / "kernels.o"],
            [*compile_one, kit.fuzz, "-o", tmp_path / "fuzz.o"],
        ]
    )
    program = tmp_path / "fuzz"
    kit.run("g++", *SANITIZERS[sanitizer], tmp_path / "kernels.o", tmp_path / "fuzz.o", "-pthread", "-o", program)
    assert f"{CASES} cases, 0 failed" in kit.run(program, 0, CASES, limit=3600)


def test_the_engines_tests(kit: SimpleNamespace, needs: Callable[[str, str], None], tmp_path: Path) -> None:
    """Python is not instrumented: the sanitizer's library is loaded before it, and leaks are not searched for."""
    needs("g++", "g++")
    flags = [*kit.flags, "-O1", "-g", *SANITIZERS["address and undefined behaviour"], "-fPIC", "-shared"]
    for_here = {"plain", build_name() or "plain"}
    kit.run_all([["g++", *flags, *kit.builds[b], kit.kernels, "-o", tmp_path / f"_kernels_{b}.so"] for b in for_here])
    library = kit.run("g++", "-print-file-name=libasan.so").strip()
    environment = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "MISREAD_KERNELS": str(tmp_path)}
    tests = ["-m", "pytest", "-p", "no:cacheprovider", kit.root / "tests" / "engine"]
    said = kit.run(sys.executable, *tests, limit=3600, cwd=kit.root, env=os.environ | environment)
    assert "passed" in said
