"""`misread demo`."""

import shutil
import sys
from pathlib import Path

from misread.cli import options
from misread.cli.output import console, print_lines, warn


def demo(out: options.Out = Path("runs"), threads: options.Threads = None) -> None:
    """Run the lesson: train its MLP, and draw what it misread.

    The data is MNIST, or the embedded digits if MNIST is unavailable.
    """
    from misread.data.load import load
    from misread.errors import DataError
    from misread.runs.progress import pick_progress
    from misread.runs.train import train

    try:
        data = load("mnist", progress=lambda line: warn(line))
        print_lines(f"Training on the real MNIST, from {data.location}.", "")
    except DataError as error:
        warn(str(error))
        data = load("digits")
        print_lines(
            "Training on the embedded digits (1,797 images, scikit-learn's), because MNIST is not available "
            "(see the message above).", "",
        )  # fmt: skip
    run = train(data, "tutorial-mlp", out=out, threads=threads, progress=pick_progress(console=console()))
    print_lines("", "Pictures to look at:", *(f"  {path}" for path in sorted((run.folder / "figures").iterdir())))
    misread = _command()
    print_lines(
        "", "Next, why each of them was misread, and everything else, on one page:", f"  {misread} report {run.folder}",
        "Or draw a digit, see it read, and look inside this network, in the browser:",
        f"  {misread} studio {run.folder}",
    )  # fmt: skip


def _command() -> str:
    """What to type in place of `misread` if the shell would not find it, as after `make demo`."""
    if shutil.which("misread"):
        return "misread"
    return sys.argv[0] if Path(sys.argv[0]).name == "misread" else f"{sys.executable} -m misread"
