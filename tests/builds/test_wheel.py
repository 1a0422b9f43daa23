"""The source distribution, the wheels made of it, and an install where there is no compiler."""

import json
import os
import shutil
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.slow

NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}
NOT_SOURCES = (".git", ".venv*", ".*_cache", "*.egg-info", "__pycache__", "build", "dist", "*.so")


def build(kit: SimpleNamespace, kind: str, source: Path, to: Path, **environment: str) -> Path:
    """By the build backend itself, as pip calls it, but with the setuptools that is here: no network."""
    code = f"from setuptools.build_meta import build_{kind} as build; print(build({str(to)!r}))"
    said = kit.run(sys.executable, "-c", code, cwd=source, env=os.environ | environment)
    return to / said.splitlines()[-1]


@pytest.fixture(scope="module")
def unpacked(kit: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    # a copy, because setuptools writes into its sources, and takes up what an earlier build wrote there
    sources = tmp_path_factory.mktemp("copy") / "misread"
    shutil.copytree(kit.root, sources, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    with tarfile.open(build(kit, "sdist", sources, folder)) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def wheel(kit: SimpleNamespace, unpacked: Path) -> Path:
    return build(kit, "wheel", unpacked, unpacked / "dist")


@pytest.fixture(scope="module")
def pure_wheel(kit: SimpleNamespace, unpacked: Path) -> Path:
    """Made where there is no compiler."""
    copy = unpacked / "copy"
    with tarfile.open(next(unpacked.parent.glob("*.tar.gz"))) as archive:
        archive.extractall(copy, filter="data")
    return build(kit, "wheel", next(copy.iterdir()), unpacked / "pure", **NO_COMPILER)


def test_the_source_distribution_has_all_that_git_has(kit: SimpleNamespace, unpacked: Path) -> None:
    if not (kit.root / ".git").exists():
        pytest.skip("this is not a clone")
    tracked = kit.run("git", "-C", kit.root, "ls-files").splitlines()
    assert [name for name in tracked if not (unpacked / name).exists() and name != ".gitignore"] == []


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_is_for_every_python_of_a_platform_and_has_kernels_for_every_processor(
    kit: SimpleNamespace, wheel: Path, pure_wheel: Path
) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{platform}.whl")
    assert files_of(wheel) - files_of(pure_wheel) == {f"misread/engine/_kernels_{build}.so" for build in kit.builds}


def test_a_wheel_has_what_the_package_reads_and_no_sources_of_the_kernels(kit: SimpleNamespace, wheel: Path) -> None:
    package = kit.root / "src"
    wanted = {
        str(path.relative_to(package))
        for path in (package / "misread").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so") and path.parent.name != "kernels"
    }
    assert "misread/training/recipes/fast.toml" in wanted
    assert {name for name in files_of(wheel) if not name.endswith(".so")} == wanted


def test_without_a_compiler_a_wheel_is_pure(pure_wheel: Path) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in files_of(pure_wheel) if name.endswith(".so")]


@pytest.mark.parametrize(("name", "engine"), [("wheel", "kernels"), ("pure_wheel", "torch")])
def test_a_wheel_trains_in_a_fresh_environment_without_a_compiler(
    name: str, engine: str, kit: SimpleNamespace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With the packages that are here: only misread itself is installed."""
    built = request.getfixturevalue(name)
    fresh = tmp_path / "fresh"
    venv.create(fresh)
    python = fresh / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(fresh)}))
    (packages / "packages_here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MISREAD_KERNELS")} | NO_COMPILER
    environment["PATH"] = str(fresh / "bin")
    kit.run(*pip, "install", "--no-index", "--no-deps", "--ignore-installed", built, env=environment)
    where = "import misread; from misread.engine.library import load_library; print(misread.__file__, load_library())"
    module, library = kit.run(python, "-c", where, env=environment, cwd=tmp_path).split(" ", 1)
    assert module.startswith(str(packages))
    assert (str(packages / "misread" / "engine" / "_kernels_") in library) == (engine == "kernels")
    train = ["train", "digits", "--recipe", "fast", "--epochs", "1", "--out", tmp_path / "runs"]
    kit.run(fresh / "bin" / "misread", *train, env=environment, cwd=tmp_path)
    (record,) = (tmp_path / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["engine"]["name"] == engine
    found = json.loads(kit.run(fresh / "bin" / "misread", "doctor", "--no-speed", "--json", env=environment))
    assert (found["kernels"]["build"] is not None) == (engine == "kernels")
    assert any("train with PyTorch" in warning for warning in found["warnings"]) == (engine == "torch")
