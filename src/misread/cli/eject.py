"""`misread eject`."""

from pathlib import Path
from typing import Annotated

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines
from misread.cli.runs import find_run


def eject(
    run: options.RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="The script; RUN/eject/train.py by default.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Write one PyTorch script that trains the run's network again. The script does not need misread."""
    from misread.lab.eject import eject as write
    from misread.runs.run import open_run

    path = write(open_run(find_run(run), device="cpu"), out)
    if json:
        print_json({"path": str(path), "size_bytes": path.stat().st_size})
    else:
        print_lines(f"{path} ({path.stat().st_size / 1e3:.1f} kB). Run it: python {path}")
