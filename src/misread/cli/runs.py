"""`misread runs`, and the look-up of a RUN argument."""

from pathlib import Path

from misread.cli import options
from misread.cli.output import print_json, print_lines, print_table
from misread.errors import RunError


def runs(out: options.Out = Path("runs"), json: options.Json = False) -> None:
    """List the runs, oldest first."""
    from misread.runs.run import read_runs
    from misread.runs.run_folder import find_runs

    if not out.is_dir() and out != Path("runs"):
        raise RunError(f"There is no folder {out}.")
    read = read_runs(find_runs(out))
    if json:
        print_json(
            [
                {"folder": str(f), "error": str(r)}
                if isinstance(r, RunError)
                else {"folder": str(f), **r.model_dump(mode="json")}
                for f, r in read
            ]
        )
        return
    if not read:
        print_lines(f"No runs in {out} yet. Make one: misread train mnist")
        return
    rows = []
    for folder, record in read:
        if isinstance(record, RunError):
            rows.append([folder, "", "", "unreadable", "", "", ""])
            continue
        test = record.metrics["test"]
        rows.append(
            [
                folder, record.data.name, record.seed, record.status, f"{test['accuracy']:.2%}",
                f"{test['misread']:,} of {test['n']:,}", f"{record.timing.fit_seconds:.2f}",
            ]
        )  # fmt: skip
    print_table(["Run", "Data", "Seed", "Status", "Accuracy", "Misread", "Fit s"], rows, right=(2, 4, 5, 6))


def find_run(run: Path) -> Path:
    """The folder for a RUN argument: a run folder, one under runs/, or `last`. Raises RunError: there is no run."""
    from misread.runs.run_folder import RECORD, find_runs

    if str(run) == "last" and not run.exists():
        whole = [f for f in find_runs(Path("runs")) if (f / RECORD).is_file()]
        if not whole:
            raise RunError("There is no run in runs/ yet. Make one: misread train mnist")
        return max(whole, key=lambda f: (f / RECORD).stat().st_mtime)
    if not run.exists() and (Path("runs") / run).is_dir():
        return Path("runs") / run
    return run
