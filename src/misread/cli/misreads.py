"""`misread misreads`."""

from pathlib import Path
from typing import Annotated

import typer

from misread.cli import options
from misread.cli.output import check_picture_name, print_json, print_lines, print_table, save_picture, warn, write_whole
from misread.cli.runs import find_run


def misreads(
    run: options.RunFolder,
    grid: Annotated[int, typer.Option(min=1, help="How many images the picture shows.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the picture's random choice.")] = 0,
    most_confident: Annotated[
        bool, typer.Option(help="Show the most confident mistakes, not a random choice.")
    ] = False,
    png: Annotated[Path | None, typer.Option(help="Write the picture there (PNG or SVG).", show_default=False)] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table there.", show_default=False)] = None,
    split: options.Split = "test",
    json: options.Json = False,
) -> None:
    """Every misread image, the most confident mistake first; and a picture of some."""
    from misread.runs.run import open_run

    check_picture_name(png)
    found = open_run(find_run(run)).misreads_of(split)
    written = []
    if csv:
        write_whole(csv, lambda path: found.table.to_csv(path, index=False))
        written.append(f"Table: {csv}")
    if png:
        shown = found.top(grid) if most_confident else found.sample(grid, seed)
        save_picture(shown.figure(), png)
        written.append(f"Picture: {png}, {shown.title}")
    if json:
        print_json(found.table.to_dict("records"))
        warn(*written)
        return
    with_files = bool(found.table["file"].any())
    columns = [c for c in found.table.columns if c != "file" or with_files]
    shown_rows = [
        [f"{v:.4f}" if isinstance(v, float) else v for v in row]
        for row in found.table[columns].astype({"confidence": float, "margin": float}).itertuples(index=False)
    ]
    numbers = [i for i, c in enumerate(columns) if c in ("index", "confidence", "margin", "loss")]
    print_table(columns, shown_rows, right=numbers)
    print_lines("", found.title, *written)
