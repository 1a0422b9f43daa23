"""Two processes that do the same at the same time, in the same place."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from forked import Ended, ended, start
from works import TRAIN, WORKS, Row, World, fingerprint, weights

Call = Callable[[], object]
Pair = tuple[list[Call], Callable[[list[Ended]], str]]  # what the two do, and what is wrong afterwards


def _both(calls: list[Call], folder: Path) -> list[Ended]:
    logs = [folder / f"{i}.txt" for i in range(len(calls))]
    started = [start(call, log) for call, log in zip(calls, logs, strict=True)]
    return [ended(process, log) for process, log in zip(started, logs, strict=True)]


def _command(arguments: list[object]) -> Call:
    from misread.cli.main import main

    return lambda: main([str(a) for a in arguments])


def _runs(world: World, folder: Path) -> Pair:
    def check(ends: list[Ended]) -> str:
        runs = list((folder / "runs").iterdir())
        if any(end.code for end in ends) or len(runs) != 2 or any(weights(r) != weights(world.run) for r in runs):
            return ends[0].said
        return ""

    return [_command([*TRAIN, "--out", folder / "runs"])] * 2, check


def _resumed(world: World, folder: Path) -> Pair:
    killed = Path(shutil.copytree(world.killed, folder / "killed.partial"))

    def check(ends: list[Ended]) -> str:
        if min(end.code for end in ends) or not all(end.is_clean for end in ends):
            return "; ".join(end.said for end in ends)
        return "" if weights(folder / "killed") == weights(world.run) else "other weights"

    return [_command(["train", "--resume", killed, "--quiet"])] * 2, check


def _cache(world: World, folder: Path) -> Pair:
    def check(ends: list[Ended]) -> str:
        return next((end.said for end in ends if end.code or fingerprint(end) != world.fingerprint), "")

    return [_command(["data", "info", world.pictures, "--json"])] * 2, check


def _patch(world: World, folder: Path) -> Pair:
    from misread.data.image_hash import image_hashes
    from misread.data.label_patch import add_fixes, read_patch
    from misread.data.load import load

    data, patch = load("digits"), folder / "fixes.jsonl"
    hashes = image_hashes(data.train.images)

    def append(part: list[str]) -> Call:
        return lambda: [add_fixes(patch, data, {h: "3"}) for h in part]

    def check(ends: list[Ended]) -> str:
        expected = sum(label != 3 for label in data.train.labels[:40])
        return "" if len(read_patch(patch).lines) == expected else "lines are lost"

    return [append(hashes[:20]), append(hashes[20:40])], check


def _same(name: str) -> Callable[[World, Path], Pair]:
    """The same command twice. One may say that the other works there."""

    def make(world: World, folder: Path) -> Pair:
        command = WORKS[name](world, folder)

        def check(ends: list[Ended]) -> str:
            if min(end.code for end in ends) or not all(end.is_clean for end in ends):
                return "; ".join(end.said for end in ends)
            return command.check(min(ends, key=lambda end: end.code))

        return [_command(command.arguments)] * 2, check

    return make


PAIRS: dict[str, Callable[[World, Path], Pair]] = {
    "one name of a run": _runs,
    "one unfinished training": _resumed,
    "one cache": _cache,
    "one label patch": _patch,
    "one report": _same("report"),
    "one folder of stored predictions": _same("labels find"),
    "one job of shards": _same("predict --out"),
    "one export": _same("export --to onnx --int8"),
    "one sweep": _same("sweep"),
}


def pairs(world: World, times: int) -> Iterator[Row]:
    for what, make in PAIRS.items():
        wrong: list[str] = []
        said = ""
        for _ in range(times):
            with world.scratch() as folder:
                calls, check = make(world, folder)
                ends = _both(calls, folder)
                said = next((end.said for end in ends if end.code), said)
                if problem := check(ends):
                    wrong.append(problem)
        yield Row(f"two processes on {what}", times, wrong, said)
