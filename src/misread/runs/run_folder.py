"""The run folder: written under a name that ends in `.partial`, renamed when it is complete, `run.json` last of all."""

import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from misread.errors import RunError, TrainingError
from misread.runs.record import FORMAT, RunRecord

RECORD, RECIPE, HISTORY, WEIGHTS = "run.json", "recipe.toml", "history.csv", "model.safetensors"
SPLITS, FIGURES = "splits.npz", "figures"
LABEL_PATCH = "labels.jsonl"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"  # a folder: the states of a training, and what it began with
START = "start.json"  # in it
PARTIAL = ".partial"
SPARE_BYTES = 32 * 1024 * 1024  # for predictions, tables and pictures beside the weights


def predictions_file(split: str) -> str:
    return f"predictions-{split}.npz"


def misreads_file(split: str) -> str:
    return f"misreads-{split}.csv"


class RunFolder:
    """A run folder that is being written. `path` is where it is now: its partial name, and in the end its own."""

    def __init__(self, path: Path) -> None:
        self.path = path


@contextmanager
def new_run_folder(out: Path, name: str, model_bytes: int) -> Iterator[RunFolder]:
    """A folder to write a run into. It takes its name `out/name` when the block ends well.

    See `writing`. Raises RunError: `out` cannot be written, or there is no space; before any training.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
        if free < model_bytes + SPARE_BYTES:
            needed = (model_bytes + SPARE_BYTES) / 1e6
            raise RunError(
                f"{out} has {free / 1e6:,.0f} MB free, but a run needs about {needed:,.0f} MB. Free some, or use --out."
            )
        partial = _make_partial(out, name)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}. Name another folder with --out.") from None
    with writing(partial) as folder:
        yield folder


def _make_partial(out: Path, name: str) -> Path:
    for path in _numbered(out, name, PARTIAL):
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("unreachable: the numbers never end")


def _numbered(out: Path, name: str, suffix: str = "") -> Iterator[Path]:
    """Two trainings may begin, or end, in the same second."""
    for number in itertools.count(1):
        yield out / f"{name if number == 1 else f'{name}-{number}'}{suffix}"


@contextmanager
def writing(partial: Path) -> Iterator[RunFolder]:
    """Write into a partial run folder, which takes its own name when the block ends well.

    When the block fails, the folder stays where it holds a checkpoint or weights, and the error says where. Otherwise,
    and after a TrainingError, it goes.
    Raises RunError: another process is writing into it, or the disk refuses.
    """
    with _locked(partial):
        try:
            folder = RunFolder(partial)
            yield folder
            folder.path = _rename(partial)
        except OSError as error:
            raise _write_error(partial, error) from None
        except BaseException as error:
            if isinstance(error, TrainingError):
                shutil.rmtree(partial, ignore_errors=True)
            _remove_if_worthless(partial)
            raise


def _write_error(partial: Path, error: OSError) -> RunError:
    removed = _remove_if_worthless(partial)
    where = "Nothing was written." if removed else f"What was written so far is in {partial}."
    reason = "no space is left" if error.errno == errno.ENOSPC else error.strerror or str(error)
    again = f"continue: misread train --resume {partial}" if is_resumable(partial) else "train again."
    return RunError(f"The run could not be written to {partial.parent}: {reason}. {where}\nMend it and {again}")


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Alone with the folder among all processes that write runs."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(partial, os.O_RDONLY)  # a folder can be locked as it is, and leaves no file behind
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(f"The training in {partial} is running in another process.") from None
    finally:
        os.close(descriptor)


def is_resumable(folder: Path) -> bool:
    """Whether a folder holds a training that can be continued."""
    return (folder / CHECKPOINTS / START).is_file()


def _remove_if_worthless(partial: Path) -> bool:
    """Remove a folder that holds neither weights nor a checkpoint."""
    if any(path.exists() for path in (partial / WEIGHTS, *(partial / CHECKPOINTS).glob("member-*"))):
        return False
    shutil.rmtree(partial, ignore_errors=True)
    return True


def _rename(partial: Path) -> Path:
    """Give the run its name, or the next free one."""
    for target in _numbered(partial.parent, partial.name.removesuffix(PARTIAL)):
        try:
            return partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    raise AssertionError("unreachable: the numbers never end")


def read_record(folder: Path) -> RunRecord:
    """The `run.json` of a run folder.

    Raises RunError: no such folder, no run in it, an unfinished one, one from a newer misread, or a damaged file.
    """
    path = folder / RECORD
    if not folder.is_dir():
        partial = folder.with_name(folder.name + PARTIAL)
        if partial.is_dir():
            folder, path = partial, partial / RECORD
        else:
            raise RunError(f"There is no run folder {folder}. `misread runs` lists the runs there are.")
    if folder.name.endswith(PARTIAL):
        mend = f"Continue it: misread train --resume {folder}" if is_resumable(folder) else "Train again."
        raise RunError(f"The training in {folder} is unfinished. {mend}")
    if not path.is_file():
        if (folder / RECIPE).is_file():
            raise RunError(
                f"The run in {folder} is incomplete: it has no {RECORD}, which is written last. Train again."
            )
        raise RunError(f"{folder} is not a run folder: it has no {RECORD}. `misread runs` lists the runs there are.")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
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


def find_runs(out: Path) -> list[Path]:
    """The run folders in a folder, oldest first by name: complete, interrupted and incomplete ones."""
    if not out.is_dir():
        return []
    folders = [f for f in out.iterdir() if f.is_dir() and not f.name.endswith(PARTIAL) and not f.name.startswith(".")]
    return sorted(f for f in folders if (f / RECORD).is_file() or (f / RECIPE).is_file())


def find_unfinished(out: Path) -> list[Path]:
    """The folders of trainings that are running or were killed, and can be continued; oldest first by name."""
    return sorted(f for f in out.glob(f"*{PARTIAL}") if is_resumable(f)) if out.is_dir() else []


def is_running(folder: Path) -> bool:
    """Whether another process is writing into this folder."""
    try:
        with _locked(folder):
            return False
    except (RunError, OSError):
        return True
