"""`misread reproduce`."""

import sys

from misread.cli import options
from misread.cli.output import console, print_json, print_lines
from misread.cli.runs import find_run


def reproduce(run: options.RunFolder, quiet: options.Quiet = False, json: options.Json = False) -> None:
    """Train a run again from its folder, and compare the results. The exit code is 1 if they differ."""
    from misread.runs.progress import pick_progress
    from misread.runs.reproduce import reproduce as train_again

    result = train_again(find_run(run), progress=pick_progress(quiet=quiet, console=console(json)))
    if json:
        print_json(result.to_dict())
    else:
        print_lines(str(result))
    if not result.exact:
        sys.exit(1)
