"""Disks that get full while a command writes.

A command runs on a small disk in memory on which only so much is left: so many new files, or so many blocks of 4 kB,
from none to what the command needs. It has to end well, or with one message that names a path on the disk and says that
it is full. Then the disk gets larger, and the same command has to succeed.
"""

import os
import random
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from forked import Ended, misread
from misread.errors import MisreadError
from works import WORKS, Row, Work, World

BLOCK = 4096  # bytes: what such a disk gives to files
AMPLE_BLOCKS, AMPLE_FILES = 2**16, 2**16
SHARES = {"report": 0.6, "misreads": 0.6, "predict --out": 0.3, "export --to torch": 0.3}  # of what takes long, fewer
FULL = re.compile(r"[Nn]o space")


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class Disk:
    """A disk in memory whose free space can be set while files are on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "something").write_bytes(bytes(BLOCK))  # a size of 0 would be no limit

    def used(self) -> tuple[int, int]:
        """Blocks and files."""
        now = os.statvfs(self.folder)
        return (now.f_blocks - now.f_bfree) * now.f_frsize // BLOCK, now.f_files - now.f_ffree

    def leave(self, blocks: int = AMPLE_BLOCKS, files: int = AMPLE_FILES) -> None:
        """Leave room for so many more blocks and files."""
        used_blocks, used_files = self.used()
        options = f"remount,size={(used_blocks + blocks) * BLOCK},nr_inodes={used_files + files}"
        subprocess.run(["mount", "-o", options, self.folder], check=True)


def full_disks(world: World, rng: random.Random, points: int, commands: Collection[str] = WORKS) -> Iterator[Row]:
    """points: how many numbers of free files, and of free blocks, are tried for each command, drawn at random."""
    temporary = [(name, True) for name in ("predict --out", "export --to onnx --int8") if name in commands]
    for name, is_temporary in [*((name, False) for name in commands), *temporary]:
        needed = dict(zip(("blocks", "files"), _needed(world, WORKS[name], is_temporary), strict=True))
        for what, most in needed.items():
            count = min(max(2, round(points * SHARES.get(name, 1.0))), most + 1)
            wrong: list[str] = []
            said = Counter[str]()
            for room in sorted(rng.sample(range(most + 1), count)):
                result, problem = _on_full_disk(world, WORKS[name], {what: room}, is_temporary)
                if result.code:
                    said[_general(result, world)] += 1
                if problem:
                    wrong.append(f"{room} {what} free: {problem}")
            print(f"  {name}: {said.total()} of {count} failed", *(f"\n    {n} x {s}" for s, n in said.items()))
            disk = "a disk for temporary files" if is_temporary else "a disk"
            yield Row(
                f"{disk} that is full after 0 to {most} {what} in {name} ({said.total()} met it)", count, wrong,
                *(text for text, _ in said.most_common(1)),
            )  # fmt: skip


def _needed(world: World, work: Callable[[World, Path], Work], is_temporary: bool) -> tuple[int, int]:
    """The blocks and the files that a command needs at most at any time."""
    with _disk(world, is_temporary) as (disk, place):
        arguments = work(world, place).arguments
        before, most = disk.used(), [0, 0]

        def watch() -> None:
            most[:] = map(max, most, disk.used())

        world.must(misread(arguments, world.log, before=_unaware(disk, is_temporary), watch=watch))
        watch()
    return most[0] - before[0], most[1] - before[1]


@contextmanager
def _disk(world: World, is_temporary: bool) -> Iterator[tuple[Disk, Path]]:
    """A disk, and the place where the command writes: there, or elsewhere if only temporary files are to go there."""
    with world.scratch() as folder, mounted(folder / "disk", "size=1g,nr_inodes=100000") as path:
        place = folder if is_temporary else path
        os.environ["MISREAD_CACHE"] = str(place / "cache")
        yield Disk(path), place


def _on_full_disk(
    world: World, work: Callable[[World, Path], Work], room: dict[str, int], is_temporary: bool
) -> tuple[Ended, str]:
    """How the command ended with this room on the disk, and what was wrong."""
    with _disk(world, is_temporary) as (disk, place):
        command, before = work(world, place), _unaware(disk, is_temporary)
        disk.leave(**room)
        result = misread(command.arguments, world.log, before=before)
        problem = _unlike_a_full_disk(result, disk.folder)
        disk.leave()
        problem = problem or _checked(command, result)
        if not problem and result.code and command.again:
            after = misread(command.arguments, world.log, before=before)
            problem = f"not even with space: {after.said}" if after.code else _checked(command, after)
    return result, problem


def _checked(command: Work, result: Ended) -> str:
    try:
        return command.check(result)
    except (OSError, MisreadError) as error:
        return f"{type(error).__name__}: {error}"


def _unaware(disk: Disk, is_temporary: bool) -> Callable[[], None]:
    """Lets a training begin on a disk of any size, as if another program filled it later."""

    def before() -> None:
        from misread.runs import run_folder

        run_folder.SPARE_BYTES = -(2**60)
        if is_temporary:  # these processes inherit both
            os.environ["TMPDIR"] = tempfile.tempdir = str(disk.folder)

    return before


def _unlike_a_full_disk(result: Ended, disk: Path) -> str:
    if not result.is_clean:
        return f"{result.code}: {result.said}"
    left = [path.name for path in disk.rglob(".partial-*")]
    if left:
        return f"{', '.join(left)} was left"
    if not result.code:
        return ""
    if not FULL.search(result.text):
        return f"does not say that the disk is full: {result.said}"
    if str(disk) not in result.text:
        return f"names no path on the disk: {result.said}"
    return "" if "Error:" in result.text else f"no message: {result.text}"


def _general(result: Ended, world: World) -> str:
    """The message without what differs from time to time."""
    text = result.text[result.text.rfind("Error:") :].strip()
    text = re.sub(rf"{re.escape(str(world.folder))}/[^/]+/disk", "DISK", text)
    return re.sub(r"\d{8}-\d{6}|[0-9a-f]{8,}", "...", " ".join(text.split()))
