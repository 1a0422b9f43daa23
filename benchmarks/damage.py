"""Damage to every file that misread writes: flipped bits, and files that are cut or emptied. Then what reads it runs.

`VICTIMS` is a table: how a folder is made, and which commands read it. A command has to end well or with one message.
What else has to hold is its `rule`.
"""

import json
import os
import random
import shutil
import tarfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from forked import Command, Ended, misread
from works import TRAIN, WORKS, Row, World, export, hashes, patch_of, unfinished, weights

HAS_MNIST = (Path(os.environ.get("MISREAD_DATA", "/nowhere")) / "mnist").is_dir()
FEWEST = 6  # a folder with fewer files is damaged as often as one with so many
ANY = "any"  # ends well or with one message
NOTICED = "noticed"  # says that something is damaged
SAME = "same"  # says so, or gives what it gives without damage
HEALED = "healed"  # gives what it gives without damage


class Read(NamedTuple):
    """A command that reads a damaged folder, and what has to hold. result: what it gave, after it ended well."""

    command: Command
    rule: str = ANY
    result: Callable[[Ended], object] = lambda ended: None


class Victim(NamedTuple):
    """A folder whose files are damaged one after another.

    make:  writes the folder. reads: the commands, one after another.
    harms: which files are damaged, by their names in the folder.
    is_earlier: given a file before and after, whether it is what it was at an earlier time, so that nobody can tell.
    """

    what: str
    make: Callable[[World, Path], Path]
    reads: Callable[[World, Path], list[Read]]
    harms: Callable[[str], bool] = lambda name: True
    is_earlier: Callable[[bytes, bytes], bool] = lambda before, after: False


def _printed(ended: Ended) -> Any:
    """The JSON that was printed, without times. Lines of progress may come before it."""
    lines = ended.text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line[0] in "[{")
    value, _ = json.JSONDecoder().raw_decode("".join(lines[start:]))
    return {k: v for k, v in value.items() if "seconds" not in k} if isinstance(value, dict) else value


def _run(world: World, folder: Path) -> Path:
    return Path(shutil.copytree(world.run, folder / "run"))


def _read_run(world: World, run: Path) -> list[Read]:
    return [
        Read(["verify", run], NOTICED), Read(["evaluate", run]), Read(["misreads", run, "--json"]), Read(["card", run]),
        Read(["runs", "--out", run.parent]), Read(["predict", run, world.pictures / "0" / "0.png"]),
        Read(["report", run, "--no-causes", "--out", run.parent / "page.html"]),
    ]  # fmt: skip


def _killed(world: World, folder: Path) -> Path:
    return Path(shutil.copytree(world.killed, folder / "killed.partial"))


def _killed_with_labels(world: World, folder: Path) -> Path:
    patch = patch_of(folder, "fixes.jsonl", 0, 20)
    world.must(misread([*TRAIN, "--labels", patch, "--keep-checkpoints", "--out", folder / "runs"], world.log))
    (run,) = (folder / "runs").iterdir()
    return unfinished(run, folder / "killed.partial")


def _killed_members(world: World, folder: Path) -> Path:
    """The first member is complete, the second is not, and the third has not begun."""
    several = ["--set", "members=3", "--workers", 2, "--keep-checkpoints"]
    world.must(misread([*TRAIN, *several, "--out", folder / "runs"], world.log))
    (run,) = (folder / "runs").iterdir()
    killed = unfinished(run, folder / "killed.partial")
    for path in (killed / "checkpoints").glob("member-*.safetensors"):
        path.unlink()
    max((killed / "checkpoints" / "member-001").iterdir()).unlink()
    shutil.rmtree(killed / "checkpoints" / "member-002")
    return killed


def _resume(world: World, folder: Path) -> list[Read]:
    command = ["train", "--resume", folder, "--workers", 1, "--quiet"]
    return [Read(command, SAME, lambda ended: weights(folder.with_name("killed")))]


def _cached_pictures(world: World, folder: Path) -> Path:
    world.must(misread(["data", "info", world.pictures, "--json"], world.log))
    return folder / "cache"


def _shards(world: World) -> Path:
    """Three tar files, of which the last is for testing, with pictures whose labels are beside them; made once.

    A copy would have another time, and nobody would take the cache of the first for it.
    """
    folder = world.folder / "shards"
    if folder.exists():
        return folder
    folder.mkdir()
    pictures = sorted(world.pictures.rglob("*.png"), key=lambda path: int(path.stem))
    for part, name in enumerate(("train-0", "train-1", "test-0")):
        path, label = folder / f"{name}.tar", folder / "label"
        with tarfile.open(path, "w") as tar:
            for picture in pictures[part::3]:
                label.write_text(picture.parent.name)
                tar.add(picture, picture.name)
                tar.add(label, f"{picture.stem}.cls")
        label.unlink()
        os.utime(path, (1e9, 1e9))
    return folder


