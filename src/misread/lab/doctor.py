"""`diagnose`: what misread finds on this machine, and what keeps it from being fast."""

import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from misread.data.cache import cache_entries
from misread.data.download import cache_folder, places
from misread.data.drawings import drawn_sets
from misread.data.load import EMBEDDED
from misread.data.named import NAMED
from misread.engine.kernel_layers import layers_build
from misread.engine.library import build_name, builds_not_used, load_library, why_unavailable
from misread.errors import MisreadError
from misread.lab.machine import Machine, read_machine
from misread.lab.speed import Speed, check_speed
from misread.version import __version__

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
BUSY = 0.7  # a lower share of processor time means that other programs compute
LITTLE_MEMORY = 10**9
LITTLE_DISK = 10**9


@dataclass(frozen=True)
class Diagnosis:
    """sections: plain values by section and name. warnings: one thing to mend each, with what to do."""

    sections: dict[str, dict[str, Any]]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        return {**self.sections, "warnings": self.warnings}


def diagnose(machine: Machine | None = None, speed: Callable[[int], Speed] | None = check_speed) -> Diagnosis:
    """Look at the machine, the kernels, PyTorch, data, caches and extras, and check the speed for about a second.

    machine: by default this one. speed: None leaves the speed check out.
    """
    machine = machine or read_machine()
    threads = torch.get_num_threads()
    kernels, problems = _kernels()
    cache = _cache()
    measured = speed(threads) if speed and not problems else None
    sections: dict[str, dict[str, Any]] = {
        "misread": {"version": __version__, "python": platform.python_version()},
        "machine": dict(vars(machine)),
        "threads": {"used": threads, **{name: os.environ[name] for name in THREAD_SETTINGS if name in os.environ}},
        "kernels": kernels,
        "torch": _torch(),
        "cache": cache,
        "data": _data(),
        "extras": extras(),
        "speed": dict(vars(measured)) if measured else {},
    }
    problems += [*_machine_problems(machine, threads), *_folder_problems(cache)]
    return Diagnosis(sections, problems + (_speed_problems(measured) if measured else []))


def _kernels() -> tuple[dict[str, Any], list[str]]:
    """The build that is used, why no better one is, and what is wrong."""
    try:
        used, better = build_name(), builds_not_used()
        library = load_library()
    except MisreadError as error:
        return {"build": None, "not_used": {}}, [str(error)]
    found = {
        "build": used,
        "bf16": bool(library and library.engine_has_bf16()),
        "layers": layers_build() or "PyTorch's",  # of networks that PyTorch trains in float32
        "not_used": better,
        "folder": os.environ.get("MISREAD_KERNELS"),
    }
    problems = [] if used else [f"Networks train with PyTorch, which is slower: {why_unavailable()}."]
    missing = [build for build, why in better.items() if why == "it was not compiled"]
    if used and missing:
        problems.append(
            f"The kernels {' and '.join(missing)} fit this processor, but were not compiled. Reinstall misread with a "
            "newer C++ compiler."
        )
    return found, problems


def _torch() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    precisions = ["float32", *(["bfloat16"] if gpus and torch.cuda.is_bf16_supported() else [])]
    return {
        "version": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "gpu_precisions": precisions if gpus else [],
        "mps": torch.backends.mps.is_available(),
    }


def _cache() -> dict[str, Any]:
    """The cache folder, and the bytes of each kind of entry."""
    folder, kinds = cache_folder(), dict[str, int]()
    for entry in cache_entries():
        kinds[f"{entry.kind}_bytes"] = kinds.get(f"{entry.kind}_bytes", 0) + entry.bytes
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return {"folder": str(folder), **kinds, "free_bytes": shutil.disk_usage(there).free,
            "writable": os.access(there, os.W_OK)}  # fmt: skip


def _data() -> dict[str, Any]:
    """Where each named set is on this machine; None if it would be downloaded."""
    found = {name: next((str(p.path) for p in places(data) if p.exists()), None) for name, data in NAMED.items()}
    return {EMBEDDED: "part of misread", **found, **dict.fromkeys(drawn_sets(), "drawn in the studio")}


def extras() -> dict[str, dict[str, Any]]:
    """The optional packages by extra: whether all are `installed`, which are `missing`, and how to `install` them."""
    wanted: dict[str, list[str]] = {}
    for requirement in metadata.requires("misread") or []:
        if belongs := re.search(r"extra == ['\"]([\w-]+)['\"]", requirement):
            wanted.setdefault(belongs[1], []).append(re.split(r"[^\w.-]", requirement)[0])
    found: dict[str, dict[str, Any]] = {}
    for extra, packages in wanted.items():
        missing = [package for package in packages if not _installed(package)]
        how = {"install": f'pip install "misread[{extra}]"'} if missing else {}
        found[extra] = {"installed": not missing, "missing": missing, **how}
    return found


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _machine_problems(machine: Machine, threads: int) -> list[str]:
    problems = []
    cores = min(machine.usable_cores, machine.core_limit or machine.usable_cores)
    if set_here := [name for name in THREAD_SETTINGS if os.environ.get(name)]:
        values = ", ".join(f"{name}={os.environ[name]}" for name in set_here)
        if threads < int(cores):
            problems.append(f"{values}: misread uses {threads} of {cores:g} cores. Unset it, or use --threads.")
    if threads > max(cores, 1):
        problems.append(
            f"misread uses {threads} threads, but this process may use {cores:g} cores. Use --threads "
            f"{max(int(cores), 1)}."
        )
    if machine.emulation:
        problems.append(
            f"This Python runs under {machine.emulation}, which is several times slower. Install a Python for the "
            "machine's own processor."
        )
    memory = min(machine.free_bytes or 2**62, machine.memory_limit_bytes or 2**62)
    if memory < LITTLE_MEMORY:
        problems.append(f"There is {memory / 1e6:,.0f} MB of memory left. Close other programs, or use smaller images.")
    if machine.swap_used_bytes and machine.memory_bytes and machine.swap_used_bytes > machine.memory_bytes / 10:
        problems.append(
            f"{machine.swap_used_bytes / 1e9:.1f} GB of memory was moved to the disk, which makes everything slow. "
            "Close other programs."
        )
    return problems


def _folder_problems(cache: dict[str, Any]) -> list[str]:
    problems = []
    if not cache["writable"]:
        problems.append(f"The cache folder {cache['folder']} cannot be written. Set MISREAD_CACHE to another folder.")
    if cache["free_bytes"] < LITTLE_DISK:
        problems.append(
            f"The disk of the cache has {cache['free_bytes'] / 1e6:,.0f} MB free. Free some space: misread data cache "
            "--clear removes copies."
        )
    root = os.environ.get("MISREAD_DATA")
    if root and not os.path.isdir(root):
        problems.append(f"MISREAD_DATA is {root}, which is not a folder. Correct or unset it.")
    return problems


def _speed_problems(speed: Speed) -> list[str]:
    if speed.processor_share < BUSY:
        return [
            f"Other programs compute: the speed check got {speed.processor_share:.0%} of a core. Close them, and "
            "measure again."
        ]
    if speed.slow:
        return [
            f"One thread trained on {speed.one_thread:,.0f} images a second; with {speed.build}, "
            f"{speed.expected_one_thread:,.0f} are expected. Is the processor throttled, or shared with other machines?"
        ]
    return []
