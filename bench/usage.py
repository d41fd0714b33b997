"""What a process has used: CPU time of all its threads, also ended ones, and memory.

Linux lets a process read another one's CPU clock, in nanoseconds; /proc/PID/stat has the same sum in ticks of 10 ms.
Source: man 3 clock_getcpuclockid; man 5 proc (status: VmRSS, RssAnon)
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

_CPU_CLOCK = 2
_TICKS = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """Resident memory in bytes. rss: all of it; anonymous: without mapped files, which the page cache holds anyway."""

    rss: int
    anonymous: int


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used.

    Raises: ProcessLookupError when it is gone.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPU_CLOCK)
    except OSError:
        return _ticks_used(pid) / _TICKS


def memory(pid: int) -> Memory:
    """Raises: ProcessLookupError when it is gone."""
    sizes = {}
    for line in _read(pid, "status").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            sizes[name] = int(value.split()[0]) * 1024
    return Memory(sizes.get("VmRSS", 0), sizes.get("RssAnon", 0))


def _ticks_used(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(f"process {pid} is gone") from None
