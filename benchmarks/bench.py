"""misread and its peers on the same lessons, interleaved on one machine; README.md says what is measured and how.

Run it as `.venv/bin/python benchmarks/bench.py --repeats 3 --readme`.
"""

import argparse
import json
import os
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
from cpu_time import watch_others
from results_file import RESULTS, write_json
from table import markdown, replace_in_readme

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OWN_PYTHON = Path(sys.executable)
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"

EPOCHS = {"tutorial-mlp": 4, "tutorial-cnn": 2}  # of one child
START_UPS = {
    "misread --help": [OWN_PYTHON.with_name("misread"), "--help"],
    'python -c "import torch"': [OWN_PYTHON, "-c", "import torch"],
}
START_UP_TIMES = 7


@dataclass(frozen=True)
class Contestant:
    """One line of the table: an environment's Python and a script of `peers/` that answers as `contest.py` says."""

    name: str
    python: Path
    script: str
    variables: Mapping[str, str] = field(default_factory=dict)


CONTESTANTS = (
    Contestant("misread", OWN_PYTHON, "misread_peer.py"),
    Contestant("keras-tensorflow", PEERS_PYTHON, "keras_peer.py", {"KERAS_BACKEND": "tensorflow"}),
    Contestant("keras-jax", PEERS_PYTHON, "keras_peer.py", {"KERAS_BACKEND": "jax"}),
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
        say(replace_in_readme(ROOT / "README.md", text))
    return 0


def parse_arguments() -> argparse.Namespace:
    names = [c.name for c in CONTESTANTS]
    parser = argparse.ArgumentParser(description="Time misread and its peers on the same lessons.")
    parser.add_argument("--repeats", type=positive, default=3, help="rounds; every contestant runs once in each")
    parser.add_argument("--recipes", nargs="+", choices=EPOCHS, default=list(EPOCHS), metavar="RECIPE")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--epochs", type=positive, help=f"of each child, in place of {EPOCHS}")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{time.strftime('%Y-%m-%d')}.json", metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md, between its markers")
    parser.add_argument("--table-of", type=Path, metavar="FILE", help="measure nothing; show an earlier results file")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that a results file holds. Raises MisreadError: MNIST cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder) / "mnist.npz")
        return {
            "date": time.strftime("%Y-%m-%d"),
            "machine": measure_machine(),
            "start_up": measure_start_up(),
            "repeats": args.repeats,
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


def measure_machine() -> dict[str, Any]:
    # in a child of its own: torch in this process would raise the peak memory that its children report
    say("the machine")
    script = subprocess.run([OWN_PYTHON, HERE / "machine.py"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(script.stdout)


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


def measure_lessons(args: argparse.Namespace, data: Path) -> Iterator[dict[str, Any]]:
    """One measurement after the other: in every round each contestant once, each round beginning with another."""
    chosen = [c for c in CONTESTANTS if c.name in args.only]
    total = args.repeats * len(args.recipes) * len(chosen)
    done = 0
    for turn in range(args.repeats):
        for recipe in args.recipes:
            for contestant in rotated(chosen, turn):
                epochs = args.epochs or EPOCHS[recipe]
                measured = measure(contestant, recipe, data, epochs, seed=turn)
                done += 1
                say(f"[{done}/{total}] {recipe} {contestant.name}: {in_short(measured)}")
                yield {"round": turn, "recipe": recipe, "contestant": contestant.name, "epochs": epochs, **measured}


def rotated(items: Sequence[Contestant], by: int) -> list[Contestant]:
    start = by % len(items)
    return [*items[start:], *items[:start]]


def measure(contestant: Contestant, recipe: str, data: Path, epochs: int, seed: int) -> dict[str, Any]:
    """What a contestant's child answered, or why it `failed`.

    Seen from outside come `process_seconds`, from the child's start to its exit, and `others_cpu_share`, in [0, 1].
    """
    file = resources.files("misread.training") / "recipes" / f"{recipe}.toml"
    asked = ["--recipe", str(file), "--data", str(data), "--epochs", str(epochs), "--seed", str(seed)]
    command = [str(contestant.python), str(HERE / "peers" / contestant.script), *asked]
    if not contestant.python.exists():
        return {"failed": f"there is no {contestant.python.relative_to(ROOT)}; `make bench` makes it"}
    others_share = watch_others()
    started = time.perf_counter()
    child = subprocess.run(command, env={**os.environ, **contestant.variables}, capture_output=True, text=True)
    outside = {"process_seconds": time.perf_counter() - started, "others_cpu_share": others_share()}
    if child.returncode:
        return {"failed": f"exit status {child.returncode}: {last_line(child.stderr)}"}
    try:
        return {**outside, **json.loads(last_line(child.stdout))}
    except ValueError:
        return {"failed": f"its answer is not JSON: {last_line(child.stdout)}"}


def last_line(text: str) -> str:
    lines = text.strip().splitlines() or ["(nothing)"]
    return lines[-1].replace(f"{ROOT}{os.sep}", "")


def in_short(measured: dict[str, Any]) -> str:
    if "failed" in measured:
        return f"failed: {measured['failed']}"
    epoch = statistics.median(measured["epoch_seconds"])
    return f"median epoch {epoch:.2f} s, whole process {measured['process_seconds']:.2f} s"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
