"""How many small faults the tests do not notice: a mutation run by mutmut over a random sample of mutants.

Run it as `.venv/bin/python benchmarks/mutants.py`, from anywhere. It prints the table and the surviving mutants.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name, orig_function_and_class_names_from_key

from children import say
from misread.analysis.intervals import wilson_interval

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("analysis", "training")
KILLED = ("killed", "timeout", "segfault", "suspicious")  # the tests failed, hung or crashed; else they passed


@dataclass(frozen=True)
class Mutant:
    name: str  # mutmut's
    path: Path  # of the source file, from the root

    @property
    def package(self) -> str:
        return self.path.parent.name


def main() -> int:
    args = parse_arguments()
    os.chdir(ROOT)  # mutmut works in the current folder
    mutants = {package: mutants_of(package) for package in args.packages}
    sample = [m for ms in mutants.values() for m in systematic_sample(ms, args.size, args.seed)]
    say(f"{len(sample)} of {sum(map(len, mutants.values())):,} mutants")
    run_mutmut([m.name for m in sample], args.workers)
    statuses = statuses_of(sample)
    print(f"Seed {args.seed}.\n\n{table(mutants, statuses)}\n\n{survivors(statuses)}")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The share of a random sample of mutants that survive the tests.")
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE", help="of src/misread")
    parser.add_argument("--size", type=int, default=120, help="mutants for each package (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="mutants tested at once")
    return parser.parse_args()


def mutants_of(package: str) -> list[Mutant]:
    """All mutants of a package that mutmut knows, file by file."""
    return [
        Mutant(get_mutant_name(path, name), path)
        for path in sorted(Path("src/misread", package).glob("*.py"))
        for name in mutate_file_contents(str(path), path.read_text()).mutant_names
    ]


def systematic_sample(mutants: list[Mutant], size: int, seed: int) -> list[Mutant]:
    """Every n-th mutant from a random start: each file has its share of the sample, and each mutant the same chance."""
    size = min(size, len(mutants))
    start = random.Random(seed).random()
    return [mutants[int((i + start) * len(mutants) / size)] for i in range(size)]


def run_mutmut(names: list[str], workers: int) -> None:
    """Run the tests against each of these mutants. mutmut leaves the results in the folder `mutants`."""
    shutil.rmtree("mutants", ignore_errors=True)  # mutmut does not notice that a file without mutants has changed
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # the workers already share the cores
    environment.pop("MISREAD_DATA", None)  # the same tests on every machine, with and without the real MNIST
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(workers), *names]
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def statuses_of(sample: list[Mutant]) -> dict[Mutant, str]:
    """What became of each mutant, in mutmut's words."""
    exit_codes = {}
    for path in {m.path for m in sample}:
        data = SourceFileMutationData(path=path)
        data.load()
        exit_codes.update(data.exit_code_by_key)
    return {m: status_by_exit_code[exit_codes[m.name]] for m in sample}


def table(mutants: dict[str, list[Mutant]], statuses: dict[Mutant, str]) -> str:
    """A line for each package. The interval is Wilson's; it ignores that the sample is spread over the files."""
    lines = [
        "| package | mutants | tried | survived | share, 95% interval | of these, no test |",
        "|---|--:|--:|--:|---|--:|",
    ]
    for package, every in mutants.items():
        found = Counter(status for mutant, status in statuses.items() if mutant.package == package)
        n = found.total()
        survived = n - sum(found[status] for status in KILLED)
        low, high = wilson_interval(survived, n)
        share = f"{survived / n:.1%} ({low:.1%} to {high:.1%})"
        lines.append(f"| {package} | {len(every):,} | {n} | {survived} | {share} | {found['no tests']} |")
    return "\n".join(lines)


def survivors(statuses: dict[Mutant, str]) -> str:
    """The place of each surviving mutant and its changed lines."""
    return "\n\n".join(
        f"{place(m)} ({status}, {m.name})\n" + "\n".join(changed_lines(m))
        for m, status in sorted(statuses.items(), key=lambda item: item[0].name)
        if status not in KILLED
    )


def changed_lines(mutant: Mutant) -> list[str]:
    diff = get_diff_for_mutant(mutant.name, path=mutant.path).splitlines()
    return [line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def place(mutant: Mutant) -> str:
    """`file:line` of the first line that the mutant changes."""
    source = mutant.path.read_text()
    name, class_name = orig_function_and_class_names_from_key(mutant.name)
    scope: Any = ast.parse(source)
    for part in filter(None, (class_name, name)):
        scope = next(node for node in scope.body if getattr(node, "name", None) == part)
    lines = [line.strip() for line in source.splitlines()]
    changed = next(line[1:].strip() for line in changed_lines(mutant) if line.startswith("-"))
    return f"{mutant.path}:{lines.index(changed, scope.lineno - 1) + 1}"


if __name__ == "__main__":
    sys.exit(main())
