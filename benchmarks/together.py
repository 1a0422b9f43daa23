"""Several trainings at once on one machine, beside the same trainings one after another.

Run it as `.venv/bin/python benchmarks/together.py --readme`.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from children import say
from misread.runs.record import this_environment
from results_file import RESULTS, write_json
from table import replace_in_readme, spread

HERE = Path(__file__).resolve().parent
MISREAD = Path(sys.executable).with_name("misread")


def main() -> int:
    args = parse_arguments()
    rounds = []
    for turn in range(args.repeats):
        measured = {}
        for name, at_once in (("apart", 1), ("together", args.count))[:: -1 if turn % 2 else 1]:
            measured[name] = wall_seconds(args, at_once)
        rounds.append(measured)
        say(f"[{turn + 1}/{args.repeats}] apart {measured['apart']:.2f} s, together {measured['together']:.2f} s")
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "recipe": args.recipe,
        "epochs": args.epochs,
        "count": args.count,
        "rounds": rounds,
        "environment": this_environment(args.threads, "cpu").model_dump(),
    }
    write_json(args.out, results)
    text = sentence(results)
    print(text)
    if args.readme:
        say(replace_in_readme(HERE / "README.md", "together", text))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trainings at once beside the same trainings one after another.")
    parser.add_argument("recipe", nargs="?", default="tutorial-mlp")
    parser.add_argument("--count", type=int, default=4, help="trainings")
    parser.add_argument("--threads", type=int, default=2, help="of each training")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"together-{time.strftime('%Y-%m-%d')}.json", metavar="FILE"
    )
    parser.add_argument("--readme", action="store_true", help="put the sentence into benchmarks/README.md")
    return parser.parse_args()


def wall_seconds(args: argparse.Namespace, at_once: int) -> float:
    """Of all trainings, whole commands, so many of them running at a time."""
    with tempfile.TemporaryDirectory() as out:
        options = ["--epochs", str(args.epochs), "--threads", str(args.threads), "--out", out, "--quiet"]
        command = [MISREAD, "train", "mnist", "--recipe", args.recipe, *options]
        started = time.perf_counter()
        for _ in range(args.count // at_once):
            children = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(at_once)]
            if any([child.wait() for child in children]):  # noqa: C419  all are waited for
                raise SystemExit(f"a training failed: {' '.join(map(str, command))}")
        return time.perf_counter() - started


def sentence(results: dict[str, Any]) -> str:
    rounds, machine = results["rounds"], results["environment"]
    ratios = [r["together"] / r["apart"] for r in rounds]
    apart, together = (statistics.median(r[key] for r in rounds) for key in ("apart", "together"))
    return (
        f"Measured {results['date']} on {machine['cpu']}, {machine['cores']} cores: {results['count']} trainings at "
        f"once (`{results['recipe']}`, {results['epochs']} epochs, {machine['threads']} threads each, whole commands) "
        f"take {spread(ratios, '{:.2f}')} times as long as one after another, in {len(rounds)} rounds; "
        f"medians {together:.1f} and {apart:.1f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
