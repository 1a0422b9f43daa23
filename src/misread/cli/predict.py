"""`misread predict`."""

import csv as csv_module
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.output import as_text, print_json, print_lines, print_table, warn, write_file
from misread.cli.predict_shards import predict_shards
from misread.cli.runs import find_run
from misread.errors import DataError
from misread.ray_cluster import RayCluster

if TYPE_CHECKING:
    from misread.runs.array_run import ArrayRun
    from misread.runs.stored_run import StoredRun

TOP = 3  # classes that are named for each picture


def predict(
    run: options.RunFolder,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Photographs, scans or drawings, or folders of them. With --out: shards."),
    ],
    csv: Annotated[
        Path | None, typer.Option(help="Write a table there, instead of printing it.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Predict shards (tar, Parquet, .npy, IDX, folders, lists) into Parquet files in this folder. "
            "The same command again continues.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="With --out: local processes; by default the number of cores.", show_default=False),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="With --out: do only part K of N, counted from 0. By default from RANK and "
            "WORLD_SIZE, a Slurm array or an indexed Kubernetes job, if they are set.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        RayCluster | None,
        typer.Option(
            parser=options.quiet_ray,
            metavar="ADDRESS",
            help="With --out: by this Ray cluster, or 'auto' or 'local'.",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="With --out: keep the probabilities of all classes.")
    ] = False,
    shard_size: Annotated[
        int | None,
        typer.Option(
            help="With --out: images in a shard of an array, a folder or a list; by default 10,000.", show_default=False
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="With --out: only write job.json, once for all parts.")] = False,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Classify picture files, or with --out whole shards. Prints the three most probable classes of each picture."""
    if out is not None:
        if csv is not None:
            raise DataError("--csv and --out cannot be combined: the predictions of shards are Parquet files.")
        predict_shards(
            find_run(run), images, out, device=device, workers=workers, part=part, ray=ray,
            probabilities=probabilities, shard_size=shard_size, plan=plan, quiet=quiet, json=json,
        )  # fmt: skip
        return
    asked = {"--workers": workers, "--part": part, "--ray": ray, "--probabilities": probabilities,
             "--shard-size": shard_size, "--plan": plan}  # fmt: skip
    if needless := ", ".join(name for name, value in asked.items() if value):
        raise DataError(f"{needless}: only with --out, the folder for the predictions of shards.")
    if _predict_pictures(find_run(run), [Path(image) for image in images], csv, device, quiet, json):
        sys.exit(1)


def _predict_pictures(run: Path, images: Sequence[Path], csv: Path | None, device: str, quiet: bool, json: bool) -> int:
    """Print the predictions of picture files, or write them as CSV; how many files could not be read."""
    from misread.runs.array_run import open_to_predict

    opened = open_to_predict(run, device)
    results = _results(opened, _paths(images), quiet)
    if csv is None:
        return _print(list(results), json)
    counts = _write_csv(csv, results, min(TOP, len(opened.record.data.class_names)))
    if json:
        print_json({"csv": str(csv), **counts})
    else:
        print_lines(f"Table: {csv}, {counts['pictures']:,} pictures, {counts['errors']:,} that could not be read")
    return counts["errors"]


def _paths(given: Sequence[Path]) -> list[str]:
    """The files given, and all pictures in the folders given. Raises DataError: a folder has none."""
    from misread.data.picture_files import scan_pictures

    paths: list[str] = []
    for path in given:
        if path.is_dir():
            found = scan_pictures(path)
            if not found:
                raise DataError(f"{path} has no pictures. Name a folder that has some, or the files.")
            paths += [os.path.join(path, file.name) for file in found]
        else:
            paths.append(str(path))
    return paths


def _results(run: "ArrayRun | StoredRun", paths: list[str], quiet: bool) -> Iterator[dict[str, Any]]:
    """What `--json` prints of each file; progress is shown on the way."""
    import numpy as np

    from misread.data.load_progress import CountProgress
    from misread.runs.predict_files import predict_files

    names = run.record.data.class_names
    count = CountProgress("predicting", len(paths), None if quiet else warn)
    with count as progress, closing(predict_files(run, paths)) as predictions:
        for done, (path, found) in enumerate(predictions, 1):
            if isinstance(found, str):
                yield {"file": path, "error": found}
            else:
                ranked = np.argsort(-found, kind="stable")[:TOP]
                top = [{"class": names[k], "probability": float(found[k])} for k in ranked]
                yield {"file": path, "label": names[ranked[0]], "top": top}
            progress.show(done)


def _print(results: list[dict[str, Any]], json: bool) -> int:
    """Print all results; how many are errors."""
    errors = [r["error"] for r in results if "error" in r]
    if json:
        print_json(results)
        return len(errors)
    rows = [
        [r["file"], r["label"], "  ".join(f"{t['class']} {t['probability']:.1%}" for t in r["top"])]
        for r in results
        if "error" not in r
    ]
    if rows:
        print_table(["File", "Label", "Top 3"], rows)
    warn(*(f"Error: {error}" for error in errors))
    return len(errors)


def _write_csv(path: Path, results: Iterator[dict[str, Any]], top: int) -> dict[str, int]:
    """Write a line for each result as it comes; how many there were, and how many are errors."""
    counts = {"pictures": 0, "errors": 0}
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]

    def write(partial: Path) -> None:
        # a file name may have bytes that are no UTF-8
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv_module.writer(file)
            writer.writerow(
                ["file", *(f"{kind}{rank}" for rank in ranks for kind in ("label", "probability")), "error"]
            )
            for result in results:
                best = [
                    cell for t in result.get("top", ()) for cell in (as_text(t["class"]), f"{t['probability']:.6f}")
                ]
                cells = best or [""] * (2 * top)
                writer.writerow([as_text(result["file"]), *cells, as_text(result.get("error", ""))])
                counts["pictures"] += 1
                counts["errors"] += "error" in result

    write_file(path, write)
    return counts
