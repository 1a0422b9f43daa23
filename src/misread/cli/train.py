"""`misread train`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from misread.cli import options
from misread.cli.output import console, print_json, print_lines, warn


def train(
    data: options.Data,
    recipe: options.Recipe = "tutorial-mlp",
    out: options.Out = Path("runs"),
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and dropout.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs to train.", show_default=False)] = None,
    set: options.Set = None,
    labels: options.Labels = None,
    size: options.Size = None,
    strict: options.Strict = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network on DATA and write a run folder."""
    from misread.data.load import load
    from misread.progress import pick_listener
    from misread.runs.train import train as train_run
    from misread.training.recipe import load_recipe

    load_recipe(recipe, set or [])  # a bad recipe is refused before the data is fetched
    images = load(
        data, size=options.parse_size(size), strict=strict, progress=lambda line: None if quiet else warn(line)
    )
    warn(*(f"Skipped: {line}" for line in images.skipped))
    listener = pick_listener(quiet=quiet, console=console(json))
    run = train_run(
        images, recipe, labels=labels, seed=seed, epochs=epochs, settings=set or [], out=out, device=device,
        threads=threads, progress=listener,
    )  # fmt: skip
    if json:
        print_json({"folder": str(run.folder), **run.record.model_dump(mode="json")})
    elif quiet:
        print_lines(str(run.folder))
    else:
        print_lines(*(f"Picture: {path}" for path in sorted((run.folder / "figures").iterdir())))
    if run.record.status == "interrupted":
        sys.exit(1)
