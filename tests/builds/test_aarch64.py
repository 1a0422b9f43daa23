"""The kernels for 64-bit ARM, made by a cross compiler and run by an emulator."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
LIBRARIES = "/usr/aarch64-linux-gnu"  # where Debian has those of the emulated system
CASES = 60
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(kit: SimpleNamespace, needs: Callable[[str, str], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fuzz for ARM, with users' flags and with `-ffp-contract=off`, and for this machine."""
    needs(COMPILER, "g++-aarch64-linux-gnu")
    needs(EMULATOR, "qemu-user")
    needs("g++", "g++")
    tmp_path = tmp_path_factory.mktemp("arm")
    compilers = {"arm": COMPILER, "arm-unfused": COMPILER, "here-unfused": "g++"}
    kit.run_all(
        [
            [
                compiler,
                *kit.flags,
                *kit.strict,
                kit.include,
                "-fPIC",
                "-shared",
                kit.kernels,
                "-o",
                tmp_path / f"{name}.so",
            ]
            + (["-ffp-contract=off"] if "unfused" in name else [])
            for name, compiler in compilers.items()
        ]
        + [
            [compiler, *kit.flags, "-O1", kit.include, "-c", kit.fuzz, "-o", tmp_path / f"{compiler}.o"]
            for compiler in (COMPILER, "g++")
        ]
    )
    for name, compiler in compilers.items():
        objects = [tmp_path / f"{compiler}.o", tmp_path / f"{name}.so"]
        kit.run(compiler, *objects, f"-Wl,-rpath,{tmp_path}", "-pthread", "-o", tmp_path / name)
    return tmp_path


def test_kernels_for_arm_compute_what_the_reference_does(kit: SimpleNamespace, made: Path) -> None:
    assert f"{CASES} cases, 0 failed" in kit.run(EMULATOR, "-L", LIBRARIES, made / "arm", 0, CASES)


def test_kernels_for_arm_give_the_bits_of_the_plain_build_without_fused_multiplication(
    kit: SimpleNamespace, made: Path
) -> None:
    """Both have vectors of 4 floats. By default ARM rounds a product and its sum once, in one instruction."""
    kit.run(EMULATOR, "-L", LIBRARIES, made / "arm-unfused", 0, CASES, made / "arm-results")
    kit.run(made / "here-unfused", 0, CASES, made / "here-results")
    arm, here = (np.fromfile(made / f"{name}-results", np.float32) for name in ("arm", "here"))
    assert len(here) > 100_000
    np.testing.assert_array_equal(arm, here)
