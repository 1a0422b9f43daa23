"""`misread misreads`."""

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.keras import check_run_options, is_keras, keras_predictions
from misread.cli.output import check_picture_name, print_json, print_lines, print_table, warn, write_file, write_table
from misread.cli.runs import find_run
from misread.errors import MisreadError, RunError

if TYPE_CHECKING:
    from misread.runs.misreads import Misreads

NUMBERS = ("index", "confidence", "rank", "cause_probability")
SHOWN = ("index", "file", "label", "prediction", "confidence", "rank", "cause", "cause_probability", "evidence")


def misreads(
    run: options.Model,
    data: options.ModelData = None,
    grid: Annotated[int, typer.Option(min=1, help="The number of images in the picture.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random choice for the picture.")] = 0,
    most_confident: Annotated[
        bool, typer.Option("--most-confident", help="Show the most confident mistakes, not a random choice.")
    ] = False,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Draw the nearest training images beside each image.")
    ] = False,
    cause: Annotated[
        str | None, typer.Option(help="Only those with this cause, like label-doubtful.", show_default=False)
    ] = None,
    causes: Annotated[bool, typer.Option(help="Find the cause of each mistake; needs the training images.")] = True,
    other: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run on the same data, as evidence for causes; may be repeated.",
                     show_default=False),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture there (PNG or SVG).", show_default=False)] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table there.", show_default=False)] = None,
    split: options.Split = "test",
    scaling: options.Scaling = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """List every misread image with its cause, and draw some of them. The most confident mistake comes first."""
    from misread.analysis.causes import find_cause
    from misread.runs.run import open_run

    check_picture_name(png)
    if neighbours and not png:
        raise RunError("--neighbours is about the picture; name its file with --png.")
    if cause:
        find_cause(cause)  # a wrong name is refused before anything is computed
    if not causes and (cause or neighbours or other):
        raise RunError("--no-causes leaves nothing for --cause, --neighbours or --other to work on; drop one of them.")
    if is_keras(run):
        if other or neighbours:
            raise RunError("--other and --neighbours need a run, which has its training images; this is a Keras model.")
        found = keras_predictions(run, data, split, scaling).misreads
    else:
        check_run_options(data, scaling)
        found = open_run(find_run(run)).predictions(split).misreads
    if causes:
        found = _explained(found, other or [], needed=bool(cause or neighbours or other))
    found = found.with_cause(cause) if cause else found
    written = []
    if csv:
        write_table(csv, found.table)
        written.append(f"Table: {csv}")
    if png:
        shown = found.top(grid) if most_confident else found.sample(grid, seed)
        write_file(png, lambda path: (shown.neighbour_figure() if neighbours else shown.figure()).save(path))
        written.append(f"Picture: {png}, {shown.title}")
    if json:
        print_json(_records(found))
        warn(*written)
        return
    _print_misreads(found)
    if "cause" in found.table and not cause:
        print_lines(*(f"{n:>7,}  {name}" for name, n in found.table["cause"].value_counts().items()))
        print_lines(*filter(None, [found.explanation().advice]))
    print_lines(*written)


def _explained(found: "Misreads", others: list[Path], needed: bool) -> "Misreads":
    """With causes. If they cannot be found and are not needed, the misreads as they are, and a warning."""
    from misread.runs.run import open_run

    try:
        return found.explain(*(open_run(find_run(path)) for path in others))
    except MisreadError as error:
        if needed:
            raise
        warn(f"Without causes: {error}")
        return found


def _print_misreads(found: "Misreads") -> None:
    """The columns `SHOWN`; csv and json have all."""
    columns = [c for c in SHOWN if c in found.table and (c != "file" or found.table["file"].any())]
    lines = found.table[columns].astype({"confidence": float}).itertuples(index=False)
    rows = [[f"{v:.4f}" if isinstance(v, float) else v for v in line] for line in lines]
    print_table(columns, rows, right=[i for i, c in enumerate(columns) if c in NUMBERS])
    print_lines("", found.title)


def _records(found: "Misreads") -> list[dict[Hashable, Any]]:
    """The table's lines; if explained, with the nearest training images of each, which a Keras model has none of."""
    records = found.table.to_dict("records")
    if "cause" not in found.table:
        return records
    near = {index: group.drop(columns="index").to_dict("records") for index, group in found.neighbours.groupby("index")}
    return [{**record, "neighbours": near.get(record["index"], [])} for record in records]
