"""A folder with everything that the pages mention: runs, pictures, arrays, patches; and a shell with only misread."""

import csv
import io
import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import misread
from misread.cli.main import main
from misread.data.label_patch import Fix, write_patch
from misread.runs.progress import Progress
from misread.training.session import INTERRUPTED
from samples import Result, blocks
from shard_jobs import write_tar

CLASSES = ("cats", "dogs", "stop sign", "ships")
RUNS = ("BEFORE", "AFTER", "A", "B", "OTHER", "RUN")
SHORTER = {"--seconds 10": "--seconds 0.3", "mnist": "digits"}  # what a test runs instead
SHORTER_PYTHON = {
    '"mnist", seeds=4': '"digits", "fast-mlp", folds=3, seeds=2, settings=["epochs=1"]',
    '"mnist", "fast", folds=5, seeds=3': '"digits", "fast-mlp", folds=3, seeds=2, settings=["epochs=1"]',
    '"mnist"': '"digits"',
    'recipe="tutorial-cnn")': 'recipe="tutorial-cnn", epochs=1)',
    'recipe="fast-mlp")': 'recipe="fast-mlp", epochs=1)',
}
VERBS = ("apply", "show", "revert", "merge", "shards")  # of `misread labels`
LABELS = ["--recipe", "fast-mlp", "--folds", "3", "--seeds", "2", "--set", "epochs=2", "--no-filter"]


class StopAfterTwoEpochs(Progress):
    """Ends a training as Ctrl-C does, so that there is one to resume."""

    def on_epoch_end(self, event: Any) -> None:
        if event.row["epoch"] == 2:
            event.state.stop(INTERRUPTED)


def draw_pictures(folder: Path) -> None:
    images, labels = blocks(80, side=32, channels=3)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = folder / CLASSES[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)


def write_shards(folder: Path, pictures: Path) -> None:
    """Four tar files of the pictures with their classes."""
    folder.mkdir()
    files = sorted(pictures.rglob("*.png"), key=lambda file: int(file.stem))
    for number in range(4):
        write_tar(folder / f"{number}.tar", [
            (f"{file.stem}.{ending}", contents)
            for file in files[number::4]
            for ending, contents in (("png", file.read_bytes()), ("cls", file.parent.name.encode()))
        ])  # fmt: skip


def write_arrays(run: misread.Run) -> None:
    """The files that another model's predictions come in."""
    scored = run.predictions()
    np.save("y.npy", scored.labels)
    np.save("p.npy", scored.probs)
    np.save("x.npy", scored.images)
    Path("names.txt").write_text("\n".join(scored.class_names))


def write_patches(run: misread.Run) -> str:
    """Patches with one fix each; returns the hash of an image that no patch fixes and whose label is not 7."""
    images = run.misreads.table
    for name, row in zip(("ada", "bob", "hers", "labels"), (0, 1, 2, 3), strict=True):
        image = images.iloc[row]
        write_patch(f"{name}.jsonl", [Fix(image["hash"], image["label"], image["prediction"], by=name)])
    others = images.iloc[4:]
    return str(others[others["label"] != "7"].iloc[0]["hash"])


def build(folder: Path) -> str:
    """Fills the folder, which is the current one; returns the hash that `write_patches` returns."""
    draw_pictures(folder / "pictures")
    write_shards(folder / "shards", folder / "pictures")
    for name in ("photo.jpg", "drawing.png", "my-digit.jpg"):
        Image.fromarray(misread.load("digits").test.images[0, :, :, 0]).save(name)
    Path("my-set").mkdir()
    quick = {"progress": False, "epochs": 1}
    for seed, name in enumerate(RUNS):
        misread.train("digits", "fast-mlp", seed=seed, out=name, **quick).folder.rename(folder / f"runs-{name}")
    pictures = misread.train("pictures", "fast-mlp", out="p", **quick).folder
    Path("runs").mkdir()
    for name in RUNS:
        (folder / f"runs-{name}").rename(folder / "runs" / name)
        (folder / name).rmdir()
    pictures.rename(folder / "runs" / "released")
    misread.train("pictures", "fast-mlp", seed=1, out="p", **quick).folder.rename(folder / "runs" / "candidate")
    run = misread.open_run("runs/RUN")
    write_arrays(run)
    (export,) = misread.export(run, "keras", "keras")
    export.path.rename("lesson.keras")
    free = write_patches(run)
    misread.train("digits", "fast-mlp", epochs=4, progress=StopAfterTwoEpochs(), keep_checkpoints=True)
    return free


def names(free: str) -> dict[str, Any]:
    """What a page's Python may use without saying where it comes from."""
    run, run_a, run_b = (misread.open_run(f"runs/{name}") for name in ("RUN", "A", "B"))
    data, scored = misread.load("digits"), run.predictions()

    class Model:
        def predict(self, images: np.ndarray) -> np.ndarray:
            return scored.probs

    class Classifier:
        classes_ = np.arange(10)

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return run_a.predictions().probs

    return {
        "misread": misread, "np": np, "torch": torch, "run": run, "run_a": run_a, "run_b": run_b, "data": data,
        "other_run": run_a, "third_run": run_b, "labels": scored.labels, "probs": scored.probs,
        "probs_a": run_a.predictions().probs, "probs_b": run_b.predictions().probs, "images": scored.images,
        "class_names": scored.class_names, "names": scored.class_names,
        "y_test": scored.labels, "x_test": scored.images,
        "x": scored.images, "model": Model(), "classifier": Classifier(),
        "count": 8, "start": 0, "stop": 4, "batch": np.zeros((4, 64, 64, 3), np.uint8),
    }  # fmt: skip


def shorter(arguments: list[str]) -> list[str]:
    """The same command with less training."""
    if arguments[0] == "train" and not {"--resume", "--epochs", "--seconds"} & set(arguments):
        arguments = [*arguments, "--epochs", "1"]
    finds = arguments[0] == "labels" and arguments[1] not in (*VERBS, "last", "RUN")
    return [*arguments, *LABELS] if finds and "--recipe" not in arguments else arguments


def as_typed(command: str, free: str) -> list[str]:
    for said, used in {**SHORTER, "3b40b97d0c76": free[:12]}.items():
        command = command.replace(said, used)
    return shlex.split(command)


def review(table: Path) -> None:
    """What a person does with a table of doubtful labels: decides on the first one."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    first["new"] = first["suggested"] if first["suggested"] != first["label"] else str((int(first["label"]) + 1) % 10)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerows(rows)


def call(command: str, free: str, whole: bool = False) -> Result:
    """Runs `misread ...`, with `> FILE` as a shell does. whole: train as long as the command says."""
    program, *arguments = as_typed(command, free)
    assert program == "misread", command
    target = None
    if ">" in arguments:
        target = Path(arguments[arguments.index(">") + 1])
        arguments = arguments[: arguments.index(">")]
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments if whole else shorter(arguments))
        except SystemExit as leave:
            code = int(leave.code or 0)
    if target:
        target.write_text(out.getvalue())
    if arguments[0] == "labels" and "--csv" in arguments:
        review(Path(arguments[arguments.index("--csv") + 1]))
    return Result(code, out.getvalue(), err.getvalue())


def matches(expected: str, shown: str) -> bool:
    """Whether the output is as the page says; `...` in the page stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, "\n".join(line.rstrip() for line in shown.strip().splitlines()), re.DOTALL) is not None
