"""Does harm and counts losses: kills, full disks, homes that cannot be written, clocks, two processes, hostile inputs.

Run it as `make faults`, on Linux; full disks and read-only folders need the right to mount. Every line of the table is
one kind of harm: how often it was done, and how often something was lost, half-written, or ended in a traceback.
"""

import argparse
import importlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

import hostile
from forked import Ended, ended, misread, start
from misread.errors import DataError
from results_file import RESULTS, write_json

KILLS = {"train": 50, "resume": 40, "report": 30, "labels": 30, "predict": 25, "cache": 25}
DISKS = [2**n for n in range(2, 17)]  # kB
LOADED = ["misread.runs.train", "misread.runs.checksums", "misread.cli.main", "sklearn.datasets", "safetensors.torch"]
CLASSES, PICTURES, EPOCHS = 10, 400, 20
TRAIN = ["train", "digits", "--epochs", EPOCHS, "--set", "layers.1.units=64", "--quiet"]


class World:
    """A folder with a run, its report, pictures and a label patch, made once; each harm gets a copy of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.fingerprint = folder, folder / "log.txt", ""
        os.environ["MISREAD_CACHE"] = str(folder / "cache")
        (folder / "runs").mkdir()
        self.must(misread([*TRAIN, "--keep-checkpoints", "--out", folder / "runs"], self.log))
        (self.run,) = (folder / "runs").iterdir()
        self.pictures = folder / "pictures"
        images = np.random.default_rng(0).integers(0, 256, (PICTURES, 28, 28), dtype=np.uint8)
        for i, image in enumerate(images):
            (self.pictures / str(i % CLASSES)).mkdir(parents=True, exist_ok=True)
            path = self.pictures / str(i % CLASSES) / f"{i}.png"
            Image.fromarray(image).save(path)
            os.utime(path, (1e9, 1e9))

    def must(self, result: Ended) -> Ended:
        if result.code:
            raise SystemExit(f"the harness itself failed: {result.text}")
        return result

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        os.environ["MISREAD_CACHE"] = str(folder / "cache")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def is_intact(self, run: Path) -> bool:
        return misread(["verify", run], self.log).code == 0


def fingerprint(info: Ended) -> str:
    """That of `misread data info --json`, whose output has the progress before it."""
    found = re.search(r'"fingerprint": "(\w+)"', info.text)
    return found[1] if found else ""


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


Work = tuple[
    list[object], Callable[[], str]
]  # the arguments to kill, and what is wrong afterwards; empty if nothing is


def train(world: World, folder: Path) -> Work:
    """Every folder without `.partial` is a whole run, and a killed training continues to the same weights."""

    def check() -> str:
        for run in folder.glob("runs/*"):
            if not run.name.endswith(".partial"):
                if not world.is_intact(run):
                    return f"{run.name} is not intact"
            elif (run / "checkpoints" / "start.json").is_file():
                done = misread(["train", "--resume", run, "--quiet"], world.log)
                name = run.with_name(run.name.removesuffix(".partial"))
                if done.code or weights(name) != weights(world.run):
                    return f"a killed training did not continue: {done.said}"
        return ""

    return [*TRAIN, "--out", folder / "runs"], check


def resume(world: World, folder: Path) -> Work:
    """A resumed training that is killed continues to the same weights."""
    partial = folder / "runs" / "killed.partial"
    shutil.copytree(world.folder / "killed.partial", partial)

    def check() -> str:
        run = partial.with_name("killed")
        if partial.exists():
            done = misread(["train", "--resume", partial, "--quiet"], world.log)
            if done.code:
                return f"it cannot be resumed again: {done.said}"
        return "" if weights(run) == weights(world.run) and world.is_intact(run) else "other weights"

    return ["train", "--resume", partial, "--quiet"], check


def report(world: World, folder: Path) -> Work:
    """The run stays intact; the report is as before or whole."""
    run = Path(shutil.copytree(world.run, folder / "run"))
    page = run / "report.html"
    page.write_text("<p>as before</p>")

    def check() -> str:
        text = page.read_text()
        whole = text == "<p>as before</p>" or text.rstrip().endswith("</html>")
        return "" if whole and world.is_intact(run) else "a part of a report, or a damaged run"

    return ["report", run, "--no-causes"], check


def labels(world: World, folder: Path) -> Work:
    """Fixes that were there stay there; of the new ones, all complete lines can be read."""
    from misread.data.image_hash import image_hashes
    from misread.data.label_patch import add_fixes, read_patch
    from misread.data.load import load

    data, patch = load("digits"), folder / "fixes.jsonl"
    hashes = image_hashes(data.train.images)
    add_fixes(patch, data, dict.fromkeys(hashes[:5], "3"))
    before = read_patch(patch).lines
    table = folder / "doubtful.csv"
    rows = "".join(f"{h},4\n" for h in hashes[10:400])
    table.write_text(f"hash,new\n{rows}")

    def check() -> str:
        return "" if read_patch(patch).lines[: len(before)] == before else "a fix is lost"

    return ["labels", "apply", patch, "digits", "--from", table], check


def predict(world: World, folder: Path) -> Work:
    """The table is as before or whole."""
    table = folder / "table.csv"
    table.write_text("as before")

    def check() -> str:
        text = table.read_text()
        return "" if text == "as before" or text.count("\n") == PICTURES + 1 else "a part of a table"

    return ["predict", world.run, world.pictures, "--csv", table, "--quiet"], check


def cache(world: World, folder: Path) -> Work:
    """The next load gives the same data, whatever the cache has."""

    def check() -> str:
        found = misread(["data", "info", world.pictures, "--json"], world.log)
        return "" if found.code == 0 and fingerprint(found) == world.fingerprint else found.said

    return ["data", "info", world.pictures, "--json"], check


WORKS: dict[str, Callable[[World, Path], Work]] = {
    "train": train, "resume": resume, "report": report, "labels": labels, "predict": predict, "cache": cache,
}  # fmt: skip


def prepare_works(world: World) -> None:
    """What single works need: a training killed after a checkpoint, and the fingerprint of the pictures."""
    from misread.data.load import load

    world.fingerprint = misread_info(world)
    load("digits")  # before the forks, so that no process imports scikit-learn
    partial = world.folder / "killed.partial"
    shutil.copytree(world.run, partial)
    for path in partial.iterdir():
        if path.name not in ("checkpoints", "recipe.toml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    late = sorted((partial / "checkpoints").glob("member-*"))
    for path in late[-1:]:  # the one before it is not the end
        path.unlink()


def misread_info(world: World) -> str:
    found = world.must(misread(["data", "info", world.pictures, "--json"], world.log))
    return fingerprint(found)


Row = tuple[str, int, list[str]]  # what was done, how often, and what was wrong


def kills(world: World, rng: random.Random, share: float, minutes: float) -> Iterator[Row]:
    """All works in a random order, until as many were killed as planned, or the time is over."""
    duration: dict[str, float] = {}
    for name, work in WORKS.items():
        with world.scratch() as folder:
            duration[name] = world.must(misread(work(world, folder)[0], world.log)).seconds
    order = [name for name, count in KILLS.items() for _ in range(max(1, round(count * share)))]
    rng.shuffle(order)
    wrong: dict[str, list[str]] = {name: [] for name in WORKS}
    times, killed, until = Counter[str](), Counter[str](), time.monotonic() + 60 * minutes
    for name in order:
        with world.scratch() as folder:
            arguments, check = WORKS[name](world, folder)
            result = misread(arguments, world.log, kill_after=rng.uniform(0, duration[name]))
            if result.code == -signal.SIGKILL:
                killed[name] += 1
            else:  # it was faster than the first time
                duration[name] = min(duration[name], result.seconds)
            times[name] += 1
            if problem := check():
                wrong[name].append(problem)
            print(f"  {sum(times.values())} kills, {name}: {problem or 'nothing lost'}", flush=True)
        if time.monotonic() > until:
            break
    for name in WORKS:
        yield f"SIGKILL at random moments of {name} ({killed[name]} met it running)", times[name], wrong[name]


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def full_disks(world: World) -> Iterator[Row]:
    """The same work on disks of ever more space, until it succeeds: every write meets a full disk once."""
    for name, work in WORKS.items():
        wrong: list[str] = []
        for kilobytes in DISKS:
            with world.scratch() as folder, mounted(folder / "disk", f"size={kilobytes}k") as disk:
                os.environ["MISREAD_CACHE"] = str(disk / "cache")
                try:
                    arguments, check = work(world, disk)
                except (OSError, DataError):
                    continue  # what the work begins with does not fit
                result = misread(arguments, world.log)
                if not result.is_clean:
                    wrong.append(f"{kilobytes} kB: {result.said}")
                elif result.code == 0 and (problem := check()):
                    wrong.append(f"{kilobytes} kB: {problem}")
        yield f"a disk that gets full in {name}", len(DISKS), wrong


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
    yield "a missing or read-only home and cache, five commands each", len(places), wrong


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
    yield (
        "a clock that jumps by a day or thirty years at every second call, in train and in the cache",
        len(jumps),
        wrong,
    )


def two_at_once(world: World, times: int = 5) -> Iterator[Row]:
    """Two processes in one folder of runs, one cache and one patch."""
    from misread.data.image_hash import image_hashes
    from misread.data.label_patch import add_fixes, read_patch
    from misread.data.load import load

    data = load("digits")
    hashes = image_hashes(data.train.images)
    wrong: dict[str, list[str]] = {"one name of a run": [], "one cache": [], "one label patch": []}
    for _ in range(times):
        with world.scratch() as folder:

            def both(calls: list[Callable[[], object]]) -> list[Ended]:
                logs = [folder / f"{i}.txt" for i in range(len(calls))]
                started = [start(call, log) for call, log in zip(calls, logs, strict=True)]
                return [ended(process, log) for process, log in zip(started, logs, strict=True)]

            def run_main(arguments: list[object]) -> Callable[[], object]:
                from misread.cli.main import main

                return lambda: main([str(a) for a in arguments])

            results = both([run_main([*TRAIN, "--out", folder / "runs"])] * 2)
            runs = list((folder / "runs").iterdir())
            if any(r.code for r in results) or len(runs) != 2 or any(weights(r) != weights(world.run) for r in runs):
                wrong["one name of a run"].append(results[0].said)
            results = both([run_main(["data", "info", world.pictures, "--json"])] * 2)
            if any(r.code or fingerprint(r) != world.fingerprint for r in results):
                wrong["one cache"].append(results[0].said)

            def append(part: list[str]) -> Callable[[], object]:
                return lambda: [add_fixes(folder / "fixes.jsonl", data, {h: "3"}) for h in part]

            both([append(hashes[:20]), append(hashes[20:40])])
            expected = sum(label != 3 for label in data.train.labels[:40])
            if len(read_patch(folder / "fixes.jsonl").lines) != expected:
                wrong["one label patch"].append("lines are lost")
    for what, problems in wrong.items():
        yield f"two processes on {what}", times, problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the 200 kills")
    parser.add_argument("--minutes", type=float, default=60.0, help="for the kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=["kills", "disks", "homes", "clocks", "two", "hostile"])
    chosen = parser.parse_args()
    rows: list[Row] = []
    for heavy in LOADED:  # before the forks
        importlib.import_module(heavy)
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        prepare_works(world)
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "kills": lambda: kills(world, random.Random(chosen.seed), chosen.share, chosen.minutes),
            "disks": lambda: full_disks(world),
            "homes": lambda: homes(world),
            "clocks": lambda: clocks(world),
            "two": lambda: two_at_once(world),
            "hostile": lambda: hostile.rows(world.folder),
        }
        for part in chosen.only:
            home = os.environ["HOME"]
            for row in parts[part]():
                rows.append(row)
                what, times, wrong = row
                print(f"| {what} | {times} | {len(wrong)} |", *(f"\n    {w}" for w in wrong[:5]), flush=True)
            os.environ["HOME"] = home
    name = f"faults-{'-'.join(chosen.only)}-{date.today()}.json"
    found = [{"harm": what, "times": times, "wrong": wrong} for what, times, wrong in rows]
    write_json(RESULTS / name, {"seed": chosen.seed, "rows": found})
    raise SystemExit(any(wrong for _, _, wrong in rows))


if __name__ == "__main__":
    main()
