"""What is read of a machine, from planted files."""

from pathlib import Path

import pytest

from misread.lab.machine import emulation, read_machine

GB = 1024**3
MEMINFO = "MemTotal: {} kB\nMemAvailable: {} kB\nSwapTotal: {} kB\nSwapFree: {} kB\nHugePages_Total: 0\n"


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_memory_and_swap_are_read(tmp_path: Path) -> None:
    kb = [n * 1024 * 1024 for n in (8, 6, 4, 1)]
    found = read_machine(plant(tmp_path, {"proc/meminfo": MEMINFO.format(*kb), "proc/cpuinfo": "model name : Toy 1\n"}))
    assert (found.memory_bytes, found.free_bytes, found.swap_used_bytes) == (8 * GB, 6 * GB, 3 * GB)
    assert (found.processor, found.core_limit, found.memory_limit_bytes) == ("Toy 1", None, None)


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": str(2 * GB)}, 1.5, 2 * GB),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        (
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": "9223372036854771712"},
            0.5, None,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
    ],
)  # fmt: skip
def test_the_limits_of_a_container_are_read(
    tmp_path: Path, files: dict[str, str], cores: float | None, memory: int | None
) -> None:
    memory_kb = [8 * 1024 * 1024] * 4
    planted = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    found = read_machine(plant(tmp_path, planted | {"proc/meminfo": MEMINFO.format(*memory_kb)}))
    assert (found.core_limit, found.memory_limit_bytes) == (cores, memory)


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    found = read_machine(tmp_path)
    assert found.memory_bytes is found.free_bytes is found.swap_used_bytes is None
    assert found.usable_cores >= 1


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "emulator"),
    [
        ("x86_64", "vendor_id\t: GenuineIntel\nmodel name\t: Xeon\n", ""),
        ("aarch64", "CPU implementer\t: 0x41\n", ""),
        ("x86_64", "vendor_id\t: VirtualApple\n", "Rosetta"),
        ("x86_64", "model name\t: QEMU Virtual CPU version 2.5+\n", "QEMU"),
        ("aarch64", "vendor_id\t: AuthenticAMD\n", "an emulator of ARM on an x86 processor"),
        ("x86_64", "CPU implementer\t: 0x41\n", "an emulator of x86 on an ARM processor"),
    ],
)
def test_emulators_are_recognised(machine: str, cpuinfo: str, emulator: str) -> None:
    assert emulation(machine, cpuinfo) == emulator
