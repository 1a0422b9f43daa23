"""`misread summary`."""

from typing import Annotated

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines


def summary(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's name or a TOML file.", show_default=False)
    ],
    shape: Annotated[str, typer.Option(help="Height x width x channels of the images.")] = "28x28x1",
    classes: Annotated[int, typer.Option(min=2, help="How many classes the data has.")] = 10,
    set: options.Set = None,
    json: options.Json = False,
) -> None:
    """Print a network's layers, their output shapes and parameters."""
    from misread.errors import RecipeError
    from misread.models.summary import summarise
    from misread.training.networks import recipe_network
    from misread.training.recipe import load_recipe

    parts = shape.lower().split("x")
    if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise RecipeError(f"The shape {shape!r} is not of the form 28x28x1 (height x width x channels).")
    height, width, channels = map(int, parts)
    image_shape = (height, width, channels)
    resolved = load_recipe(recipe, set or [])
    if not resolved.layers:
        raise RecipeError(f"The recipe {resolved.name!r} has no layers.")
    table = summarise(recipe_network(resolved, image_shape, classes), image_shape)
    if json:
        print_json(table.to_dict())
    else:
        print_lines(str(table))
