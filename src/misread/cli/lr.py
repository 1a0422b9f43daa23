"""`misread lr`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from misread.cli import options
from misread.cli.load_data import load_data
from misread.cli.output import check_picture_name, print_json, print_lines, progress_bar, write_file


def lr(
    data: options.Data,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="A recipe's name or a TOML file; chosen as by train.", show_default=False),
    ] = None,
    low: Annotated[float, typer.Option(help="The first learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last learning rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 200,
    set: options.Set = None,
    out: Annotated[Path, typer.Option(help="The picture, .png or .svg.")] = Path("learning-rate.png"),
    size: options.Size = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Suggest a learning rate by a short range test.

    It trains for some steps while the rate grows, and looks at the training loss.
    """
    from misread.lab.learning_rate import find_learning_rate
    from misread.training.auto_recipe import named_recipe
    from misread.training.recipe import parse_settings

    check_picture_name(out)
    settings = parse_settings(set or [])
    named = named_recipe(recipe, settings)
    images = load_data(data, quiet, size)
    with progress_bar("Range test", steps, quiet) as show:
        found = find_learning_rate(
            images, named, settings=settings, low=low, high=high, steps=steps, device=device, threads=threads,
            progress=show,
        )  # fmt: skip
    write_file(out, found.figure().save)
    if json:
        print_json({**found.to_dict(), "picture": str(out)})
        return
    given = [*(["--recipe", recipe] if recipe else []), *(part for setting in set or [] for part in ("--set", setting)),
             *(["--size", size] if size else [])]  # fmt: skip
    command = shlex.join(["misread", "train", data, *given, "--set", f"optimizer.learning_rate={found.suggestion:.2g}"])
    print_lines(str(found), f"Try it: {command}", f"Picture: {out}")
