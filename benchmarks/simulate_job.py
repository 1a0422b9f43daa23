"""A discrete-event simulation of a job: tasks on workers that are slow at times and die at times.

It answers what cannot be measured on one machine: how long a job takes on hundreds of workers, and what failures cost.
`docs/scale.md` has its results. Run it as `.venv/bin/python benchmarks/simulate_job.py --check` to compare it with real
processes that are killed at random moments.
"""

import argparse
import heapq
import os
import random
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from misread.workers import ATTEMPTS, TaskDone, run_tasks

CHECKED_TASKS, CHECKED_SECONDS, CHECKED_RUNS = 120, 0.25, 3


@dataclass(frozen=True)
class Fleet:
    """Equal workers. Times are in seconds.

    start:    from the birth of a process to its first task.
    lifetime: the mean of a worker's life while it works; lives are exponential, so the past does not matter. 0: no end.
    slow:     the share of tasks that meet a straggler, and how many times longer these take.
    """

    workers: int
    start: float = 0.0
    lifetime: float = 0.0
    slow: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Outcome:
    """seconds: from the start to the last task's end. wasted: worker seconds in attempts that died."""

    seconds: float
    deaths: int
    failed: int
    wasted: float


def simulate(tasks: Sequence[float], fleet: Fleet, seed: int, attempts: int = ATTEMPTS) -> Outcome:
    """One job. tasks: the seconds of each, on a worker that is not slow, in the order in which they begin.

    A task whose worker dies is the next to begin, at most `attempts` times. The worker is replaced at once.
    """
    draws = random.Random(seed)
    waiting = deque((seconds, 1) for seconds in tasks)
    events: list[
        tuple[float, int, tuple[float, int] | None]
    ] = []  # when a worker is free, and the task that died on it
    for worker in range(fleet.workers):
        heapq.heappush(events, (fleet.start, worker, None))
    idle: list[int] = []
    end, deaths, failed, wasted = 0.0, 0, 0, 0.0
    while events:
        now, worker, died = heapq.heappop(events)
        free = [worker]
        if died:
            seconds, attempt = died
            deaths += 1
            if attempt < attempts:
                waiting.appendleft((seconds, attempt + 1))
                free += idle  # an idle worker can take it while the dead one is replaced
                idle.clear()
            else:
                failed += 1
        for one in free[::-1]:
            begins = now + (fleet.start if died and one == worker else 0.0)
            if not waiting:
                idle.append(one)
                continue
            seconds, attempt = waiting.popleft()
            share, factor = fleet.slow
            takes = seconds * (factor if draws.random() < share else 1.0)
            life = draws.expovariate(1 / fleet.lifetime) if fleet.lifetime else float("inf")
            if life < takes:
                wasted += life
                heapq.heappush(events, (begins + life, one, (seconds, attempt)))
            else:
                end = max(end, begins + takes)
                heapq.heappush(events, (begins + takes, one, None))
    return Outcome(end, deaths, failed, wasted)


def spread(make: Callable[[int], Outcome], count: int) -> tuple[float, float, float]:
    """Median, 5th and 95th percentile of the seconds of `count` jobs with the seeds 0, 1, ..."""
    seconds = sorted(make(seed).seconds for seed in range(count))
    return statistics.median(seconds), seconds[int(0.05 * count)], seconds[int(0.95 * count)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate a job of many tasks on many workers.")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a task")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 16, 256, 4096])
    parser.add_argument("--start", type=float, default=10.0, help="seconds until a new worker begins")
    parser.add_argument("--lifetime", type=float, default=0.0, help="mean hours of a worker; 0: they do not die")
    parser.add_argument("--slow", type=float, nargs=2, default=(0.01, 5.0), metavar=("SHARE", "FACTOR"))
    parser.add_argument("--jobs", type=int, default=20, help="simulated jobs for each number of workers")
    parser.add_argument("--check", action="store_true", help="compare with real processes instead")
    args = parser.parse_args()
    if args.check:
        check()
        return
    for workers in args.workers:
        fleet = Fleet(workers, args.start, 3600 * args.lifetime, tuple(args.slow))
        tasks = [args.seconds] * args.tasks
        median, low, high = spread(lambda seed, fleet=fleet, tasks=tasks: simulate(tasks, fleet, seed), args.jobs)
        ideal = sum(tasks) / workers
        one = simulate(tasks, fleet, 0)
        print(
            f"{workers:5,} workers: {median:11,.0f} s ({low:,.0f} to {high:,.0f}), {ideal / median:6.1%} of the ideal "
            f"speed; {one.deaths:,} deaths, {one.failed:,} failed tasks, {one.wasted / sum(tasks):.2%} wasted"
        )


def rest(seconds: float, report: Callable[[object], None]) -> int:
    """A task that takes its time without a processor, so that the check measures the engine alone."""
    report(os.getpid())
    time.sleep(seconds)
    return os.getpid()


def check() -> None:
    """Jobs of `run_tasks` whose workers are killed at random moments, beside the simulation of the same."""
    tasks = [CHECKED_SECONDS] * CHECKED_TASKS
    start = measured_start()
    print(f"A new worker begins after {start:.2f} s.")
    for workers, lifetime in ((1, 0.0), (2, 0.0), (4, 0.0), (2, 3.0), (4, 3.0)):
        real = [job(tasks, workers, lifetime, seed) for seed in range(CHECKED_RUNS)]
        fleet = Fleet(workers, start, lifetime)
        median, low, high = spread(lambda seed, fleet=fleet: simulate(tasks, fleet, seed), 200)
        life = f"mean life {lifetime:.0f} s" if lifetime else "none killed"
        shown = ", ".join(f"{seconds:.1f} ({deaths} died)" for seconds, deaths in real)
        print(f"{workers} workers, {life}: measured {shown} s; simulated {median:.1f} ({low:.1f} to {high:.1f}) s")


def measured_start() -> float:
    began = time.perf_counter()
    with closing(run_tasks(rest, [0.0], 1)) as events:
        list(events)
    return time.perf_counter() - began


def job(tasks: Sequence[float], workers: int, lifetime: float, seed: int) -> tuple[float, int]:
    """Seconds and deaths of a real job. Each process is killed once its drawn life, counted from its task, is over."""
    draws, kills, deaths = random.Random(seed), dict[int, threading.Timer](), 0
    began = time.perf_counter()
    with closing(run_tasks(rest, tasks, workers)) as events:
        for event in events:
            if isinstance(event, TaskDone):
                if event.error is None:
                    kills.pop(event.result, threading.Timer(0, int)).cancel()
                deaths += event.attempts - 1
            elif lifetime and (life := draws.expovariate(1 / lifetime)) < CHECKED_SECONDS:
                kills[event.value] = threading.Timer(life, os.kill, (event.value, signal.SIGKILL))
                kills[event.value].start()
    return time.perf_counter() - began, deaths


if __name__ == "__main__":
    main()
