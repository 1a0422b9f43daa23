"""misread and its peers on the same lessons, interleaved on one machine; README.md says what is measured and how.

Run it as `.venv/bin/python benchmarks/bench.py --readme`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import misread
from children import ROOT, answers_of, say
from misread.training.recipe import recipe_names
from results_file import RESULTS, write_json
from table import markdown, replace_in_readme

HERE = Path(__file__).resolve().parent
OWN_PYTHON = Path(sys.executable)
MISREAD = OWN_PYTHON.with_name("misread")
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"


@dataclass(frozen=True)
class Lesson:
    """A recipe that all train. epochs: of one run. rounds: runs of each contestant, where --repeats does not say."""

    epochs: int
    rounds: int


LESSONS = {"tutorial-mlp": Lesson(epochs=4, rounds=3), "tutorial-cnn": Lesson(epochs=2, rounds=2)}
WHOLE = [name for name in ("tutorial-mlp", "fast") if name in recipe_names()]  # recipes that whole commands train
START_UPS = {"misread --help": [MISREAD, "--help"], 'python -c "import torch"': [OWN_PYTHON, "-c", "import torch"]}
START_UP_TIMES = 7
WHOLE_TIMES = 3


@dataclass(frozen=True)
class Contestant:
    """One line of the table: an environment's Python and a script of `peers/` that answers as `contest.py` says.

    lessons: those that it can train at all.
    """

    name: str
    python: Path
    script: str
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: Sequence[str] = ()
    lessons: Sequence[str] = tuple(LESSONS)


CONTESTANTS = (
    Contestant("misread", OWN_PYTHON, "misread_peer.py"),
    Contestant("misread-mixed", OWN_PYTHON, "misread_peer.py", settings=("precision=mixed",)),
    Contestant("keras-tensorflow", PEERS_PYTHON, "keras_peer.py", {"KERAS_BACKEND": "tensorflow"}),
    Contestant("keras-jax", PEERS_PYTHON, "keras_peer.py", {"KERAS_BACKEND": "jax"}),
    Contestant("keras-torch", PEERS_PYTHON, "keras_peer.py", {"KERAS_BACKEND": "torch"}),
    Contestant("torch-resident", PEERS_PYTHON, "torch_resident_peer.py"),
    Contestant("torch-dataloader", PEERS_PYTHON, "torch_dataloader_peer.py"),
    Contestant("skorch", PEERS_PYTHON, "skorch_peer.py"),
    Contestant("scikit-learn", PEERS_PYTHON, "sklearn_peer.py", lessons=["tutorial-mlp"]),
)


def main() -> int:
    args = parse_arguments()
    if args.table_of:
        results = json.loads(args.table_of.read_text(encoding="utf-8"))
    else:
        try:
            results = measure_all(args)
        except misread.MisreadError as error:
            print(error, file=sys.stderr)
            return 2
        write_json(args.out, results)
    text = markdown(results)
    print(text)
    if args.readme:
        say(replace_in_readme(HERE / "README.md", "bench", text))
    return 0


def parse_arguments() -> argparse.Namespace:
    names = [c.name for c in CONTESTANTS]
    parser = argparse.ArgumentParser(description="Time misread and its peers on the same lessons.")
    parser.add_argument("--repeats", type=positive, help="rounds of every recipe; every contestant runs once in each")
    parser.add_argument("--recipes", nargs="+", choices=LESSONS, default=list(LESSONS), metavar="RECIPE")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--epochs", type=positive, help="of each run")
    parser.add_argument("--data", type=Path, metavar="FILE", help="an .npz with Keras's keys, instead of MNIST")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{time.strftime('%Y-%m-%d')}.json", metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md beside this file")
    parser.add_argument("--table-of", type=Path, metavar="FILE", help="measure nothing; show an earlier results file")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that a results file holds. Start-up and whole commands are measured with MNIST only.

    Raises MisreadError: the data cannot be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or write_data(Path(folder) / "mnist.npz")
        return {
            "date": time.strftime("%Y-%m-%d"),
            "data": data.name,
            "machine": said_by("the machine", "machine.py"),
            "work": said_by("the work of an epoch", "limit.py", *args.recipes, "--data", str(data)),
            "start_up": {} if args.data else measure_start_up(),
            "whole_commands": [] if args.data else measure_whole_commands(),
            "measurements": list(measure_lessons(args, data)),
        }


def write_data(path: Path) -> Path:
    """MNIST as the .npz that Keras distributes it as: the one file that every contestant reads."""
    mnist = misread.load("mnist", progress=say)
    arrays = {}
    for split, part in (("train", mnist.train), ("test", mnist.test)):
        arrays[f"x_{split}"] = part.images[..., 0]
        arrays[f"y_{split}"] = part.labels.astype(np.uint8)
    np.savez_compressed(path, **arrays)
    return path


def said_by(what: str, script: str, *arguments: str) -> dict[str, Any]:
    """The JSON that a script beside this one prints; a child of its own, so that this process never holds torch."""
    say(what)
    command = [OWN_PYTHON, HERE / script, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure_start_up() -> dict[str, list[float]]:
    """Wall seconds of each command, several times, in turn."""
    say("starting")
    seconds: dict[str, list[float]] = {name: [] for name in START_UPS}
    for _ in range(START_UP_TIMES):
        for name, command in START_UPS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def measure_whole_commands() -> list[dict[str, Any]]:
    """`misread train mnist` from process start to the finished run folder, with every recipe in turn."""
    measured = []
    for _ in range(WHOLE_TIMES):
        for recipe in WHOLE:
            with tempfile.TemporaryDirectory() as out:
                command = [MISREAD, "train", "mnist", "--recipe", recipe, "--out", out, "--quiet"]
                started = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds = time.perf_counter() - started
                (folder,) = Path(out).iterdir()
                record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            say(f"misread train mnist --recipe {recipe}: {seconds:.2f} s")
            measured.append(
                {
                    "recipe": recipe,
                    "seconds": seconds,
                    "timing": record["timing"],
                    "epochs": record["epochs_trained"],
                    "test_accuracy": record["metrics"]["test"]["accuracy"],
                }
            )
    return measured


def measure_lessons(args: argparse.Namespace, data: Path) -> Iterator[dict[str, Any]]:
    """One measurement after the other: in every round each contestant once, each round beginning with another."""
    runs = list(planned(args))
    for done, (turn, recipe, contestant) in enumerate(runs, start=1):
        epochs = args.epochs or LESSONS[recipe].epochs
        measured = measure(contestant, recipe, data, epochs, seed=turn)
        say(f"[{done}/{len(runs)}] {recipe} {contestant.name}: {in_short(measured)}")
        yield {"round": turn, "recipe": recipe, "contestant": contestant.name, "epochs": epochs, **measured}


def planned(args: argparse.Namespace) -> Iterator[tuple[int, str, Contestant]]:
    rounds = {recipe: args.repeats or LESSONS[recipe].rounds for recipe in args.recipes}
    for turn in range(max(rounds.values())):
        for recipe in args.recipes:
            if turn < rounds[recipe]:
                able = [c for c in CONTESTANTS if c.name in args.only and recipe in c.lessons]
                yield from ((turn, recipe, contestant) for contestant in rotated(able, turn))


def rotated(items: Sequence[Contestant], by: int) -> list[Contestant]:
    start = by % max(len(items), 1)
    return [*items[start:], *items[:start]]


def measure(contestant: Contestant, recipe: str, data: Path, epochs: int, seed: int) -> dict[str, Any]:
    """What a contestant answered; `process_seconds` runs to its first answer, which is the training's."""
    if not contestant.python.exists():
        return {"failed": f"there is no {contestant.python.relative_to(ROOT)}; `make bench` makes it"}
    file = resources.files("misread.training") / "recipes" / f"{recipe}.toml"
    asked = ["--recipe", str(file), "--data", str(data), "--epochs", str(epochs), "--seed", str(seed)]
    script = HERE / "peers" / contestant.script
    command = [contestant.python, script, *asked, "--settings", *contestant.settings]
    return answers_of(command, contestant.variables)


def in_short(measured: dict[str, Any]) -> str:
    if "failed" in measured:
        return f"failed: {measured['failed']}"
    epoch = statistics.median(measured["epoch_seconds"])
    rate = measured["predict_images_per_second"]
    return f"median epoch {epoch:.2f} s, whole process {measured['process_seconds']:.2f} s, predicts {rate:,.0f} /s"


if __name__ == "__main__":
    sys.exit(main())