def _cached_shards(world: World, folder: Path) -> Path:
    world.must(misread(["data", "info", _shards(world), "--json"], world.log))
    return folder / "cache"


def _cached_mnist(world: World, folder: Path) -> Path:
    world.must(misread(["data", "info", "mnist", "--json"], world.log))
    return folder / "cache"


def _load(data: object) -> list[Read]:
    return [Read(["data", "info", data, "--json"], HEALED, _printed), Read(["data", "cache"])]


def _backbone(path: Path) -> Path:
    """A small network as a file of torch.export: images of 12 x 12 to 24 features."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example, any_number = torch.zeros(2, 3, 12, 12), ({0: torch.export.Dim.AUTO},)
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=any_number), path)
    return path


def _train_head(folder: Path) -> list[object]:
    head = ["--backbone", folder / "small.pt2", "--epochs", 1, "--quiet"]
    return ["train", "digits", *head, "--out", folder / "runs"]


def _features(world: World, folder: Path) -> Path:
    _backbone(folder / "small.pt2")
    world.must(misread(_train_head(folder), world.log))
    shutil.rmtree(folder / "runs")
    return folder / "cache"


def _read_features(world: World, folder: Path) -> list[Read]:
    def trained(ended: Ended) -> bytes:
        (run,) = (folder.parent / "runs").iterdir()
        return weights(run)

    return [Read(_train_head(folder.parent), HEALED, trained), Read(["data", "cache"])]


def _held_out(world: World, folder: Path) -> Path:
    world.must(misread(WORKS["labels find"](world, folder).arguments, world.log))
    return folder / "held-out"


def _find(world: World, folder: Path) -> list[Read]:
    table = folder.with_name("doubtful.csv")
    return [Read(WORKS["labels find"](world, folder.parent).arguments, HEALED, lambda ended: table.read_text())]


def _patches(world: World, folder: Path) -> Path:
    (folder / "patches").mkdir()
    return patch_of(folder / "patches", "fixes.jsonl", 0, 20).parent


def _read_patch(world: World, folder: Path) -> list[Read]:
    patch, runs = folder / "fixes.jsonl", folder.with_name("runs")

    def trained(ended: Ended) -> bytes:
        (run,) = runs.iterdir()
        return weights(run)

    train = [*TRAIN[:2], "--epochs", 1, "--quiet", "--labels", patch, "--out", runs]
    return [Read(["labels", "show", patch, "--json"], SAME, _printed), Read(train, SAME, trained)]


def _ends_between_lines(before: bytes, after: bytes) -> bool:
    return before.startswith(after) and after[-1:] in (b"", b"\n")


def _sweep(world: World, folder: Path) -> Path:
    world.must(misread(WORKS["sweep"](world, folder).arguments, world.log))
    return folder / "sweep"


def _continue_sweep(world: World, folder: Path) -> list[Read]:
    def found(ended: Ended) -> object:
        result = json.loads((folder / "sweep.json").read_text())
        best = [result["best"][name] for name in ("values", "score")]
        return best, result["test"], (folder / "best.toml").read_text()

    return [Read(WORKS["sweep"](world, folder.parent).arguments, SAME, found)]


def _predict(world: World, folder: Path, *shards: object) -> list[object]:
    options = ["--probabilities", "--workers", 1, "--quiet"]
    return ["predict", world.run, *shards, "--out", folder / "predicted", *options]


def _job(world: World, folder: Path) -> Path:
    world.must(misread(_predict(world, folder, *sorted(_shards(world).iterdir())), world.log))
    return folder / "predicted"


def _read_job(world: World, folder: Path) -> list[Read]:
    shards = sorted(_shards(world).iterdir())
    doubtful = ["labels", "shards", folder, "--workers", 1, "--json"]
    return [
        Read(["verify", folder], NOTICED), Read(doubtful, SAME, _printed),
        Read(["report", folder, "--out", folder.with_name("page.html"), "--quiet"]),
        Read(_predict(world, folder.parent, *shards), SAME, lambda ended: hashes(folder)),
    ]  # fmt: skip


def _failed_job(world: World, folder: Path) -> Path:
    """A shard of this job is damaged, so it is listed in `_failed.jsonl`, and there is no `_SUCCESS`."""
    misread(_predict(world, folder, *_with_a_cut_shard(world, folder)), world.log)
    return folder / "predicted"


def _with_a_cut_shard(world: World, folder: Path) -> list[Path]:
    *whole, last = sorted(_shards(world).iterdir())
    (folder / "cut.tar").write_bytes(last.read_bytes()[:3000])
    return [*whole, folder / "cut.tar"]


def _read_failed_job(world: World, folder: Path) -> list[Read]:
    shards = _with_a_cut_shard(world, folder.parent)
    listed = folder / "_failed.jsonl"
    return [
        Read(["report", folder, "--out", folder.with_name("page.html"), "--quiet"]),
        Read(_predict(world, folder.parent, *shards), SAME, lambda ended: listed.read_text()),
    ]


def _exported(kind: str) -> Callable[[World, Path], Path]:
    def make(world: World, folder: Path) -> Path:
        world.must(misread(export(world, folder, kind).arguments, world.log))
        return folder / "export"

    return make


def _verify(world: World, folder: Path) -> list[Read]:
    return [Read(["verify", folder], NOTICED)]


def _read_onnx(world: World, folder: Path) -> list[Read]:
    def serve() -> None:
        from misread.serve.model import open_model

        open_model(folder / "model.onnx", threads=1).warm_up()

    return [*_verify(world, folder), Read(serve)]


def _read_keras(world: World, folder: Path) -> list[Read]:
    return [*_verify(world, folder), Read(["evaluate", folder / "model.keras", "digits", "--json"], SAME, _printed)]


def _drawings(world: World, folder: Path) -> Path:
    for i in range(8):
        _keep_drawing(i)
    return folder / "drawings"


def _keep_drawing(number: int) -> None:
    from misread.data.drawings import keep_drawing
    from misread.data.named import DIGIT_NAMES

    image = np.random.default_rng(number).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    keep_drawing("my-digits", DIGIT_NAMES, image, number % 2)


def _read_drawings(world: World, folder: Path) -> list[Read]:
    def keep_another() -> None:
        _keep_drawing(8)

    def kept(ended: Ended) -> object:
        with np.load(folder / "my-digits.npz") as arrays:
            return {name: arrays[name].tolist() for name in arrays}

    load = Read(["data", "info", "my-digits", "--json"], SAME, _printed)
    return [load, Read(keep_another, SAME, kept)]


def _notes(world: World, folder: Path) -> Path:
    from misread.studio.run_notes import RunNotes, write_notes

    (folder / "runs").mkdir()
    run = Path(shutil.copytree(world.run, folder / "runs" / "run"))
    write_notes(run, RunNotes("a name", "a note of several words"))
    return run


def _read_notes(world: World, folder: Path) -> list[Read]:
    """The table of runs, and another name: a note that cannot be read is said, and is kept beside the new one."""

    def table() -> None:
        from misread.studio.runs import Runs

        (row,) = Runs(folder.parent).rows()
        said = f"Note: {row['error']}\n" if row["error"] else ""
        print(said + json.dumps({name: row[name] for name in ("title", "note", "status", "accuracy")}))

    def rename() -> None:
        from misread.studio.runs import Runs, run_id

        Runs(folder.parent).rename(run_id(folder), "another name")
        kept = (folder / "notes.json.damaged").exists()
        print("Note: kept" if kept else (folder / "notes.json").read_text())

    return [Read(table, SAME, _printed), Read(rename, SAME, _printed)]


def _kept_features(world: World, folder: Path) -> Path:
    world.must(misread(_print_features(world), world.log))
    return folder / "cache" / "studio"


def _print_features(world: World) -> Callable[[], None]:
    def call() -> None:
        from misread.runs.run import open_run
        from misread.studio.features import split_features

        print(json.dumps(split_features(open_run(world.run), "test").tolist()))

    return call


VICTIMS = (
    Victim("a run", _run, _read_run),
    Victim("an unfinished training", _killed, _resume),
    Victim("an unfinished training with a label patch", _killed_with_labels, _resume),
    Victim("an unfinished training of three members", _killed_members, _resume),
    Victim("the cache of pictures", _cached_pictures, lambda world, folder: _load(world.pictures)),
    Victim("the cache of shards", _cached_shards, lambda world, folder: _load(_shards(world))),
    *([Victim("the cache of a named set", _cached_mnist, lambda world, folder: _load("mnist"))] * HAS_MNIST),
    Victim("the cache of features", _features, _read_features),
    Victim("the studio's features", _kept_features, lambda w, f: [Read(_print_features(w), HEALED, _printed)]),
    Victim("stored predictions of `labels`", _held_out, _find),
    Victim("a label patch", _patches, _read_patch, is_earlier=_ends_between_lines),
    Victim("a sweep", _sweep, _continue_sweep, harms=lambda name: not name.startswith("runs/"),
           is_earlier=_ends_between_lines),
    Victim("a job of shards", _job, _read_job),
    Victim("a job with a shard that failed", _failed_job, _read_failed_job),
    Victim("an export to ONNX", _exported("onnx"), _read_onnx),
    Victim("an export to Keras", _exported("keras"), _read_keras),
    Victim("an export to PyTorch", _exported("torch"), _verify),
    Victim("an export to safetensors", _exported("safetensors"), _verify),
    Victim("drawings of one's own", _drawings, _read_drawings),
    Victim("names and notes of runs", _notes, _read_notes, harms=lambda name: name == "notes.json"),
)  # fmt: skip


def _damages(contents: bytes, rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """What is done to a file, and its contents then: flipped bits, half as many cuts, and none."""
    for _ in range(count):
        place, bit = rng.randrange(len(contents)), 1 << rng.randrange(8)
        flipped = bytes([contents[place] ^ bit])
        yield f"bit {bit} of byte {place}", contents[:place] + flipped + contents[place + 1 :]
    for length in [0, *(rng.randrange(len(contents)) for _ in range((count + 1) // 2))]:
        yield f"cut to {length} of {len(contents)} bytes", contents[:length]


class _Whole(NamedTuple):
    """How a command ends without damage. notes: how many it prints."""

    code: int
    notes: int
    result: object


def _as_whole(read: Read, ended: Ended) -> _Whole:
    try:
        result = read.result(ended)
    except (OSError, ValueError, LookupError, StopIteration) as error:  # nothing that can be read
        result = repr(error)
    return _Whole(ended.code, ended.text.count("Note:"), result)


def _judged(read: Read, ended: Ended, whole: _Whole) -> tuple[bool, str]:
    """Whether the command says that something is damaged, and what is wrong; empty if nothing is."""
    told = ended.code != whole.code or ended.text.count("Note:") > whole.notes
    if not ended.is_clean:
        return told, f"a traceback: {ended.said}"
    if read.rule == NOTICED:
        return told, "" if told else "it is not noticed"
    if read.rule == ANY or (told and read.rule == SAME):
        return told, ""
    return told, "" if _as_whole(read, ended)[::2] == whole[::2] else f"another result: {ended.said}"


def damages(world: World, rng: random.Random, count: int, chosen: str = "") -> Iterator[Row]:
    """Damages one file at a time, and runs what reads it.

    count:  how many bits are flipped in each file; more in a folder with few files.
    chosen: only folders with this in their names.
    """
    for victim in VICTIMS:
        if chosen not in victim.what:
            continue
        times, wrong = Counter[str](), list[str]()
        with world.scratch() as folder:
            made = victim.make(world, folder)
            shutil.copytree(folder, intact := folder.with_name(f"{folder.name}-intact"), symlinks=True)
            reads = victim.reads(world, made)
            whole = [_as_whole(read, misread(read.command, world.log)) for read in reads]
            before = intact / made.relative_to(folder)
            names = [n for n in sorted(hashes(before)) if victim.harms(n) and (before / n).stat().st_size]
            for name in names:
                contents = (before / name).read_bytes()
                for what, damaged in _damages(contents, rng, max(count, count * FEWEST // len(names))):
                    shutil.rmtree(folder)
                    shutil.copytree(intact, folder, symlinks=True)
                    (made / name).write_bytes(damaged)
                    told, problems = False, list[str]()
                    for read, expected in zip(victim.reads(world, made), whole, strict=True):
                        said, problem = _judged(read, misread(read.command, world.log), expected)
                        told |= said
                        problems += [f"{_name(read.command)}: {problem}"] * bool(problem)
                    if problems and victim.is_earlier(contents, damaged):
                        times["that nobody can notice"] += 1
                    elif problems:
                        times["wrong"] += 1
                        wrong.append(f"{name}, {what}: {'; '.join(problems)}")
                        print(f"  {wrong[-1]}", flush=True)
                    else:
                        times["with a message" if told else "made again, or without effect"] += 1
            shutil.rmtree(intact)
        said = ", ".join(f"{n} {kind}" for kind, n in sorted(times.items()))
        yield Row(f"flipped bits, cuts and emptied files in {victim.what}", times.total(), wrong, said)


def _name(command: Command) -> str:
    return command.__name__ if callable(command) else str(command[0])
