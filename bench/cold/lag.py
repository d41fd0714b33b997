"""How long a loop stands still: a timer that asks to be woken every millisecond.

Other programs on the machine must not count, so the time that the loop's thread was ready and had no core is taken off;
Linux keeps it per thread. Also how often that thread met a page that was on disk only: pulls read through a mapping, so
that is how a loop waits for the disk.
Source: man 5 proc (schedstat: time spent waiting on a runqueue); man 2 getrusage (RUSAGE_THREAD)
"""

import asyncio
import os
import resource
import threading
import time
from collections.abc import Sequence
from pathlib import Path

BOUNDS_MS = (1, 2, 5, 10, 20, 50)
_PROBE_S = 0.001


class Lag:
    """What was seen. values_ms: lags without waiting for a core; wall_ms: with it."""

    def __init__(self) -> None:
        self.values_ms: list[float] = []
        self.wall_ms: list[float] = []
        self.major_faults = 0


async def watch(lag: Lag) -> None:
    """Watch the running loop until cancelled."""
    clock = time.perf_counter
    schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    fd = os.open(schedule, os.O_RDONLY)
    before = _major_faults()
    try:
        while True:
            waited = _waited_s(fd)
            due = clock() + _PROBE_S
            await asyncio.sleep(_PROBE_S)
            late = max(0.0, clock() - due)
            lag.wall_ms.append(late * 1000)
            lag.values_ms.append(max(0.0, late - (_waited_s(fd) - waited)) * 1000)
    finally:
        lag.major_faults = _major_faults() - before
        os.close(fd)


def histogram(values: Sequence[float], bounds: Sequence[float]) -> list[int]:
    """How many values are below each bound and not below the one before; last, how many are below none."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[next((at for at, bound in enumerate(bounds) if value < bound), len(bounds))] += 1
    return counts


def _waited_s(fd: int) -> float:
    return int(os.pread(fd, 100, 0).split()[1]) / 1e9


def _major_faults() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
