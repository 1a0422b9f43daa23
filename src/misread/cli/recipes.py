"""`misread recipes`."""

from typing import Annotated

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines, print_table


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this recipe as TOML.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """List the recipes, or print one to start your own from."""
    from misread.training.recipe import load_recipe, recipe_names

    if name is not None:
        recipe = load_recipe(name)
        if json:
            print_json(recipe.model_dump(mode="json"))
        else:
            print_lines(recipe.to_toml().rstrip())
        return
    known = [load_recipe(n) for n in recipe_names()]
    if json:
        print_json([recipe.model_dump(mode="json") for recipe in known])
        return
    rows = [[r.name, r.epochs, r.batch_size, r.description] for r in known]
    print_table(["Recipe", "Epochs", "Batch", "What it is"], rows, right=(1, 2))
