"""`misread train`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misread.cli import options
from misread.cli.output import console, print_json, print_lines, print_table, warn

if TYPE_CHECKING:
    from misread.runs.seeds import SeedRuns


def train(
    data: options.Data,
    recipe: options.Recipe = "tutorial-mlp",
    out: options.Out = Path("runs"),
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and dropout.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs to train.", show_default=False)] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Train so many seconds, in place of epochs.", show_default=False)
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="End with the first epoch of this validation accuracy, like 0.99.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Train so often, each with its own seed.", show_default=False)
    ] = None,
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
    from misread.runs.seeds import train_seeds
    from misread.runs.train import train as train_run
    from misread.training.recipe import load_recipe

    asked = {"seconds": seconds, "target_accuracy": target}
    settings = [*(set or []), *(f"{key}={value}" for key, value in asked.items() if value is not None)]
    load_recipe(recipe, settings)  # a bad recipe is refused before the data is fetched
    images = load(data, size=options.parse_size(size), strict=strict, progress=None if quiet else warn)
    warn(*(f"Skipped: {line}" for line in images.skipped))
    listener = pick_listener(quiet=quiet, console=console(json))
    if seeds is not None:
        several = train_seeds(
            images, recipe, seeds=seeds, labels=labels, seed=seed, epochs=epochs, settings=settings, out=out,
            device=device, threads=threads, progress=listener,
        )  # fmt: skip
        _print_seeds(several, quiet, json)
        sys.exit(1 if several.interrupted else 0)
    run = train_run(
        images, recipe, labels=labels, seed=seed, epochs=epochs, settings=settings, out=out, device=device,
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


def _print_seeds(several: "SeedRuns", quiet: bool, json: bool) -> None:
    if json:
        print_json(several.to_dict())
        return
    if quiet:
        print_lines(*(str(run.folder) for run in several.runs))
        return
    print_lines("")
    print_table(
        ("seed", "test accuracy", "misread", "fit seconds", "status", "run"),
        [
            (r.record.seed, f"{r.metrics['test']['accuracy']:.2%}", f"{r.metrics['test']['misread']:,}",
             f"{r.record.timing.fit_seconds:.2f}", r.record.status, r.folder)
            for r in several.runs
        ],
        right=(0, 1, 2, 3),
    )  # fmt: skip
    print_lines("", str(several))
