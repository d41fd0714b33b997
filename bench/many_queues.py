"""Start-up, memory and open files of our broker on a store with many queues and a long log."""

import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from bench.report import MIB, say, table
from bench.servers import SETTINGS, start_broker, start_namesrv
from bench.stores import fill, grow, store_config
from bench.usage import memory

_QUEUES_OF_A_TOPIC = 8
_MESSAGES_OF_A_QUEUE = 3
_BODY_BYTES = 1024
_STOP_SECONDS = 60.0


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start. after: what ended the run before; stop_s: how long a clean stop took after it, 0 for a kill."""

    after: str
    ready_s: float
    stop_s: float
    rss: int
    anonymous: int
    open_files: int


def measure_queues(queues: int, log_gib: int, starts: int, store_root: Path | None) -> list[Start]:
    """Starts after clean stops, then after kill -9."""
    directory = Path(tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root))
    try:
        names = [(f"topic-{number // _QUEUES_OF_A_TOPIC:05}", number % _QUEUES_OF_A_TOPIC) for number in range(queues)]
        config = store_config(directory / "broker" / "store", int(SETTINGS["mappedFileSizeCommitLog"]))
        started = time.perf_counter()
        grow(config, names[:10], log_gib)
        fill(config, names, _MESSAGES_OF_A_QUEUE * queues, _BODY_BYTES)
        say(f"{queues} queues, {log_gib} segments of 1 GiB, in {time.perf_counter() - started:.0f} s")
        namesrv = start_namesrv(directory / "namesrv")
        with namesrv.program:
            found, after = [], "clean stop"
            for kill in [False] * starts + [True] * (starts + 1):
                found.append(_start(directory / "broker", namesrv.address, after, kill=kill))
                after = "kill -9" if kill else "clean stop"
        return found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(directory: Path, namesrv: str, after: str, *, kill: bool) -> Start:
    (directory / "ports.json").unlink(missing_ok=True)
    started = start_broker(directory, namesrv, {})
    with started.program:
        used = memory(started.program.pid)
        open_files = len(list(Path(f"/proc/{started.program.pid}/fd").iterdir()))
        stopping = time.perf_counter()
        started.program.stop(grace=0 if kill else _STOP_SECONDS)
    return Start(
        after=after,
        ready_s=started.ready_s,
        stop_s=0.0 if kill else time.perf_counter() - stopping,
        rss=used.rss,
        anonymous=used.anonymous,
        open_files=open_files,
    )


def show_queues(found: list[Start]) -> None:
    """Print the table."""
    rows = [
        (
            start.after,
            f"{start.ready_s:.2f}",
            f"{start.stop_s:.2f}" if start.stop_s else "",
            f"{start.rss / MIB:.0f}",
            f"{start.anonymous / MIB:.0f}",
            str(start.open_files),
        )
        for start in found
    ]
    columns = ("start after", "ready s", "stop s", "VmRSS MiB", "RssAnon MiB", "open files")
    table("Our broker on many queues: exec to ready", columns, rows)
