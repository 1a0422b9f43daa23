"""Does harm and counts losses: kills, full disks, damage, strange homes, clocks, two processes, hostile inputs.

Run it as `make faults`, on Linux; full disks and read-only folders need the right to mount. Every line of the table is
one kind of harm: how often it was done, and how often something was lost, half-written, or ended in a traceback.
"""

import argparse
import importlib
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import hostile
from damage import damages
from forked import misread
from full_disk import full_disks, mounted
from lost_workers import lost
from results_file import RESULTS, write_json
from two_at_once import pairs
from works import TRAIN, WORKS, Row, World, fingerprint, weights

KILLS = {
    "train": 50, "resume": 40, "report": 30, "labels apply": 30, "predict": 25, "cache": 25,
    "labels find": 8, "export --to onnx --int8": 6, "sweep": 6, "predict --out": 12,
}  # fmt: skip
LOADED = (
    "misread.runs.train", "misread.runs.checksums", "misread.cli.main", "sklearn.datasets", "safetensors.torch",
    "misread.runs.held_out", "misread.lab.export", "misread.lab.sweep", "onnx", "onnxruntime.quantization", "optuna",
    "pyarrow.parquet", "pyarrow.pandas_compat", "h5py", "jinja2", "tomli_w", "matplotlib.backends.backend_svg",
    "misread.runs.seeds", "misread.runs.predict_files", "misread.data.folder", "misread.data.file_table",
    "misread.runs.array_run", "misread.scale.run_job",
)  # fmt: skip


def load_what_commands_need() -> None:
    """Before the forks, so that their time goes into the work: packages, formats of pictures, fonts, the digits."""
    from PIL import Image

    from misread.data.load import load
    from misread.runs.history import History

    for heavy in LOADED:
        importlib.import_module(heavy)
    Image.init()
    picture = History.of([], "title").plot()
    for kind in ("png", "svg"):
        picture.savefig(io.BytesIO(), format=kind)
    load("digits")


def kills(world: World, rng: random.Random, share: float, minutes: float) -> Iterator[Row]:
    """All works in a random order, until as many were killed as planned, or the time is over.

    After a kill, what is there has to be whole or as before; then the same command has to succeed.
    """
    planned = {name: max(1, round(count * share)) for name, count in KILLS.items()}
    duration: dict[str, float] = {}
    for name in planned:
        with world.scratch() as folder:
            duration[name] = world.must(misread(WORKS[name](world, folder).arguments, world.log)).seconds
    order = [name for name, count in planned.items() for _ in range(count)]
    rng.shuffle(order)
    wrong: dict[str, list[str]] = {name: [] for name in planned}
    times, killed, until = Counter[str](), Counter[str](), time.monotonic() + 60 * minutes
    for name in order:
        with world.scratch() as folder:
            command = WORKS[name](world, folder)
            result = misread(command.arguments, world.log, kill_after=rng.uniform(0, duration[name]))
            if result.code == -signal.SIGKILL:
                killed[name] += 1
            else:  # it was faster than the first time
                duration[name] = min(duration[name], result.seconds)
            times[name] += 1
            problem = command.check(result)
            if command.again and not problem:
                after = misread(command.arguments, world.log)
                problem = f"not even the second time: {after.said}" if after.code else command.check(after)
            if problem:
                wrong[name].append(problem)
            print(f"  {sum(times.values())} kills, {name}: {problem or 'nothing lost'}", flush=True)
        if time.monotonic() > until:
            break
    for name in planned:
        yield Row(f"SIGKILL at random moments of {name} ({killed[name]} met it running)", times[name], wrong[name])


def homes(world: World) -> Iterator[Row]:
    """Homes and caches that are missing, are no folders, or cannot be written: only time may be lost."""
    wrong: list[str] = []
    with world.scratch() as folder, mounted(folder / "read-only", "ro,size=1m") as read_only:
        places = (read_only, folder / "missing" / "home", Path(os.devnull) / "home", Path("/proc/none"))
        for place in places:
            os.environ |= {"HOME": str(place), "MISREAD_CACHE": str(place / "cache")}
            out = Path(tempfile.mkdtemp(dir=folder))
            for arguments in (
                [*TRAIN[:2], "--epochs", 1, "--quiet", "--out", out],
                ["data", "info", world.pictures, "--json"],
                ["predict", world.run, world.pictures, "--csv", out / "table.csv", "--quiet"],
                ["report", world.run, "--out", out / "report.html", "--no-causes"],
                ["data", "cache"],
            ):
                result = misread(arguments, world.log)
                if result.code:
                    wrong.append(f"{arguments[0]} with the home {place}: {result.said}")
    yield Row("a missing or read-only home and cache, five commands each", len(places), wrong)


def read_only_folders(world: World) -> Iterator[Row]:
    """Every command on a disk that cannot be written: one message that names a path there."""
    wrong: list[str] = []
    said = Counter[str]()
    for name, work in WORKS.items():
        with world.scratch() as folder, mounted(folder / "disk", "size=1g") as disk:
            os.environ["MISREAD_CACHE"] = str(folder / "cache")
            command = work(world, disk)
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            result = misread(command.arguments, world.log)
            if not result.is_clean or (result.code and str(disk) not in result.text):
                wrong.append(f"{name}: {result.said}")
            elif not result.code and name != "cache":
                wrong.append(f"{name}: it says that it succeeded")
            said[result.said.replace(str(disk), "DISK")] += 1
            print(f"  {name}: {result.code}, {result.said}", flush=True)
    yield Row("a disk that is read-only", len(WORKS), wrong, said.most_common(1)[0][0])


