"""The run folder: its name ends in `.partial` until the run is complete. `run.json` is written last."""

import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from misread.errors import RunError, TrainingError
from misread.names import nearest
from misread.runs.record import FORMAT, RunRecord

RECORD, RECIPE, HISTORY, WEIGHTS = "run.json", "recipe.toml", "history.csv", "model.safetensors"
SPLITS, FIGURES = "splits.npz", "figures"
LABEL_PATCH = "labels.jsonl"
REPORT = "report.html"
CARD = "README.md"
CHECKPOINTS = "checkpoints"  # a folder: the states of a training and its initial conditions
START = "start.json"  # in CHECKPOINTS
PARTIAL = ".partial"
SPARE_BYTES = 32 * 1024 * 1024  # for predictions, tables and figures, in addition to the weights


def predictions_file(split: str) -> str:
    return f"predictions-{split}.npz"


def misreads_file(split: str) -> str:
    return f"misreads-{split}.csv"


class RunFolder:
    """A run folder that is being written. `path` is its current path: first the partial name, then the final one."""

    def __init__(self, path: Path) -> None:
        self.path = path


@contextmanager
def new_run_folder(out: Path, name: str, model_bytes: int) -> Iterator[RunFolder]:
    """Create a partial run folder. It is renamed to `out/name` when the block succeeds; see `writing`.

    Raises RunError: `out` cannot be written, or the disk has too little space.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
        if free < model_bytes + SPARE_BYTES:
            needed = (model_bytes + SPARE_BYTES) / 1e6
            raise RunError(
                f"{out} has {free / 1e6:,.0f} MB free, but a run needs about {needed:,.0f} MB. "
                "Free some space, or use --out."
            )
        partial = _make_partial(out, name)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}. Choose another folder with --out.") from None
    with writing(partial) as folder:
        yield folder


def _make_partial(out: Path, name: str) -> Path:
    for path in numbered(out, name, PARTIAL):
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("unreachable: the numbers never end")


def numbered(out: Path, name: str, suffix: str = "") -> Iterator[Path]:
    """Numbered names, because two trainings may start or end in the same second."""
    for number in itertools.count(1):
        yield out / f"{name if number == 1 else f'{name}-{number}'}{suffix}"


@contextmanager
def writing(partial: Path) -> Iterator[RunFolder]:
    """Write into a partial run folder. It gets its final name when the block succeeds.

    If the block fails, the folder stays if it has a checkpoint or weights, or was resumable before. Otherwise, and
    after a TrainingError, it is removed.
    Raises RunError: another process is writing into it, or writing failed; the message names a folder that was kept.
    """
    with _locked(partial):
        begun = is_resumable(partial)
        try:
            folder = RunFolder(partial)
            yield folder
            folder.path = _rename(partial)
        except OSError as error:
            removed = not begun and _remove_if_empty(partial)
            raise _write_error(partial, error, removed) from None
        except BaseException as error:
            if isinstance(error, TrainingError):
                shutil.rmtree(partial, ignore_errors=True)
            if not begun:
                _remove_if_empty(partial)
            raise


def _write_error(partial: Path, error: OSError, removed: bool) -> RunError:
    where = "Nothing was written." if removed else f"The files written so far are in {partial}."
    reason = "no space is left" if error.errno == errno.ENOSPC else error.strerror or str(error)
    again = f"continue: misread train --resume {partial}" if is_resumable(partial) else "train again."
    return RunError(f"The run could not be written to {partial.parent}: {reason}. {where}\nFix this and {again}")


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Hold an exclusive lock on the folder."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(partial, os.O_RDONLY)  # locking the folder itself leaves no lock file behind
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(
            f"The training in {partial} is running in another process. Wait for its end, or stop it first."
        ) from None
    finally:
        os.close(descriptor)


def is_resumable(folder: Path) -> bool:
    """Whether the training in a folder can be resumed."""
    return (folder / CHECKPOINTS / START).is_file()


def _remove_if_empty(partial: Path) -> bool:
    """Remove a folder with neither weights nor checkpoints. Returns whether it was removed."""
    if any(path.exists() for path in (partial / WEIGHTS, *(partial / CHECKPOINTS).glob("member-*"))):
        return False
    shutil.rmtree(partial, ignore_errors=True)
    return True


def _rename(partial: Path) -> Path:
    """Rename the folder to its final name, or to the next free one."""
    for target in numbered(partial.parent, partial.name.removesuffix(PARTIAL)):
        try:
            return partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    raise AssertionError("unreachable: the numbers never end")


def read_record(folder: Path) -> RunRecord:
    """Read the `run.json` of a run folder.

    Raises RunError: there is no such folder or no run in it; or the run is unfinished, damaged or from a newer misread.
    """
    path = folder / RECORD
    if not folder.is_dir():
        partial = folder.with_name(folder.name + PARTIAL)
        if partial.is_dir():
            folder, path = partial, partial / RECORD
        else:
            known = ["last", *(one.name for one in find_runs(Path("runs")))]
            raise RunError(
                f"There is no run folder {folder}.{nearest(folder.name, known)} `misread runs` lists the existing runs."
            )
    if folder.name.endswith(PARTIAL):
        action = f"Continue it: misread train --resume {folder}" if is_resumable(folder) else "Train again."
        raise RunError(f"The training in {folder} is unfinished. {action}")
    if not path.is_file():
        if (folder / RECIPE).is_file():
            raise RunError(
                f"The run in {folder} is incomplete: it has no {RECORD}, which is written last. Train again."
            )
        raise RunError(f"{folder} is not a run folder: it has no {RECORD}. `misread runs` lists the existing runs.")
    return parse_record(path.read_bytes(), path)


def parse_record(contents: bytes, path: Path) -> RunRecord:
    """The record in the bytes of a `run.json`. path: for messages. Raises RunError: damaged, or of a newer misread."""
    try:
        values: Any = json.loads(contents.decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {error}.") from None
    version = values.get("format") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{path} has format {version}, but this misread reads up to {FORMAT}. Install a newer misread.")
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path} is damaged: {where}: {first['msg']} ({error.error_count()} problems).") from None


def read_runs(folders: Sequence[Path]) -> list[tuple[Path, RunRecord | RunError]]:
    """The record of each run folder, or why it cannot be read."""
    read: list[tuple[Path, RunRecord | RunError]] = []
    for folder in folders:
        try:
            read.append((folder, read_record(folder)))
        except RunError as error:
            read.append((folder, error))
    return read


def find_runs(out: Path) -> list[Path]:
    """The run folders in a folder, in the order of their names, oldest first. Partial folders are left out."""
    if not out.is_dir():
        return []
    folders = [f for f in out.iterdir() if f.is_dir() and not f.name.endswith(PARTIAL) and not f.name.startswith(".")]
    return sorted(f for f in folders if (f / RECORD).is_file() or (f / RECIPE).is_file())


def find_unfinished(out: Path) -> list[Path]:
    """The folders of trainings that are running or were killed and can be resumed, in the order of their names."""
    return sorted(f for f in out.glob(f"*{PARTIAL}") if is_resumable(f)) if out.is_dir() else []


def is_running(folder: Path) -> bool:
    """Whether another process is writing into this folder."""
    try:
        with _locked(folder):
            return False
    except (RunError, OSError):
        return True
