"""What a figure depends on: the machine, what else it does, and the versions of what was measured."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("msgspec", "msgpack", "uvloop", "structlog")
_REFERENCE_STEPS = 20_000
_REFERENCE_ROUNDS = 50


def machine_facts(directory: Path) -> dict[str, Any]:
    """The machine now; directory: where the stores are."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "file_system": file_system(directory),
        "reference_us": round(reference_us(), 1),
    }


def reference_us() -> float:
    """CPU µs of a fixed piece of Python: how fast this machine is now, to judge figures of different runs by."""
    best = float("inf")
    for _ in range(_REFERENCE_ROUNDS):
        started = time.thread_time()
        total = 0
        for number in range(_REFERENCE_STEPS):
            total += number & 7
        best = min(best, time.thread_time() - started)
    return best * 1e6


def version_facts() -> dict[str, str]:
    """Versions of everything of ours that takes part."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}", "commit": _commit()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def java_version() -> str:
    """The first line of `java -version`, or why there is none."""
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "absent"
    return (done.stderr or done.stdout).splitlines()[0]


def pin(core: int) -> tuple[str, ...]:
    """A command prefix that keeps a program on one core; empty where that cannot be done."""
    if sys.platform != "linux" or core not in os.sched_getaffinity(0):
        return ()
    return ("taskset", "-c", str(core))


def file_system(directory: Path) -> str:
    """Kind of the file system that holds a directory."""
    best, kind = Path(), "unknown"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    resolved = directory.resolve()
    for _, point, name, *_ in map(str.split, mounts):
        if resolved.is_relative_to(point) and Path(point).is_relative_to(best):
            best, kind = Path(point), name
    return kind


def _first(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _commit() -> str:
    """The commit, marked when the servers' sources differ from it."""
    directory = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
