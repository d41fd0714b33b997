"""Cost of one operation: the best of many short rounds is what the code costs, the median what the machine made of it.

Rounds are shorter than a time slice of the scheduler, so that on a busy machine some of them run undisturbed.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

Operation = Callable[[], object]

_ROUND_SECONDS = 0.002


class Cost(NamedTuple):
    """µs of CPU of the calling thread per unit. best, median: of the rounds."""

    name: str
    best_us: float
    median_us: float
    units: int


def cost(name: str, operation: Operation, *, units: int = 1, rounds: int = 150) -> Cost:
    """Measure an operation that does `units` things at once."""
    operation()
    calls = _calls_of_a_round(operation)
    found = []
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(calls):
            operation()
        found.append((time.thread_time() - started) / (calls * units) * 1e6)
    return Cost(name, min(found), median(found), units)


def _calls_of_a_round(operation: Operation) -> int:
    calls = 1
    while True:
        started = time.thread_time()
        for _ in range(calls):
            operation()
        used = time.thread_time() - started
        if used >= _ROUND_SECONDS / 4:
            return max(1, int(calls * _ROUND_SECONDS / used))
        calls *= 4
