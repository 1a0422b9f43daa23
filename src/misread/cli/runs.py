"""`misread runs`, and the lookup of a RUN argument."""

from pathlib import Path

from misread.cli import options
from misread.cli.output import print_json, print_lines, print_table, warn
from misread.errors import RunError


def runs(out: options.Out = Path("runs"), json: options.Json = False) -> None:
    """List the runs, oldest first."""
    from misread.runs.run_folder import find_runs, find_unfinished, is_running, read_runs

    if not out.is_dir() and out != Path("runs"):
        raise RunError(f"There is no folder {out}. Give the folder of runs with --out.")
    read = read_runs(find_runs(out))
    unfinished = [(folder, "running" if is_running(folder) else "unfinished") for folder in find_unfinished(out)]
    if json:
        print_json(
            [
                {"folder": str(f), "error": str(r)}
                if isinstance(r, RunError)
                else {"folder": str(f), **r.model_dump(mode="json")}
                for f, r in read
            ]
            + [{"folder": str(folder), "status": status} for folder, status in unfinished]
        )
        return
    if not read and not unfinished:
        print_lines(f"No runs in {out} yet. To train one: misread train mnist")
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
    rows += [[folder, "", "", status, "", "", ""] for folder, status in unfinished]
    print_table(["Run", "Data", "Seed", "Status", "Accuracy", "Misread", "Fit s"], rows, right=(2, 4, 5, 6))
    if any(status == "unfinished" for _, status in unfinished):
        print_lines("", "To continue an unfinished training: misread train --resume RUN, or --resume last.")


def find_run(run: Path) -> Path:
    """The folder for a RUN argument: a run folder, a folder in runs/, `last`, or an address on the Hub.

    Raises RunError: there is no run; see also `download_run`.
    """
    from misread.runs.download import download_run
    from misread.runs.hub import hub_address
    from misread.runs.run_folder import RECORD, find_runs

    if address := hub_address(run):
        return download_run(address, warn)
    if str(run) == "last" and not run.exists():
        found = [f for f in find_runs(Path("runs")) if (f / RECORD).is_file()]
        if not found:
            raise RunError("There is no run in runs/ yet. To train one: misread train mnist")
        return max(found, key=lambda f: (f / RECORD).stat().st_mtime)
    if not run.exists() and (Path("runs") / run).is_dir():
        return Path("runs") / run
    return run


def find_unfinished_run(run: Path) -> Path:
    """The folder for --resume: a folder, a folder in runs/, or `last` for the latest unfinished training."""
    from misread.runs.run_folder import (
        CHECKPOINTS,
        PARTIAL,
        find_runs,
        find_unfinished,
        is_resumable,
        is_running,
        read_runs,
    )

    if str(run) == "last" and not run.exists():
        runs = Path("runs")
        found = [f for f in find_unfinished(runs) if not is_running(f)]
        found += [f for f, r in read_runs(find_runs(runs)) if not isinstance(r, RunError)
                  and r.status == "interrupted" and is_resumable(f)]  # fmt: skip
        if not found:
            raise RunError("There is no training in runs/ to resume. `misread runs` lists the existing runs.")
        return max(found, key=lambda f: (f / CHECKPOINTS).stat().st_mtime)
    names = [run, run.with_name(run.name + PARTIAL)]
    return next((f for f in [*names, *(Path("runs") / f for f in names)] if f.is_dir()), run)
