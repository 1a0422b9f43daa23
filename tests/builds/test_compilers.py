"""Every build, by both compilers, without a warning; and what was built computes what the plain reference does."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from misread.engine.library import BUILDS, load_library

CASES = 300


def runnable() -> list[str]:
    """The builds that this processor can run."""
    library = load_library()
    return [] if library is None else list(BUILDS[library.engine_first_build() :])


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "package"), [("g++", "g++"), ("clang++", "clang")])
def test_every_build_compiles_without_a_warning_and_computes_what_the_reference_does(
    compiler: str, package: str, kit: SimpleNamespace, needs: Callable[[str, str], None], tmp_path: Path
) -> None:
    needs(compiler, package)
    strict = [compiler, *kit.flags, *kit.strict, kit.include]
    libraries = {build: tmp_path / f"_kernels_{build}.so" for build in kit.builds}
    fuzz = tmp_path / "fuzz.o"
    kit.run_all(
        [
            *(
                [*strict, *kit.builds[build], "-fPIC", "-shared", kit.kernels, "-o", to]
                for build, to in libraries.items()
            ),
            [*strict, "-O1", "-c", kit.fuzz, "-o", fuzz],
        ]
    )
    for build in set(runnable()) & set(libraries):
        program = tmp_path / build
        kit.run(compiler, fuzz, libraries[build], f"-Wl,-rpath,{tmp_path}", "-pthread", "-o", program)
        assert f"{CASES} cases, 0 failed" in kit.run(program, 0, CASES)
    engine_tests = ["-m", "pytest", "-p", "no:cacheprovider", kit.root / "tests" / "engine", "-k", "every_build"]
    said = kit.run(sys.executable, *engine_tests, cwd=kit.root, env=os.environ | {"MISREAD_KERNELS": str(tmp_path)})
    assert "passed" in said
    assert "skipped" not in said


def test_kernels_come_from_the_folder_that_misread_kernels_names(kit: SimpleNamespace, tmp_path: Path) -> None:
    def asked(folder: Path) -> str:
        code = "from misread.engine import library; print(library.load_library(), library.why_unavailable())"
        return kit.run(sys.executable, "-c", code, env=os.environ | {"MISREAD_KERNELS": str(folder)})

    assert f"None the folder that MISREAD_KERNELS names, {tmp_path}, has no kernels for this processor" in asked(
        tmp_path
    )
    with pytest.raises(
        AssertionError, match=r"MISREAD_KERNELS is .*, which is not a folder. Unset it to use misread's own"
    ):
        asked(tmp_path / "nowhere")
