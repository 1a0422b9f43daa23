"""`misread sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from misread.cli import options
from misread.cli.load_data import load_data
from misread.cli.output import console, print_json, print_lines, warn


def sweep(
    data: options.Data,
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="A recipe with a table [search].", show_default=False)
    ],
    trials: Annotated[int, typer.Option(help="Trials of the whole sweep.")] = 50,
    sampler: Annotated[
        str, typer.Option(help="tpe: draw values by earlier results, and stop poor trials; or random.")
    ] = "tpe",
    seconds: Annotated[
        float | None, typer.Option(help="Begin no trial after this many seconds.", show_default=False)
    ] = None,
    workers: options.Workers = 1,
    ray: options.Ray = None,
    set: options.Set = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the sweep; one that has it is continued. [default: sweeps/RECIPE]",
                     show_default=False),
    ] = None,
    size: options.Size = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Search a recipe's settings, choosing by validation. The best recipe is scored on the test split."""
    from misread.lab.search_space import read_search_space
    from misread.lab.sweep import PICTURE
    from misread.lab.sweep import sweep as run_sweep
    from misread.lab.sweep_progress import SweepProgress
    from misread.training.recipe import parse_settings

    space = read_search_space(recipe, parse_settings(set or []))
    does = options.trainers(workers, ray)
    found = run_sweep(
        load_data(data, quiet, size), space, trials=trials, sampler=sampler, seconds=seconds, workers=does,
        out=out or Path("sweeps") / recipe.stem, device=device, threads=threads,
        progress=False if quiet else SweepProgress(console(json)),
    )  # fmt: skip
    if json:
        print_json(found.to_dict())
        return
    print_lines(str(found), f"Run: {found.run.folder}", f"Recipe: {found.folder / 'best.toml'}",
                f"Picture: {found.folder / PICTURE}")  # fmt: skip
    if found.times_scored > 1:
        warn(
            f"{found.times_scored} recipes of this sweep have been scored on the test split, because it was continued."
        )
