"""`misread card`."""

from misread.cli import options
from misread.cli.output import print_json, print_lines
from misread.cli.runs import find_run


def card(run: options.RunFolder, json: options.Json = False) -> None:
    """Print the model card of a run, README.md in its folder."""
    from misread.runs.run import open_run
    from misread.runs.run_folder import CARD

    opened = open_run(find_run(run))
    text = opened.card()
    if json:
        print_json({"path": str(opened.folder / CARD), "text": text})
    else:
        print_lines(text.rstrip("\n"))
