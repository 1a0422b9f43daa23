"""Exports a run to a file for other programs. A file that does not repeat the run's predictions is not written."""

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from misread.errors import ExportError, RunError
from misread.files import replacing, write_bytes, write_text
from misread.lab.classifier import cpu_network
from misread.lab.formats import Format, Limits, find_format
from misread.lab.replay import Replay, replay
from misread.runs import run_folder
from misread.runs.checksums import add_checksums
from misread.runs.run import Run

FOLDER = "export"  # in the run folder
PARITY = "parity.npz"
PARITY_IMAGES, PARITY_BYTES = 100, 2**22


@dataclass(frozen=True)
class Export:
    """A file that was written, and its replay.

    limits: what was allowed.
    stored: whether the predictions that it was compared with are those in the run folder; else the network made them
            again, because the folder has none.
    seconds: for writing the file, without the replay.
    """

    path: Path
    size_bytes: int
    seconds: float
    limits: Limits
    stored: bool
    replay: Replay

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def export(
    run: Run,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    int8: bool = False,
    tolerance: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Export]:
    """Write a run's network as a file that takes images (N, H, W, C) uint8 and gives probabilities (N, K) float32.

    to:        a format of `formats.MODULES`.
    out:       a folder; by default `export` in the run folder. `parity.npz` comes beside the file: some test images
               with the run's predictions, to check the file on another machine, and `checksums.json`.
    int8:      write a second file with 8-bit weights and activations; for ONNX only.
    tolerance: the largest difference of a probability that is allowed, instead of that of the format.
    progress:  called with a line before each step that takes long.
    Each file predicts the whole test split before it gets its name.
    Raises ExportError: it changes a prediction, or a probability by more than the tolerance; nothing was written under
    the file's name. Raises DataError or RunError: a package or the data is missing, or the file cannot be written.
    """
    format, rounded = find_format(to), _int8() if int8 else None
    if rounded and to != "onnx":
        raise RunError(f"--int8 is for --to onnx, not for --to {to}. Leave one of them out.")
    if tolerance is not None:
        if not tolerance > 0:
            raise RunError(f"The tolerance is {tolerance}, but must be above 0.")
        format = replace(format, limits=replace(format.limits, difference=tolerance))
    format.require()
    folder = Path(out) if out is not None else run.place_for(FOLDER)
    say = progress or (lambda line: None)
    network, beside = cpu_network(run), format.beside()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [_write(format, run, network, folder, say)]
        write_bytes(folder / PARITY, _parity(run))
        for name, text in beside.items():
            write_text(folder / name, text)
        add_checksums(folder, [format.file, PARITY, *beside])
        if rounded:
            written.append(_write(rounded, run, network, folder, say))
            add_checksums(folder, [rounded.file])
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}. Choose another with --out.") from None
    return written


def _int8() -> Format:
    from misread.lab.onnx_int8 import FORMAT

    return FORMAT


def _write(format: Format, run: Run, network: nn.Module, folder: Path, say: Callable[[str], None]) -> Export:
    path = folder / format.file
    expected, images = run.predictions(), run.split("test").images
    say(f"Writing {format.file}")
    started = time.perf_counter()
    contents = format.serialise(run, network)
    seconds = time.perf_counter() - started
    with replacing(path) as partial:
        partial.write_bytes(contents)
        say(f"Predicting {len(images):,} test images with {format.file}")
        found = replay(format.read(partial, run), images, expected.labels, expected.probs)
        if not found.within(format.limits):
            raise ExportError(_disagreement(path, format, found, run))
    stored = (run.folder / run_folder.predictions_file("test")).is_file()
    return Export(path, len(contents), seconds, format.limits, stored, found)


def _disagreement(path: Path, format: Format, found: Replay, run: Run) -> str:
    text = f"{format.file} does not repeat the run: {found} ({format.limits}). {path} was not written.\n"
    if format.limits.changed:
        return f"{text}8 bits are too few for this network. The file without --int8 was written."
    device = run.record.environment.device
    elsewhere = f"The run predicted on {device}, which may round differently. " if device != "cpu" else ""
    return (
        f"{text}{elsewhere}Check with `misread evaluate {run.folder}` that the weights are still those of the run; "
        "--tolerance allows a larger difference of probabilities."
    )


def _parity(run: Run) -> bytes:
    """Test images, evenly spaced, with labels, rows and the run's probabilities, as `.npz`."""
    expected, images = run.predictions(), run.split("test").images
    count = max(1, min(PARITY_IMAGES, len(images), PARITY_BYTES // math.prod(images.shape[1:])))
    chosen = np.linspace(0, len(images) - 1, count).astype(int)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, images=np.asarray(images[chosen]), labels=expected.labels[chosen], probs=expected.probs[chosen],
        index=expected.rows[chosen],
    )  # fmt: skip
    return buffer.getvalue()
