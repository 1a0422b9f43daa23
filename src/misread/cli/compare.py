"""`misread compare`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.keras import compared
from misread.cli.output import (
    check_language,
    check_page_name,
    check_picture_name,
    interval_text,
    print_json,
    print_lines,
    print_table,
    warn,
    write_file,
    write_table,
)

if TYPE_CHECKING:
    import pandas as pd

    from misread.runs.comparison import Comparison

LISTED = 10  # lines of each list that are printed; the CSV and the JSON have all


def compare(
    a: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="The run to compare with, or a Keras model.", show_default=False)
    ],
    b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="The run that may be better, or a Keras model.", show_default=False)
    ],
    data: Annotated[str | None, typer.Option(help="The data, if both are Keras models.", show_default=False)] = None,
    split: options.Split = "test",
    scaling: options.Scaling = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Also list the changes in each class.")] = False,
    png: Annotated[
        Path | None, typer.Option(help="Write a picture of both lists (PNG or SVG).", show_default=False)
    ] = None,
    grid: Annotated[int, typer.Option(min=1, help="How many images of each list the picture shows.")] = 16,
    csv: Annotated[
        Path | None, typer.Option(help="Write all changed images to this CSV file.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with every changed image.", show_default=False)
    ] = None,
    lang: Annotated[str, typer.Option(help="Language of the page: en or ko.")] = "en",
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit with 1 if B is less accurate and p is at most --alpha.")
    ] = False,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="For --fail-if-worse; with 1, any lower accuracy fails.")
    ] = 0.05,
    no_new_misreads_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Exit with 1 if B newly misreads an image of this class; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Compare two runs image by image: what B fixes and breaks. Says whether the difference may be chance."""
    from misread.runs.compare import compare as compare_runs

    check_picture_name(png)
    check_page_name(html)
    check_language(lang)
    run_a, run_b = compared(a, b, data, split, scaling)
    found = compare_runs(run_a, run_b, split)
    failures = _failures(found, alpha if fail_if_worse else None, no_new_misreads_of or [])
    written = _write(found, csv, png, grid, html, lang)
    if json:
        print_json({**found.to_dict(), "failures": failures})
        warn(*written)
    else:
        if _trained_on_different_data(run_a, run_b):
            print_lines(f"Note: A and B were trained on different data; their {split} images are the same.")
        _print_comparison(found, per_class)
        if written:
            print_lines("", *written)
    if failures:
        warn(*failures)
        sys.exit(1)


def _write(
    found: "Comparison", csv: Path | None, png: Path | None, grid: int, html: Path | None, lang: str
) -> list[str]:
    """Write the files that are asked for; returns a line for each."""
    written = []
    if csv:
        write_table(csv, found.changes)
        written.append(f"Table: {csv}")
    if png:
        write_file(png, lambda path: found.figure(grid).save(path))
        written.append(f"Picture: {png}")
    if html:
        written.append(f"Page: {found.report(html, language=lang)}")
    return written


def _trained_on_different_data(a: Any, b: Any) -> bool:
    """Whether both are runs, which know what they were trained on, and it differs."""
    from misread.runs.run import Run

    return isinstance(a, Run) and isinstance(b, Run) and a.record.data.fingerprint != b.record.data.fingerprint


def _failures(found: "Comparison", alpha: float | None, classes: list[str]) -> list[str]:
    """The reasons for exit code 1, a sentence each."""
    failures = []
    if alpha is not None and found.is_worse(alpha):
        accuracy_a, accuracy_b = (1 - x.misread.mean() for x in (found.a, found.b))
        failures.append(
            f"Worse: B reads {accuracy_b:.2%} right, A {accuracy_a:.2%}; p = {found.p_value:.2g} is at most {alpha:g}."
        )
    for name in classes:
        new = found.new_misreads_of([name])
        if len(new):
            rows = ", ".join(map(str, new["index"].head(LISTED))) + (", ..." if len(new) > LISTED else "")
            failures.append(f"Newly misread: {len(new):,} images of class {name} (index {rows}).")
    return failures


def _print_comparison(found: "Comparison", per_class: bool) -> None:
    rows = []
    for letter, name, predictions in (("A", found.names[0], found.a), ("B", found.names[1], found.b)):
        m = predictions.metrics()
        interval = interval_text(m["accuracy_low"], m["accuracy_high"])
        rows.append([letter, name, f"{m['accuracy']:.2%}", interval, f"{m['misread']:,}"])
    print_table(["", "Run", "Accuracy", "95% interval", "Misread"], rows, right=(2, 3, 4))
    low, high = found.interval
    print_lines(
        "",
        f"{found.a.title}, {found.n:,} images" if found.a.title == found.b.title else found.title,
        f"Newly broken     {found.n_broken:,}",
        f"Fixed            {found.n_fixed:,}",
        f"Misread by both  {found.n_both_wrong:,}",
        f"B less A         {found.difference:+.2%}  (95% interval {low:+.2%} to {high:+.2%}), "
        f"p = {found.p_value:.2g} (McNemar, exact)",
    )
    if per_class:
        print_lines("")
        header = ["Class", "Images", "Misread by A", "By B", "Newly broken", "Fixed", "B less A"]
        print_table(
            header,
            [
                [c["class"], f"{c['n']:,}", f"{c['misread_a']:,}", f"{c['misread_b']:,}", f"{c['broken']:,}",
                 f"{c['fixed']:,}", "" if c["difference"] is None else f"{c['difference']:+.2%}"]
                for c in found.to_dict()["per_class"]
            ],
            right=range(1, 7),
        )  # fmt: skip
    _print_list("Newly broken", found.broken)
    _print_list("Fixed", found.fixed)


def _print_list(what: str, table: "pd.DataFrame") -> None:
    if table.empty:
        return
    count = f"{len(table):,}" if len(table) <= LISTED else f"{LISTED} of {len(table):,}; --csv and --json have all"
    print_lines("", f"{what} ({count})")
    with_files = bool(table["file"].any())
    columns = [c for c in table.columns if c != "change" and (c != "file" or with_files)]
    rows = [
        [f"{v:.4f}" if isinstance(v, float) else v for v in row]
        for row in table[columns]
        .head(LISTED)
        .astype({"confidence_a": float, "confidence_b": float})
        .itertuples(index=False)
    ]
    numbers = [i for i, c in enumerate(columns) if c == "index" or c.startswith("confidence")]
    print_table(columns, rows, right=numbers)
