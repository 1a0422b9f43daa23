"""Measurements run in processes of their own, which answer with lines of JSON on standard output."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cpu_time import watch_others

ROOT = Path(__file__).resolve().parent.parent


def answers_of(command: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a child answered, all its lines laid together, or why it `failed`.

    Seen from outside come `process_seconds`, from its start to its first answer, and `others_cpu_share`, in [0, 1],
    while it ran.
    """
    answers: dict[str, Any] = {}
    others_share = watch_others()
    started = time.perf_counter()
    environment = {**os.environ, **(variables or {})}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
    ):
        for line in child.stdout or ():
            if line.startswith("{"):
                answers.setdefault("process_seconds", time.perf_counter() - started)
                answers.update(json.loads(line))
        status = child.wait()
        errors.seek(0)
        said = errors.read()
    if status:
        return {"failed": f"exit status {status}: {last_line(said)}"}
    return {**answers, "others_cpu_share": others_share()}


def last_line(text: str) -> str:
    lines = text.strip().splitlines() or ["(nothing)"]
    return lines[-1].replace(f"{ROOT}{os.sep}", "")


def say(line: str) -> None:
    """Progress, to standard error."""
    print(line, file=sys.stderr, flush=True)
