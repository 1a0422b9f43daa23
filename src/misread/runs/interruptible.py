"""What surrounds a training: its number of threads, the random numbers of others, and Ctrl-C."""

import itertools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from misread.training.device import using_threads


@contextmanager
def computing(threads: int | None) -> Iterator[None]:
    """Let torch compute with this many threads inside the block. Its global generator is restored afterwards."""
    with using_threads(threads), torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets, so that the training ends between two steps and the run is written.

    The third Ctrl-C raises KeyboardInterrupt.
    """
    interrupt, presses = threading.Event(), itertools.count(1)
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield interrupt
        return

    def on_signal(signum: int, frame: Any) -> None:
        if next(presses) > 2:
            raise KeyboardInterrupt
        interrupt.set()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
