"""A studio in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import misread


@dataclass
class Studio:
    """A studio that runs. url: with its token. folder: of its runs."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def origin(self) -> str:
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.url))

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.communicate(timeout=60)
        return self.process.returncode


def start_studio(folder: Path, *arguments: object, home: Path | None = None) -> Studio:
    """`misread studio` over the runs in a folder, on a free port unless --port is given. home: for its cache."""
    home = home or folder.parent / "home"
    command = [sys.executable, "-m", "misread", "studio", *map(str, arguments), "--no-browser", "--json"]
    if not {"--port", "--out"} & set(map(str, arguments)):
        command += ["--port", "0"]
    if "--out" not in arguments:
        command += ["--out", str(folder)]
    environment = {
        **os.environ, "HOME": str(home), "MISREAD_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(misread.__file__).parents[1]),  # the package under test, from any folder
    }  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder.parent)
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return Studio(json.loads(text)["url"], folder, process)
    raise AssertionError(f"misread studio did not start: exit code {process.wait()}")
