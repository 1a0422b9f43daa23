"""The process of a cross-validation: `python -m misread.studio.held_out_process`.

The first line of standard input is the job: data, size (as `load` takes them), folds, seeds and out (as
`cross_val_predict` does). Standard output has JSON objects, one a line: {"done": share of the trainings that are done},
or {"failed": why}. The process ends when its standard input does, for then the server has ended.
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
from misread.studio.training_observer import Send
from misread.training.cross_validation import FoldDone


class Share(FoldProgress):
    """Sends the share of the trainings that are done."""

    def __init__(self, seeds: int, send: Send) -> None:
        super().__init__(Console(quiet=True))
        self.seeds, self.send, self.done = seeds, send, 0

    def on_fold_end(self, fold: FoldDone) -> None:
        super().on_fold_end(fold)
        self.done += 1
        self.send({"done": self.done / (self.seeds * self.trainings)})


def end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)  # at once; what is not complete has another name


def main() -> int:
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what else is printed must not mix with the events

    def send(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    job = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_server, daemon=True).start()
    try:
        data = load(job["data"], size=job["size"])
        out, seeds = Path(job["out"]), job["seeds"]
        cross_val_predict(data, folds=job["folds"], seeds=seeds, out=out, progress=Share(seeds, send))
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
