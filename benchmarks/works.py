"""The commands that are harmed, and what has to hold of their files afterwards."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from forked import Ended, misread

CLASSES, PICTURES, EPOCHS = 10, 400, 20
TRAIN = ["train", "digits", "--epochs", EPOCHS, "--set", "layers.1.units=16", "--quiet"]
SPACE = """
name = "small"
epochs = 1
layers = [{type = "Flatten"}, {type = "Dense", units = "classes"}]
[search]
"optimizer.learning_rate" = {choices = [0.001, 0.01]}
"""


class Row(NamedTuple):
    """A line of the table: what was done, how often, what was wrong, and a message that was often given."""

    harm: str
    times: int
    wrong: list[str]
    said: str = ""


class Work(NamedTuple):
    """A command, and `check`: given how it ended, what is wrong with what it left; empty if nothing is.

    again: whether the same command has to succeed afterwards.
    """

    arguments: list[object]
    check: Callable[[Ended], str]
    again: bool = True


class World:
    """A folder with a run, its report, pictures and a label patch, made once; each harm gets a copy of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"
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
        self.space = folder / "space.toml"
        self.space.write_text(SPACE)
        self.fingerprint = fingerprint(self.must(misread(["data", "info", self.pictures, "--json"], self.log)))
        self.killed = unfinished(self.run, folder / "killed.partial")
        self._whole: dict[str, dict[str, str]] = {}

    def must(self, result: Ended) -> Ended:
        if result.code:
            raise SystemExit(f"the harness itself failed: {result.text}")
        return result

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        os.environ |= {"MISREAD_CACHE": str(folder / "cache"), "MISREAD_DRAWINGS": str(folder / "drawings")}
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def is_intact(self, run: Path) -> bool:
        return misread(["verify", run], self.log).code == 0

    def whole(self, kind: str) -> dict[str, str]:
        """The files that an export of the run to this kind consists of, with their SHA-256. They are made once."""
        if kind not in self._whole:
            with self.scratch() as folder:
                self.must(misread(export(self, folder, kind).arguments, self.log))
                self._whole[kind] = hashes(folder / "export")
        return self._whole[kind]


def unfinished(run: Path, folder: Path) -> Path:
    """What a training leaves that is killed after its first checkpoint that is still in a run; `folder` gets it."""
    shutil.copytree(run, folder)
    for path in folder.iterdir():
        if path.name not in ("checkpoints", "recipe.toml", "labels.jsonl"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted((folder / "checkpoints").glob("member-*.safetensors"))[1:]:
        path.unlink()
    return folder


def fingerprint(info: Ended) -> str:
    """That of `misread data info --json`, whose output has the progress before it."""
    found = re.search(r'"fingerprint": "(\w+)"', info.text)
    return found[1] if found else ""


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file with a final name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".partial-")
    }


