"""What a process has used: CPU time of all its threads, also ended ones, and memory.

Linux lets a process read another one's CPU clock, in nanoseconds; /proc/PID/stat has the same sum in ticks of 10 ms.
Source: man 3 clock_getcpuclockid; man 5 proc (status: VmRSS, RssAnon)
"""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_CPU_CLOCK = 2
_COMPILER_THREADS = ("C1 Compiler", "C2 Compiler")
_QUIET_SECONDS = 0.1
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


def compiler_seconds(pid: int) -> float:
    """What a JVM's compiler threads that live now have used; 0 for a program that has none."""
    used = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "comm").read_text(encoding="utf-8", errors="replace").startswith(_COMPILER_THREADS):
                used += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue  # it ended meanwhile
    return used / 1e9


def keep_on(pid: int, cores: set[int]) -> None:
    """Let every thread of a process run on these cores only; threads that they start later follow."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


def wait_until_quiet(pids: Iterable[int], *, share: float, seconds: float) -> bool:
    """Wait until each process uses less than this share of a core; says whether that came within `seconds`."""
    deadline = time.monotonic() + seconds
    watched = list(pids)
    while watched:
        before = [cpu_seconds(pid) for pid in watched]
        time.sleep(_QUIET_SECONDS)
        if all(cpu_seconds(pid) - used < share * _QUIET_SECONDS for pid, used in zip(watched, before, strict=True)):
            return True
        if time.monotonic() > deadline:
            return False
    return True


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
