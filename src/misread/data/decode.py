"""Decodes many picture files on all cores, in order, with bounded memory.

Pillow releases the interpreter lock only while it decodes. Opening a file of 2 kB takes longer than decoding it, so
threads do not help with small pictures. Many files are therefore decoded in separate processes. These are plain Python
processes that run `serve`. `multiprocessing` would run the user's script again in each process.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from misread.data.picture import as_channels, read_picture, resize
from misread.errors import DataError, MisreadError

PROCESSES_FROM = 2000  # files; for fewer, starting the processes takes longer than they save
MAX_WORKERS = 32
BATCH_BYTES = 2**20  # of pixels in a batch, unless one picture has more
BATCH_FILES = 256

Prepare = Callable[[np.ndarray], np.ndarray]


class OtherSize(DataError):
    """A picture whose size differs from the required one."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(f"The picture is {height}x{width}.")
        self.size = height, width


class Batch(NamedTuple):
    """Consecutive files, decoded.

    outcomes: for each file None if it was decoded. Otherwise the reason: a message, or the (height, width) of a
              picture that `prepare` refused with `OtherSize`.
    pixels:   (n, H, W, C) uint8, the n decoded files; C is 3 if one of them has colour, else 1. None if n is 0.
    """

    outcomes: list[str | tuple[int, int] | None]
    pixels: np.ndarray | None


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A `prepare` that resizes every picture to one size."""
    return resize(pixels, height, width)


def of_size(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A `prepare` that raises OtherSize for pictures of another size."""
    if pixels.shape[:2] != (height, width):
        raise OtherSize(*pixels.shape[:2])
    return pixels


def decode(paths: Sequence[str], prepare: Prepare, pixels_each: int) -> Generator[Batch, None, None]:
    """Decode all files in order, in batches. Close the iterator (`contextlib.closing`) if you leave it early.

    prepare:     applied to every decoded picture, (h, w, 1 or 3) uint8. It must be a module-level function or a
                 `partial` of one, because it is sent to other processes. All results have the same height and width.
    pixels_each: H * W of the results. It limits the memory: four batches of `BATCH_BYTES` for each core.
    Raises MisreadError: a decoding process ended unexpectedly.
    """
    count = max(1, min(BATCH_FILES, BATCH_BYTES // (3 * pixels_each)))
    batches = (paths[start : start + count] for start in range(0, len(paths), count))
    decode_paths = partial(decode_batch, prepare=prepare)
    yield from in_order(decode_paths, batches, apart=len(paths) >= PROCESSES_FROM, describe=_files_text)


def in_order(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    apart: bool,
    describe: Callable[[Any], str],
    most: int = MAX_WORKERS,
) -> Generator[Any, None, None]:
    """The function's result for each item, in their order. All cores compute; few results wait for their turn.

    Close the iterator (`contextlib.closing`) if you leave it early.
    function: a module-level function or a `partial` of one, because it is sent to other processes, as the items are.
    apart:    compute in processes of their own. Otherwise, or if no process can start, in threads.
    describe: what a process read when it ended unexpectedly, and which part of it may be damaged, in words.
    most:     processes or threads.
    Raises MisreadError: a process ended unexpectedly.
    """
    with _workers(function, apart, describe, min(usable_cores(), MAX_WORKERS, most)) as workers:
        yield from _in_order(workers, iter(items))


def _files_text(paths: Sequence[str]) -> str:
    return f"the {len(paths)} files from\n{paths[0]} to\n{paths[-1]}.\nOne of them"


def decode_batch(paths: Sequence[str], prepare: Prepare) -> Batch:
    """Decode some files in this process."""
    outcomes: list[str | tuple[int, int] | None] = []
    pictures = []
    for path in paths:
        try:
            pictures.append(prepare(read_picture(path)))
            outcomes.append(None)
        except OtherSize as error:
            outcomes.append(error.size)
        except DataError as error:
            outcomes.append(str(error))
    if not pictures:
        return Batch(outcomes, None)
    channels = max(picture.shape[-1] for picture in pictures)
    return Batch(outcomes, np.stack([as_channels(picture, channels) for picture in pictures]))


def serve() -> None:
    """The main loop of a process: a function and then items come from standard input, results go to standard output.

    It ends when standard input is closed, so it never outlives the process that started it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; this one ends when its input is closed
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # the output of a library must not mix with the replies
    try:
        function = pickle.load(requests)
        while True:
            pickle.dump(function(pickle.load(requests)), replies, pickle.HIGHEST_PROTOCOL)
            replies.flush()
    except (EOFError, BrokenPipeError):
        os._exit(0)


class _Process:
    """A process that computes a function. It is called like that function."""

    def __init__(self, describe: Callable[[Any], str]) -> None:
        self.describe = describe
        # the child imports the package from the same place, even if sys.path was changed
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # first of all: imports take a while
            f"sys.path[:] = {sys.path!r}; from misread.data.decode import serve; serve()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0 if os.name == "posix" else None,  # Ctrl-C in a terminal reaches the parent alone
        )

    def __call__(self, item: Any) -> Any:
        try:
            self.send(item)
            return pickle.load(self.process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError, pickle.UnpicklingError):
            self.process.kill()
            raise MisreadError(
                f"A process that decodes pictures ended unexpectedly (exit code {self.process.wait()}), while it read "
                f"{self.describe(item)} may be damaged so that it crashes the decoder, or memory ran out. Move these "
                "files away, or free memory."
            ) from None

    def send(self, value: Any) -> None:
        pickle.dump(value, self.process.stdin, pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # unsent data, when the process has ended
                pipe.close()  # type: ignore[union-attr]


@contextmanager
def _workers(
    function: Callable[[Any], Any], apart: bool, describe: Callable[[Any], str], count: int
) -> Iterator[list[Callable[[Any], Any]]]:
    """So many workers: processes if `apart`; else, or if no process can start, threads."""
    with ExitStack() as stack:
        processes: list[Callable[[Any], Any]] = []
        if apart and count > 1 and _is_python():
            with suppress(OSError):  # this system starts no processes, or no more of them
                for _ in range(count):
                    process = _Process(describe)
                    stack.callback(process.close)
                    process.send(function)
                    processes.append(process)
        yield processes or [function] * count


def _in_order(workers: list[Callable[[Any], Any]], items: Iterator[Any]) -> Iterator[Any]:
    idle: SimpleQueue[Callable[[Any], Any]] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(item: Any) -> Any:
        worker = idle.get()
        try:
            return worker(item)
        finally:
            idle.put(worker)

    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for item in items:
                pending.append(pool.submit(run, item))
                if len(pending) > 3 * len(workers):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _is_python() -> bool:
    """Whether `sys.executable` is a Python interpreter. In a frozen program it is the program itself."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def usable_cores() -> int:
    """The cores that this process may use, by its affinity."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_first(paths: Sequence[str]) -> tuple[int, np.ndarray] | None:
    """The position and the pixels of the first readable file; None if there is none."""
    for position, path in enumerate(paths):
        try:
            return position, read_picture(path)
        except DataError:
            continue
    return None
