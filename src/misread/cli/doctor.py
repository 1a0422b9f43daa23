"""`misread doctor`."""

from typing import Annotated, Any

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines


def doctor(
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Leave out the speed check of about a second.")] = False,
    json: options.Json = False,
) -> None:
    """Show what this machine offers, and what slows training.

    Kernels, threads, PyTorch, data, caches, extras, speed, problems.
    """
    from misread.lab.doctor import diagnose
    from misread.lab.speed import check_speed

    found = diagnose(speed=None if no_speed else check_speed)
    if json:
        print_json(found.to_dict())
        return
    for section, values in found.sections.items():
        if values:
            width = max(map(len, values))
            print_lines(section, *(f"  {name:<{width}}  {_text(name, value)}" for name, value in values.items()))
    print_lines("", *([f"Warning: {warning}" for warning in found.warnings] or ["Nothing to mend was found."]))


def _text(name: str, value: Any) -> str:
    """A value for people. Numbers of bytes are told by the name."""
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.1f} MB"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(key, inner)}" for key, inner in value.items() if inner != [])
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return str(value)
