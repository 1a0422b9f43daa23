"""`misread predict`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from misread.cli import options
from misread.cli.output import print_json, print_table, warn
from misread.cli.runs import find_run
from misread.errors import DataError


def predict(
    run: options.RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photographs, scans or drawings.")],
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Classify picture files: prints the three most probable classes of each."""
    from misread.runs.run import open_run

    opened = open_run(find_run(run), device=device)
    opened.network  # noqa: B018  a run that cannot predict says so once, not for every file
    results: list[dict[str, Any]] = []
    failed = False
    for path in images:
        try:
            ranked = opened.predict_file(path)[:3]
        except DataError as error:
            failed = True
            results.append({"file": str(path), "error": str(error)})
            continue
        top = [{"class": name, "probability": p} for name, p in ranked]
        results.append({"file": str(path), "label": ranked[0][0], "top": top})
    if json:
        print_json(results)
    else:
        rows = [
            [r["file"], r["label"], "  ".join(f"{t['class']} {t['probability']:.1%}" for t in r["top"])]
            for r in results
            if "error" not in r
        ]
        if rows:
            print_table(["File", "Label", "Top 3"], rows)
        warn(*(f"Error: {r['error']}" for r in results if "error" in r))
    if failed:
        sys.exit(1)