def _jumping(jump: float) -> Callable[[], float]:
    real, calls = time.time, itertools.count()
    return lambda: real() + (jump if next(calls) % 2 else 0.0)


def _setting(clock: Callable[[], float]) -> Callable[[], None]:
    return lambda: setattr(time, "time", clock)


def clocks(world: World) -> Iterator[Row]:
    wrong: list[str] = []
    jumps = (-86_400.0, -1e9, 1e9)
    for jump in jumps:
        with world.scratch() as folder:
            jumping = _jumping(jump)
            result = misread([*TRAIN, "--out", folder / "runs"], world.log, before=_setting(jumping))
            runs = list((folder / "runs").glob("*"))
            if result.code or len(runs) != 1 or weights(runs[0]) != weights(world.run):
                wrong.append(f"{jump:g} s: {result.said}")
            again = misread(["data", "info", world.pictures, "--json"], world.log, before=_setting(jumping))
            if again.code or fingerprint(again) != world.fingerprint:
                wrong.append(f"{jump:g} s, cache: {again.said}")
    yield Row(
        "a clock that jumps by a day or thirty years at every second call, in train and in the cache", len(jumps), wrong
    )


def outputs(world: World) -> Iterator[Row]:
    """Output that nobody takes: a full device, and a pipe whose reader is gone."""
    commands: tuple[list[object], ...] = (
        ["--help"], ["data", "list"], ["predict", world.run, world.pictures, "--json", "--quiet"],
    )  # fmt: skip
    full: list[str] = []
    gone: list[str] = []
    said = ""
    for arguments in commands:
        call = [sys.executable, "-m", "misread", *map(str, arguments)]
        with open("/dev/full", "w") as device:
            done = subprocess.run(call, stdout=device, stderr=subprocess.PIPE, text=True)
        said = (done.stderr.strip().splitlines() or [""])[-1]
        if done.returncode != 1 or "Exception" in done.stderr or "Traceback" in done.stderr or "space" not in said:
            full.append(f"{arguments[0]}: {done.returncode}, {said}")
        with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.close()  # type: ignore[union-attr]
            errors = process.stderr.read()  # type: ignore[union-attr]
        if "Exception" in errors or "Traceback" in errors or process.returncode not in (0, 1):
            gone.append(f"{arguments[0]}: {process.returncode}, {errors.strip()}")
    yield Row("output to a device that is full", len(commands), full, said)
    yield Row("output to a pipe whose reader has gone", len(commands), gone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the 232 kills, and of what else is done often")
    parser.add_argument("--minutes", type=float, default=60.0, help="for the kills")
    parser.add_argument("--seed", type=int, default=0)
    parts = ("kills", "shards", "disks", "read-only", "damage", "homes", "clocks", "two", "output", "hostile")
    parser.add_argument("--only", nargs="*", default=parts, choices=parts)
    parser.add_argument("--commands", nargs="*", default=[*WORKS], choices=WORKS, help="to meet full disks")
    parser.add_argument("--damage-to", default="", help="only to folders with this in their name")
    parser.add_argument("--inputs", nargs="*", default=[*hostile.INPUTS], choices=hostile.INPUTS, help="hostile ones")
    chosen = parser.parse_args()
    rng, share = random.Random(chosen.seed), chosen.share
    rows: list[Row] = []
    load_what_commands_need()
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        work: dict[str, Callable[[], Iterator[Row]]] = {
            "kills": lambda: kills(world, rng, share, chosen.minutes),
            "shards": lambda: lost(world, rng, max(1, round(10 * share))),
            "disks": lambda: full_disks(world, rng, max(2, round(24 * share)), chosen.commands),
            "read-only": lambda: read_only_folders(world),
            "damage": lambda: damages(world, rng, max(1, round(10 * share)), chosen.damage_to),
            "homes": lambda: homes(world),
            "clocks": lambda: clocks(world),
            "two": lambda: pairs(world, max(1, round(5 * share))),
            "output": lambda: outputs(world),
            "hostile": lambda: hostile.rows(world.folder, chosen.inputs),
        }
        which = "-".join(chosen.only) if len(chosen.only) < len(parts) else "all"
        result = f"faults-{which}-seed{chosen.seed}-{date.today()}.json"
        for part in chosen.only:
            home = os.environ["HOME"]
            for row in work[part]():
                rows.append(row)
                print(f"| {row.harm} | {row.times} | {len(row.wrong)} |", *(f"\n    {w}" for w in row.wrong[:5]))
                sys.stdout.flush()
                found = [row._asdict() for row in rows]  # an interruption loses the current row only
                write_json(RESULTS / result, {"seed": chosen.seed, "share": share, "rows": found})
            os.environ["HOME"] = home
    raise SystemExit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
