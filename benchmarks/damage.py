"""Damage to every file that misread writes: flipped bits, and files that were cut. Then the commands that read it run.

Each command has to end well or with one message. What has a checksum must not be used as if it were whole.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from forked import Ended, misread
from works import TRAIN, WORKS, Row, World, fingerprint, hashes, weights


class Victim(NamedTuple):
    """A folder whose files are damaged one after another.

    make:   writes the folder.
    reads:  the commands that read it.
    wrong:  given the folder and how the commands ended, what is wrong in addition to a traceback.
    """

    what: str
    make: Callable[[World, Path], Path]
    reads: Callable[[World, Path], list[list[object]]]
    wrong: Callable[[World, Path, list[Ended]], str] = lambda world, folder, ends: ""


def _run(world: World, folder: Path) -> Path:
    return Path(shutil.copytree(world.run, folder / "run"))


def _read_run(world: World, run: Path) -> list[list[object]]:
    return [
        ["verify", run], ["evaluate", run], ["misreads", run, "--json"], ["runs", "--out", run.parent], ["card", run],
        ["predict", run, world.pictures / "0" / "0.png"],
        ["report", run, "--no-causes", "--out", run.parent / "page.html"],
    ]  # fmt: skip


def _unnoticed(world: World, run: Path, ends: list[Ended]) -> str:
    first = ends[0]
    return "" if first.code or "Note:" in first.text else "verify does not notice it"


def _killed(world: World, folder: Path) -> Path:
    return Path(shutil.copytree(world.killed, folder / "killed.partial"))


def _other_weights(world: World, folder: Path, ends: list[Ended]) -> str:
    if ends[0].code:
        return ""
    return "" if weights(folder.with_name("killed")) == weights(world.run) else "it continued to other weights"


def _cached(world: World, folder: Path) -> Path:
    world.must(misread(["data", "info", world.pictures, "--json"], world.log))
    return folder / "cache"


def _other_pictures(world: World, folder: Path, ends: list[Ended]) -> str:
    return "" if ends[0].code == 0 and fingerprint(ends[0]) == world.fingerprint else "other pictures, or none"


def _held_out(world: World, folder: Path) -> Path:
    world.must(misread(WORKS["labels find"](world, folder).arguments, world.log))
    return folder / "held-out"


def _patch(world: World, folder: Path) -> Path:
    (folder / "patches").mkdir()
    world.must(misread(WORKS["labels apply"](world, folder).arguments, world.log))
    (folder / "fixes.jsonl").rename(folder / "patches" / "fixes.jsonl")
    return folder / "patches"


def _sweep(world: World, folder: Path) -> Path:
    world.must(misread(WORKS["sweep"](world, folder).arguments, world.log))
    shutil.rmtree(folder / "sweep" / "runs")  # these files are in the first row
    return folder / "sweep"


VICTIMS = (
    Victim("a run", _run, _read_run, _unnoticed),
    Victim("an unfinished training", _killed, lambda w, f: [["train", "--resume", f, "--quiet"]], _other_weights),
    Victim("the cache", _cached, lambda w, f: [["data", "info", w.pictures, "--json"], ["data", "cache"]],
           _other_pictures),
    Victim("stored predictions of `labels`", _held_out, lambda w, f: [WORKS["labels find"](w, f.parent).arguments]),
    Victim("a label patch", _patch, lambda w, f: [["labels", "show", f / "fixes.jsonl"],
                                                  [*TRAIN[:2], "--epochs", 1, "--labels", f / "fixes.jsonl",
                                                   "--out", f.parent / "runs", "--quiet"]]),
    Victim("a sweep", _sweep, lambda w, f: [WORKS["sweep"](w, f.parent).arguments]),
)  # fmt: skip


def _damages(contents: bytes, rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """What is done to a file, and its contents then: flipped bits, half as many cuts, and none."""
    for _ in range(count):
        place, bit = rng.randrange(len(contents)), 1 << rng.randrange(8)
        flipped = bytes([contents[place] ^ bit])
        yield f"bit {bit} of byte {place}", contents[:place] + flipped + contents[place + 1 :]
    for length in [0, *(rng.randrange(len(contents)) for _ in range((count + 1) // 2))]:
        yield f"cut to {length} of {len(contents)} bytes", contents[:length]


def damages(world: World, rng: random.Random, count: int) -> Iterator[Row]:
    """count: how many bits are flipped in each file, one at a time."""
    for victim in VICTIMS:
        times, wrong = 0, list[str]()
        with world.scratch() as folder:
            made = victim.make(world, folder)
            shutil.copytree(folder, intact := folder.with_name(f"{folder.name}-intact"))
            for name in sorted(hashes(made)):
                path = made / name
                contents = path.read_bytes()
                for what, damaged in _damages(contents, rng, count) if contents else ():
                    path.write_bytes(damaged)
                    ends = [misread(command, world.log) for command in victim.reads(world, made)]
                    times += 1
                    problems = [f"traceback: {end.said}" for end in ends if not end.is_clean]
                    problem = "; ".join(problems) or victim.wrong(world, made, ends)
                    if problem:
                        wrong.append(f"{name}, {what}: {problem}")
                        print(f"  {wrong[-1]}", flush=True)
                    shutil.rmtree(folder)
                    shutil.copytree(intact, folder)
            shutil.rmtree(intact)
        yield Row(f"flipped bits and cuts in the files of {victim.what}", times, wrong)
