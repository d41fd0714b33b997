"""Servers to measure, ours and Apache's, as processes on free ports with empty stores.

Both brokers get the same settings, upstream's defaults where nothing is said; SETTINGS goes into the report.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from tests.interop.peers import REFERENCE, Program, apache_cluster, missing, until, wait_for_route

OURS = "ours"
APACHE = "apache"
TOPIC_OF_READINESS = "TBW102"
BROKER_HEAP = "1g"

SETTINGS: dict[str, str | int | bool] = {
    "brokerName": "broker-a",
    "brokerClusterName": "DefaultCluster",
    "mappedFileSizeCommitLog": 1 << 30,
}
"""Entries of both brokers' broker.conf, besides flushDiskType."""

APACHE_SETTINGS: dict[str, str | int | bool] = {
    "waitTimeMillsInSendQueue": 10_000,
    "osPageCacheBusyTimeOutMills": 10_000,
}
"""For Apache's only, which answers SYSTEM_BUSY while its code is not compiled yet."""

_READY_SECONDS = 60.0


class Servers(NamedTuple):
    """A nameserver and a broker that are ready. name: `ours` or `apache`; version: of what runs."""

    name: str
    version: str
    namesrv: str
    broker: str
    namesrv_pid: int
    broker_pid: int


class Started(NamedTuple):
    """One of our servers. ready_s: from exec until it said what it had bound."""

    program: Program
    address: str
    ready_s: float


@contextmanager
def our_servers(directory: Path, flush: str, prefix: tuple[str, ...] = ()) -> Iterator[Servers]:
    """Our nameserver and broker; killed at the end.

    Raises: PeerError with a server's output, when it does not get ready.
    """
    with ExitStack() as stack:
        namesrv = start_namesrv(directory / "namesrv", prefix)
        stack.enter_context(namesrv.program)
        broker = start_broker(directory / "broker", namesrv.address, {"flushDiskType": flush}, prefix)
        stack.enter_context(broker.program)
        wait_for_route(namesrv.program, namesrv.address, broker.program, TOPIC_OF_READINESS, seconds=_READY_SECONDS)
        yield Servers(OURS, our_version(), namesrv.address, broker.address, namesrv.program.pid, broker.program.pid)


@contextmanager
def apache_servers(directory: Path, flush: str, prefix: tuple[str, ...] = ()) -> Iterator[Servers]:
    """Apache's nameserver and broker; killed at the end.

    Raises: PeerError with a server's output, when it does not get ready.
    """
    settings = {**SETTINGS, **APACHE_SETTINGS, "flushDiskType": flush}
    with apache_cluster(directory, settings=settings, broker_heap=BROKER_HEAP, prefix=prefix) as cluster:
        yield Servers(
            APACHE,
            f"Apache {REFERENCE}",
            cluster.namesrv,
            cluster.broker,
            cluster.namesrv_process.pid,
            cluster.broker_process.pid,
        )


def apache_is_missing() -> str | None:
    """Why Apache's servers cannot run here, or None."""
    return missing("java", "mvn")


def start_namesrv(directory: Path, prefix: tuple[str, ...] = ()) -> Started:
    """Our nameserver, ready; the caller ends it."""
    return _start("mqnamesrv", directory, ["--port", "0"], "namesrv", prefix)


def start_broker(
    directory: Path, namesrv: str, settings: Mapping[str, str | int | bool], prefix: tuple[str, ...] = ()
) -> Started:
    """Our broker, ready; the caller ends it. settings: broker.conf entries beside SETTINGS."""
    directory.mkdir(parents=True, exist_ok=True)
    conf = directory / "broker.conf"
    entries = {**SETTINGS, **settings}
    conf.write_text("".join([f"{key}={value}\n" for key, value in entries.items()]), encoding="utf-8")
    arguments = ["-c", str(conf), "-n", namesrv, "--port", "0", "--store", str(directory / "store")]
    return _start("mqbroker", directory, arguments, "broker", prefix)


def our_version() -> str:
    """The version of this distribution, or that of none when it runs from the source tree only."""
    try:
        return f"aiorocketmq {version('aiorocketmq')}"
    except PackageNotFoundError:
        return "aiorocketmq (not installed)"


def _start(program: str, directory: Path, arguments: list[str], port: str, prefix: tuple[str, ...]) -> Started:
    directory.mkdir(parents=True, exist_ok=True)
    ports = directory / "ports.json"
    command = [sys.executable, "-m", "rmq_server", program, *arguments, "--ports-file", str(ports)]
    started = time.perf_counter()
    running = Program(program, command, directory, prefix=prefix)

    def bound() -> str | None:
        running.check_running()
        return str(json.loads(ports.read_text(encoding="utf-8"))[port]) if ports.exists() else None

    try:
        address = until(bound, seconds=_READY_SECONDS, what=running.report)
    except BaseException:
        running.stop(grace=0)
        raise
    return Started(running, address, time.perf_counter() - started)
