"""What `misread doctor` finds: planted limits, settings and kernels."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch

from misread.engine import library
from misread.lab import doctor, speed
from misread.lab.machine import read_machine
from samples import Result

GB = 10**9
HEALTHY = replace(
    read_machine(Path("/nowhere")), usable_cores=1, memory_bytes=16 * GB, free_bytes=8 * GB, swap_used_bytes=0
)  # one core: the tests of this folder run with one thread
QUICK = speed.Speed("kernels", "avx2", "float32", 1, 15_000, 15_000, 16_000, 0.99)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.THREAD_SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that the kernels are looked for in."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    monkeypatch.setenv("MISREAD_KERNELS", str(folder))
    library._best.cache_clear()
    yield folder
    library._best.cache_clear()


def warnings(machine: doctor.Machine = HEALTHY, measured: speed.Speed = QUICK) -> list[str]:
    return doctor.diagnose(machine, lambda threads: measured).warnings


def test_a_healthy_machine_has_no_warnings() -> None:
    assert warnings() == []
    assert warnings(replace(HEALTHY, core_limit=0.5)) == []  # fewer threads than one are not possible


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"emulation": "Rosetta"}, "runs under Rosetta"),
        ({"free_bytes": 300_000_000}, "300 MB of memory left"),
        ({"memory_limit_bytes": 512_000_000}, "512 MB of memory left"),
        ({"swap_used_bytes": 3 * GB}, "3.0 GB of memory was moved to the disk"),
    ],
)
def test_a_planted_problem_of_the_machine_is_the_one_warning(changes: dict[str, object], said: str) -> None:
    (warning,) = warnings(replace(HEALTHY, **changes))
    assert said in warning


def test_too_many_and_too_few_threads_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (few,) = warnings(replace(HEALTHY, usable_cores=4))
    assert "OMP_NUM_THREADS=1: misread uses 1 of 4 cores" in few
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    (many,) = warnings(replace(HEALTHY, usable_cores=8, core_limit=2.5))
    assert "8 threads, but this process may use 2.5 cores. Use --threads 2." in many


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"one_thread": 5_000.0}, "with avx2, 16,000 are expected"), ({"processor_share": 0.3}, "got 30% of a core")],
)
def test_a_slow_or_busy_processor_is_reported(changes: dict[str, float], said: str) -> None:
    (warning,) = warnings(measured=replace(QUICK, **changes))
    assert said in warning


def test_without_kernels_the_reason_and_the_way_out_are_told(kernels: Path) -> None:
    found = doctor.diagnose(HEALTHY, None)
    assert found.sections["kernels"]["build"] is None
    assert found.sections["kernels"]["not_used"]["plain"] == "it was not compiled"
    assert found.sections["kernels"]["layers"] == "PyTorch's"
    assert "train with PyTorch, which is slower" in found.warnings[0]


def test_a_build_that_fits_but_was_not_compiled_is_named(kernels: Path) -> None:
    better = library.build_name()
    source = Path(library.__file__).parent / "_kernels_plain.so"
    if not source.is_file():
        pytest.skip("misread was installed without a compiler")
    shutil.copy(source, kernels)
    library._best.cache_clear()
    fits = library.BUILDS[library._open("plain").engine_first_build() :]  # type: ignore[union-attr]
    assert (better, library.build_name()) == (None, "plain")
    assert library.builds_not_used() == {
        build: "it was not compiled" if build in fits else "this processor lacks its instructions"
        for build in library.BUILDS[:-1]
    }


def test_a_wrong_folder_of_kernels_or_data_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MISREAD_KERNELS", str(tmp_path / "away"))
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path / "gone"))
    library._best.cache_clear()
    kernels, data = warnings()
    library._best.cache_clear()
    assert "MISREAD_KERNELS is" in kernels
    assert "MISREAD_DATA is" in data


def test_extras_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1", 'pytest>=8; extra == "here"', "nothing-such>=2; extra == 'gone'", 'numpy; extra == "gone"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert doctor.extras() == {
        "here": {"installed": True, "missing": []},
        "gone": {"installed": False, "missing": ["nothing-such"], "install": 'pip install "misread[gone]"'},
    }


def test_the_speed_check_counts_the_images_of_whole_steps() -> None:
    found = speed.check_speed(1, seconds=0.2)
    assert found.one_thread == found.all_threads > 0
    assert 0 < found.processor_share <= 1.2
    assert found.expected_one_thread in speed.EXPECTED.values()


def test_doctor_prints_sections_or_json(cli: Callable[..., Result]) -> None:
    told = cli("doctor", "--no-speed")
    assert told.code == 0
    assert f"  version         {torch.__version__}\n" in told.out
    assert "  digits         part of misread\n" in told.out
    values = json.loads(cli("doctor", "--no-speed", "--json").out)
    assert values["torch"]["version"] == torch.__version__
    assert values["data"]["mnist"] is None  # the tests have a home of their own
    assert set(values) >= {"machine", "kernels", "cache", "extras", "warnings"}
