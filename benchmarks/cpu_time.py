"""How much of the processor other work took while a child ran: the noise that a timing has to be read with."""

import os
import time
from collections.abc import Callable
from pathlib import Path

PROC_STAT = Path("/proc/stat")
BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; not idle and waiting for disks


def watch_others() -> Callable[[], float | None]:
    """Begin now; calling what this returns gives the share of all cores that went to other processes since, in [0, 1].

    Children that have ended by then count as our own. None where the system does not say.
    """
    if not PROC_STAT.is_file():
        return lambda: None
    began, busy, own = time.perf_counter(), busy_seconds(), children_seconds()

    def others_share() -> float:
        available = (time.perf_counter() - began) * (os.cpu_count() or 1)
        others = (busy_seconds() - busy) - (children_seconds() - own)
        return min(max(others / available, 0.0), 1.0)

    return others_share


def busy_seconds() -> float:
    """Of all cores together since the system started, time that the host took for other guests included."""
    ticks = PROC_STAT.read_text().partition("\n")[0].split()[1:]
    return sum(int(ticks[i]) for i in BUSY_FIELDS) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Processor seconds of this process's children that have ended."""
    times = os.times()
    return times.children_user + times.children_system
