"""What this machine offers: processor, usable cores, memory, swap, the limits of a container, emulation."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from misread.data.decode import usable_cores
from misread.data.memory import container_limit, meminfo
from misread.processor import cpu_name

ARM_MACHINES = ("aarch64", "arm64")


@dataclass(frozen=True)
class Machine:
    """The machine, as far as it can be read; None stands for what this system does not tell.

    cores:         of the machine. usable_cores: those that this process may use (its affinity).
    core_limit:    the processor time that a container may use, in cores.
    memory_bytes, free_bytes: of the machine. memory_limit_bytes: of the container.
    swap_used_bytes: memory that was moved to the disk.
    emulation:     the program that translates this processor's instructions; empty if there is none.
    """

    processor: str
    architecture: str
    system: str
    cores: int
    usable_cores: int
    core_limit: float | None
    memory_bytes: int | None
    free_bytes: int | None
    memory_limit_bytes: int | None
    swap_used_bytes: int | None
    emulation: str


def read_machine(root: Path = Path("/")) -> Machine:
    """This machine. root: the folder that holds `proc` and `sys`."""
    memory = meminfo(root)
    swap, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
    cpuinfo = _text(root / "proc/cpuinfo")
    return Machine(
        processor=cpu_name(root / "proc/cpuinfo"),
        architecture=platform.machine(),
        system=platform.platform(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        core_limit=_core_limit(root),
        memory_bytes=memory.get("MemTotal"),
        free_bytes=memory.get("MemAvailable"),
        memory_limit_bytes=container_limit(root, memory.get("MemTotal")),
        swap_used_bytes=None if swap is None or swap_free is None else swap - swap_free,
        emulation=emulation(platform.machine(), cpuinfo),
    )


def emulation(machine: str, cpuinfo: str) -> str:
    """The emulator that this process runs under, told by the processor's description; empty if none shows.

    machine: the architecture that the process sees. cpuinfo: the text of /proc/cpuinfo.
    """
    vendor = _field(cpuinfo, "vendor_id")
    if vendor == "VirtualApple" or _translated_by_rosetta():
        return "Rosetta"
    if "QEMU TCG" in cpuinfo or "QEMU Virtual CPU" in cpuinfo:
        return "QEMU"
    if machine in ARM_MACHINES and vendor in ("GenuineIntel", "AuthenticAMD"):
        return "an emulator of ARM on an x86 processor"
    if machine in ("x86_64", "AMD64") and "CPU implementer" in cpuinfo:
        return "an emulator of x86 on an ARM processor"
    return ""


def _translated_by_rosetta() -> bool:
    if sys.platform != "darwin":
        return False
    asked = subprocess.run(["sysctl", "-n", "sysctl.proc_translated"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() == "1"


def _core_limit(root: Path) -> float | None:
    """From control groups of version 2, else of version 1."""
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        return int(quota) / int(period)
    return None  # `max` or -1: no limit


def _field(cpuinfo: str, name: str) -> str:
    """The first value of this name."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
