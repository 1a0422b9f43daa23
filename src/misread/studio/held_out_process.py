"""The process of a cross-validation: `python -m misread.studio.held_out_process`.

The first line of standard input is the job: the arguments of `cross_val_predict`, and the size of the images. Standard
output has JSON objects, one a line: {"done": share of the trainings that are done}, or {"failed": why}. The process ends
when its standard input does, for then the server has ended.
"""

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console

from misread.data.load import load
from misread.errors import MisreadError
from misread.runs.held_out import cross_val_predict
from misread.runs.progress import FoldProgress
from misread.training.cross_validation import FoldDone


class Share(FoldProgress):
    """Sends the share of the trainings that are done."""

    def __init__(self, seeds: int) -> None:
        super().__init__(Console(quiet=True))
        self.seeds, self.done = seeds, 0

    def on_fold_end(self, fold: FoldDone) -> None:
        super().on_fold_end(fold)
        self.done += 1
        send({"done": self.done / (self.seeds * self.trainings)})


def send(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)  # at once; what is not complete has another name


def main() -> int:
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_server, daemon=True).start()
    try:
        data = load(job["data"], size=job["size"])
        out, seeds = Path(job["out"]), job["seeds"]
        cross_val_predict(data, folds=job["folds"], seeds=seeds, out=out, progress=Share(seeds))
    except MisreadError as error:
        send({"failed": str(error)})
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        send({"failed": f"{type(error).__name__}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())  # the thread that reads never ends by itself
