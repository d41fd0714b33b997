"""`python -m bench cold`: a broker in this process, whose loop is watched, under load from another one."""

import asyncio
import shutil
import sys
import tempfile
import time
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import uvloop

from bench.cold.lag import BOUNDS_MS, Lag, histogram, watch
from bench.cold.load import OLD_TOPIC, Job, Outcome
from bench.figures import percentiles
from bench.options import json_option, store_directory, store_option
from bench.report import MIB, document, say, table, write
from bench.servers import our_version
from bench.stores import fill, forget, store_config
from protocol.address import format_address
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.server import Broker
from rmq_server.store.config import StoreConfig
from rmq_server.store.files import Files, OsFile, OsFiles

_REPOSITORY = Path(__file__).resolve().parents[2]
_BODY_BYTES = 4096
_QUEUES = 8


class Case(NamedTuple):
    """One run. pulls: old data is pulled beside the sends; files: what the broker sees of the disk."""

    name: str
    pulls: bool
    files: Files


class _HotFile(OsFile):
    """Claims that all is in memory, as a broker without care would assume."""

    def is_cached(self, offset: int, length: int) -> bool:
        return True

    def map(self) -> memoryview:
        return memoryview(mmap(self._fd, 0, access=ACCESS_READ))  # with the kernel's read-ahead


class _HotFiles(OsFiles):
    def open(self, path: Path, *, create: bool = False) -> OsFile:
        opened = super().open(path, create=create)
        fd, opened._fd = opened._fd, -1
        return _HotFile(fd)


@click.command("cold")
@click.option("--mib", type=click.IntRange(min=64), default=2048, show_default=True, help="Old data.")
@click.option("--segment-mib", type=click.IntRange(min=16), default=256, show_default=True, help="Of each segment.")
@click.option("--seconds", type=float, default=5.0, show_default=True, help="Of each case.")
@click.option("--rate", "per_s", type=int, default=1000, show_default=True, help="Sends per second.")
@json_option
@store_option
def main(
    mib: int, segment_mib: int, seconds: float, per_s: int, json_file: Path | None, store_root: Path | None
) -> None:
    """Pulls of old data beside sends: loop lag of the broker and latency of the sends.

    Old data is put out of the page cache first. The disk may still have it in a cache of its own.
    """
    directory = Path(tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root))
    results = {}
    try:
        config = store_config(directory / "store", segment_mib * MIB)
        started = time.perf_counter()
        queues = [(OLD_TOPIC, queue_id) for queue_id in range(_QUEUES)]
        fill(config, queues, mib * MIB // (_BODY_BYTES + 100), _BODY_BYTES)
        say(f"{mib} MiB of old data in {time.perf_counter() - started:.1f} s")
        for case in (
            Case("no pulls", False, OsFiles()),
            Case("cold pulls", True, OsFiles()),
            Case("the same, read on the loop", True, _HotFiles()),
        ):
            forget(Path(config.root))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                lag, outcome = runner.run(_measure(config, case, seconds, per_s))
            results[case.name] = {
                "lag_ms": percentiles([value / 1000 for value in lag.values_ms])._asdict(),
                "histogram": histogram(lag.values_ms, BOUNDS_MS),
                "with_waiting_for_a_core_ms": max(lag.wall_ms),
                "major_faults": lag.major_faults,
                "load": msgspec.to_builtins(outcome),
            }
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _show(results)
    configuration = {
        "mib": mib, "segment_mib": segment_mib, "seconds": seconds, "per_s": per_s, "bounds_ms": BOUNDS_MS
    }  # fmt: skip
    versions = {"ours": our_version()}
    write(json_file, document("cold", store_directory(store_root), configuration, results, versions))


async def _measure(config: StoreConfig, case: Case, seconds: float, per_s: int) -> tuple[Lag, Outcome]:
    broker = Broker(BrokerConfig(listen_port=0, namesrv_addr=""), config, files=case.files)
    await broker.start()
    running = asyncio.create_task(broker.run())
    address = format_address("127.0.0.1", broker.port)
    job = Job(broker=address, seconds=seconds, per_s=per_s, queues=_QUEUES, pulls=case.pulls)
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.cold.load", msgspec.json.encode(job).decode(),
        cwd=_REPOSITORY, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lag = Lag()
    probe = asyncio.create_task(watch(lag))
    output, _ = await load.communicate()
    probe.cancel()
    await broker.drain()
    running.cancel()
    await asyncio.wait([probe, running])
    await broker.close()
    if load.returncode != 0:
        raise click.ClickException(f"{case.name}: the load ended with {load.returncode}")
    return lag, msgspec.json.decode(output, type=Outcome)


def _show(results: dict[str, dict[str, object]]) -> None:
    bounds = [f"< {bound}" for bound in BOUNDS_MS] + ["more"]
    columns = ("case", *bounds, "longest", "with core", "disk faults", "send p50", "p99", "max", "pulled MiB/s")
    rows = []
    for name, result in results.items():
        load = msgspec.convert(result["load"], Outcome)
        lag = msgspec.convert(result["lag_ms"], dict[str, float])
        counts = [str(count) for count in msgspec.convert(result["histogram"], list[int])]
        sends = [f"{load.send_ms[at]:.2f}" for at in (0, 2, 4)]
        rate = load.pulled_bytes / MIB / load.seconds
        longest = f"{lag['high']:.1f}", f"{result['with_waiting_for_a_core_ms']:.1f}"
        rows.append((name, *counts, *longest, str(result["major_faults"]), *sends, f"{rate:.0f}"))
    table("Loop lag of the broker and latency of sends, ms", columns, rows)
    say("lag: by how much a timer of 1 ms woke late, less the time that the thread waited for a core")
    say("with core: the longest one including that; disk faults: pages that the loop's own thread waited for")