def _as_before_or_whole(path: Path, before: str, is_whole: Callable[[str], bool]) -> Callable[[Ended], str]:
    """Writes a file as it was before. After a success it has to be whole, else whole or unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before)

    def check(ended: Ended) -> str:
        text = path.read_text(errors="replace")
        if is_whole(text) or (ended.code and text == before):
            return ""
        return f"{path.name} is as before, though the command succeeded" if text == before else f"a part of {path.name}"

    return check


def train(world: World, folder: Path) -> Work:
    """Every folder without `.partial` is a whole run, and a killed training continues to the same weights."""

    def check(ended: Ended) -> str:
        runs = list(folder.glob("runs/*"))
        if not ended.code and not runs:
            return "no run, though the command succeeded"
        for run in runs:
            if not run.name.endswith(".partial"):
                if not world.is_intact(run):
                    return f"{run.name} is not intact"
            elif (run / "checkpoints" / "start.json").is_file():
                done = misread(["train", "--resume", run, "--quiet"], world.log)
                name = run.with_name(run.name.removesuffix(".partial"))
                if done.code or weights(name) != weights(world.run):
                    return f"a killed training did not continue: {done.said}"
        return ""

    return Work([*TRAIN, "--out", folder / "runs"], check)


def resume(world: World, folder: Path) -> Work:
    """A resumed training that is killed continues to the same weights."""
    killed = folder / "runs" / "killed.partial"
    shutil.copytree(world.killed, killed)

    def check(ended: Ended) -> str:
        run = killed.with_name("killed")
        if killed.exists():
            done = misread(["train", "--resume", killed, "--quiet"], world.log)
            if done.code:
                return f"it cannot be resumed again: {done.said}"
        return "" if weights(run) == weights(world.run) and world.is_intact(run) else "other weights"

    return Work(["train", "--resume", killed, "--quiet"], check, again=False)


def report(world: World, folder: Path) -> Work:
    """The run stays intact; the report is as before or whole."""
    run = Path(shutil.copytree(world.run, folder / "run"))
    page = _as_before_or_whole(run / "report.html", "<p>before</p>", lambda text: text.rstrip().endswith("</html>"))
    return Work(
        ["report", run, "--no-causes"],
        lambda ended: page(ended) or ("" if world.is_intact(run) else "a damaged run"),
    )


def patch_of(folder: Path, name: str, first: int, count: int) -> Path:
    """A label patch with fixes of some digits."""
    from misread.data.image_hash import image_hashes
    from misread.data.label_patch import add_fixes
    from misread.data.load import load

    data = load("digits")
    add_fixes(folder / name, data, dict.fromkeys(image_hashes(data.train.images[first : first + count]), "3"))
    return folder / name


def labels(world: World, folder: Path) -> Work:
    """Fixes that were there stay there; of the new ones, all complete lines can be read."""
    from misread.data.image_hash import image_hashes
    from misread.data.label_patch import read_patch
    from misread.data.load import load

    patch, table = patch_of(folder, "fixes.jsonl", 0, 5), folder / "doubtful.csv"
    before = read_patch(patch).lines
    new = image_hashes(load("digits").train.images[10:400])
    table.write_text("".join(["hash,new\n", *(f"{h},4\n" for h in new)]))

    def check(ended: Ended) -> str:
        lines = read_patch(patch).lines
        if lines[: len(before)] != before:
            return "a fix is lost"
        return "the new fixes are not there" if not ended.code and len(lines) < len(before) + 300 else ""

    return Work(["labels", "apply", patch, "digits", "--from", table], check)


def merge(world: World, folder: Path) -> Work:
    """The merged patch is there and whole, or not there."""
    from misread.data.label_patch import read_patch

    patches = [patch_of(folder, "first.jsonl", 0, 40), patch_of(folder, "second.jsonl", 40, 40)]
    expected, merged = sum(len(read_patch(patch).lines) for patch in patches), folder / "merged.jsonl"

    def check(ended: Ended) -> str:
        if not merged.exists():
            return "" if ended.code else "no patch, though the command succeeded"
        return "" if len(read_patch(merged).lines) == expected else "a part of a patch"

    return Work(["labels", "merge", *patches, "--out", merged], check, again=False)


def find(world: World, folder: Path) -> Work:
    """Stored predictions are whole or not found; the table is as before or whole."""
    table = _as_before_or_whole(folder / "doubtful.csv", "as before", lambda text: text.count("\n") == 21)
    small = ["--recipe", "tutorial-mlp", "--set", "layers.1.units=4", "--set", "epochs=1"]
    folds = ["--folds", 2, "--seeds", 1, "--no-filter", "--out", folder / "held-out"]
    arguments = ["labels", "find", "digits", *small, *folds, "--csv", folder / "doubtful.csv", "--quiet"]

    def check(ended: Ended) -> str:
        from misread.data.npz import read_npz

        stored = [p for p in folder.glob("held-out/*") if not p.name.endswith(".partial")]
        if not ended.code and not stored:
            return "no predictions, though the command succeeded"
        for one in stored:
            if not (one / "held-out.json").is_file() or "probs" not in read_npz(one / "predictions.npz"):
                return "a part of stored predictions"
        return table(ended)

    return Work(arguments, check)


def predict(world: World, folder: Path) -> Work:
    """The table is as before or whole."""
    table = folder / "table.csv"
    check = _as_before_or_whole(table, "as before", lambda text: text.count("\n") == PICTURES + 1)
    return Work(["predict", world.run, world.pictures, "--csv", table, "--quiet"], check)


def shards(world: World, folder: Path) -> Work:
    """Each file of predictions has all rows, and `_SUCCESS` their hashes."""
    out = folder / "predicted"

    def check(ended: Ended) -> str:
        from misread.scale.arrow import read_about
        from misread.scale.run_job import read_success

        files = list(out.glob("*.parquet"))
        if any(read_about(path)["rows"] != PICTURES // 2 for path in files):
            return "a part of a shard"
        if (out / "_SUCCESS").exists():
            done = read_success(out).sha256
            return "" if done == {name: h for name, h in hashes(out).items() if name in done} else "other predictions"
        return "" if ended.code else "no _SUCCESS, though the command succeeded"

    sizes = ["--shard-size", PICTURES // 2, "--workers", 1]
    return Work(["predict", world.run, world.pictures, "--out", out, *sizes, "--quiet"], check)


def export(world: World, folder: Path, kind: str) -> Work:
    """Each file that has its name is the one that an undisturbed export writes."""
    to, _, more = kind.partition(" ")

    def check(ended: Ended) -> str:
        found, whole = hashes(folder / "export"), world.whole(kind)
        if ended.code:
            found.pop("checksums.json", None)  # it grows with each file
        wrong = [name for name, digest in found.items() if digest != whole.get(name)]
        if wrong:
            return f"{', '.join(wrong)} differs from an undisturbed export"
        return "" if ended.code or found == whole else "files are missing, though the command succeeded"

    arguments = ["export", world.run, "--to", to, *more.split(), "--out", folder / "export", "--quiet"]
    return Work(arguments, check)


def eject(world: World, folder: Path) -> Work:
    """The script is as before or whole."""
    script = folder / "eject" / "train.py"
    return Work(
        ["eject", world.run, "--out", script],
        _as_before_or_whole(script, "before = 1\n", lambda text: len(text) > 1000 and text.endswith("\n")),
    )


def card(world: World, folder: Path) -> Work:
    """The card is there and whole, or not there."""
    run = Path(shutil.copytree(world.run, folder / "run"))
    (run / "README.md").unlink()

    def check(ended: Ended) -> str:
        if not (run / "README.md").exists():
            return "" if ended.code else "no card, though the command succeeded"
        whole = (world.run / "README.md").read_text()
        return "" if (run / "README.md").read_text() == whole else "a part of a card"

    return Work(["card", run], check)


def misreads(world: World, folder: Path) -> Work:
    """The table and the picture are as before or whole."""
    from misread.runs.run import open_run

    count = len(open_run(world.run).misreads)
    table = _as_before_or_whole(folder / "table.csv", "as before", lambda text: text.count("\n") == count + 1)
    picture = folder / "misreads.png"

    def check(ended: Ended) -> str:
        if picture.exists():
            with Image.open(picture) as image:
                image.load()
        elif not ended.code:
            return "no picture, though the command succeeded"
        return table(ended)

    return Work(["misreads", world.run, "--csv", folder / "table.csv", "--png", picture], check)


def sweep(world: World, folder: Path) -> Work:
    """The sweep continues; trials that are done stay done."""
    out = folder / "sweep"

    def check(ended: Ended) -> str:
        if ended.code:
            return ""
        names = ("best.toml", "sweep.json", "search.png")
        return "" if all((out / name).is_file() for name in names) else "files are missing, though it succeeded"

    return Work(["sweep", "digits", world.space, "--trials", 3, "--out", out, "--quiet"], check)


def cache(world: World, folder: Path) -> Work:
    """The next load gives the same data, whatever the cache has."""

    def check(ended: Ended) -> str:
        found = misread(["data", "info", world.pictures, "--json"], world.log)
        return "" if found.code == 0 and fingerprint(found) == world.fingerprint else found.said

    return Work(["data", "info", world.pictures, "--json"], check)


WORKS: dict[str, Callable[[World, Path], Work]] = {
    "train": train,
    "resume": resume,
    "report": report,
    "labels apply": labels,
    "predict": predict,
    "cache": cache,
    "labels merge": merge,
    "labels find": find,
    "predict --out": shards,
    "misreads": misreads,
    "eject": eject,
    "card": card,
    "sweep": sweep,
    "export --to safetensors": partial(export, kind="safetensors"),
    "export --to onnx --int8": partial(export, kind="onnx --int8"),
    "export --to keras": partial(export, kind="keras"),
    "export --to torch": partial(export, kind="torch"),
}
