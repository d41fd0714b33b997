"""Time as a parameter: every part that dates, waits or expires asks a Clock.

Two times exist and are never mixed: the wall clock in Unix milliseconds, which goes on the wire and to disk, and the
monotonic clock in seconds, which measures waits.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What a server part may know about time."""

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes backwards."""
        ...


class SystemClock:
    """The machine's own time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told, for tests of expiry, delay and recovery without sleeping."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times forward together."""
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds


def month_start_ms(at_ms: int) -> int:
    """The first instant of the month in which `at_ms` lies, local time; unique message ids count from there."""
    at = time.localtime(at_ms / 1000)
    return int(time.mktime((at.tm_year, at.tm_mon, 1, 0, 0, 0, 0, 0, -1))) * 1000
