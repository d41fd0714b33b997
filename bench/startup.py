"""`python -m bench startup`: how soon servers are ready after exec, and what they use while nobody asks anything."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from bench.facts import java_version
from bench.figures import spread
from bench.many_queues import measure_queues, show_queues
from bench.options import json_option, store_directory, store_option
from bench.report import MIB, document, say, table, write
from bench.servers import (
    APACHE_SETTINGS,
    BROKER_HEAP,
    SETTINGS,
    TOPIC_OF_READINESS,
    apache_is_missing,
    our_version,
    start_broker,
    start_namesrv,
)
from bench.usage import cpu_seconds, memory
from tests.interop.peers import REFERENCE, PeerError, Program, broker, free_port, has_route, namesrv, request, until

_BROKER_NEIGHBOURS = (-2, 1)
_SETTLE_SECONDS = 2.0
_READY_SECONDS = 90.0
_GET_ROUTE = 105


class Started(NamedTuple):
    """A pair of servers that got ready; seconds from exec. routed_s: until the nameserver routes to the broker."""

    namesrv: Program
    broker: Program
    namesrv_s: float
    broker_s: float
    routed_s: float


class Idle(NamedTuple):
    """What one process uses while idle. cpu_percent: of one core."""

    cpu_percent: float
    rss: int
    anonymous: int


@click.command("startup")
@click.option("--starts", type=click.IntRange(min=1), default=5, show_default=True, help="Starts of our servers.")
@click.option("--idle", type=float, default=10.0, show_default=True, help="Seconds over which idle CPU is measured.")
@click.option("--apache", is_flag=True, help="Apache's servers too, started twice.")
@click.option("--queues", type=click.IntRange(min=1), help="Instead: our broker on a store with so many queues.")
@click.option("--log-gib", type=click.IntRange(min=1), default=50, show_default=True, help="Of that store, sparse.")
@json_option
@store_option
def main(
    starts: int,
    idle: float,
    apache: bool,
    queues: int | None,
    log_gib: int,
    json_file: Path | None,
    store_root: Path | None,
) -> None:
    """How soon servers are ready after exec, and what they use while idle."""
    if queues is not None:
        found = measure_queues(queues, log_gib, starts, store_root)
        show_queues(found)
        configuration = {"queues": queues, "log_gib": log_gib, "starts": starts}
        write(
            json_file, document("startup", store_directory(store_root), configuration, found, {"ours": our_version()})
        )
        return
    kinds = {"ours": (_our_servers, starts)}
    if apache:
        why = apache_is_missing()
        if why is not None:
            raise click.ClickException(f"Apache's servers cannot run here: {why}")
        kinds["apache"] = (_apache_servers, 2)
    results = {}
    try:
        for kind, (start, times) in kinds.items():
            results[kind] = _measure(kind, start, times, idle, store_root)
    except PeerError as error:
        raise click.ClickException(str(error)) from error
    _show(results)
    configuration = {
        "starts": {kind: times for kind, (_, times) in kinds.items()},
        "idle_s": idle,
        "broker_settings": SETTINGS,
        "apache_settings": APACHE_SETTINGS,
        "apache_heap": BROKER_HEAP,
    }
    versions = {"ours": our_version(), "apache": REFERENCE, "java": java_version()} if apache else {}
    write(json_file, document("startup", store_directory(store_root), configuration, results, versions))


def _measure(kind: str, start: Any, times: int, idle_s: float, store_root: Path | None) -> dict[str, Any]:
    runs: list[Started] = []
    idle: dict[str, Any] = {}
    for number in range(times):
        directory = Path(tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root))
        try:
            with start(directory) as started:
                runs.append(started)
                say(f"{kind}: broker ready after {started.broker_s:.3f} s, routed after {started.routed_s:.3f} s")
                if number == times - 1:
                    time.sleep(_SETTLE_SECONDS)
                    idle = _idle({"namesrv": started.namesrv, "broker": started.broker}, idle_s)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    seconds = {
        name: spread([getattr(run, name) for run in runs])._asdict() for name in ("namesrv_s", "broker_s", "routed_s")
    }
    return {"ready_s": seconds, "idle": idle}


def _idle(programs: dict[str, Program], seconds: float) -> dict[str, Any]:
    before = {name: cpu_seconds(program.pid) for name, program in programs.items()}
    started = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - started
    found = {}
    for name, program in programs.items():
        used = cpu_seconds(program.pid) - before[name]
        found[name] = Idle(100 * used / elapsed, *memory(program.pid))._asdict()
    return found


@contextmanager
def _our_servers(directory: Path) -> Iterator[Started]:
    names = start_namesrv(directory / "namesrv")
    with names.program:
        started = time.perf_counter()
        queues = start_broker(directory / "broker", names.address, {})
        with queues.program:
            routed_s = _routed(names.address, started, names.program, queues.program)
            yield Started(names.program, queues.program, names.ready_s, queues.ready_s, routed_s)


@contextmanager
def _apache_servers(directory: Path) -> Iterator[Started]:
    names_port, port = free_port(), free_port(_BROKER_NEIGHBOURS)
    address = f"127.0.0.1:{names_port}"
    started = time.perf_counter()
    with namesrv(directory / "namesrv", names_port) as names:
        namesrv_s = _answering(address, started, names)
        started = time.perf_counter()
        settings = {**SETTINGS, **APACHE_SETTINGS}
        with broker(directory / "broker", port, address, settings=settings, heap=BROKER_HEAP) as queues:
            broker_s = _answering(f"127.0.0.1:{port}", started, queues)
            yield Started(names, queues, namesrv_s, broker_s, _routed(address, started, names, queues))


def _answering(address: str, started: float, program: Program) -> float:
    def answers() -> bool:
        program.check_running()
        try:
            request(address, _GET_ROUTE, {"topic": TOPIC_OF_READINESS})
        except OSError:
            return False
        return True

    until(answers, seconds=_READY_SECONDS, what=program.report)
    return time.perf_counter() - started


def _routed(namesrv_address: str, started: float, *programs: Program) -> float:
    def routed() -> bool:
        for program in programs:
            program.check_running()
        return has_route(namesrv_address, TOPIC_OF_READINESS)

    until(routed, seconds=_READY_SECONDS, what="\n".join([program.report() for program in programs]))
    return time.perf_counter() - started


def _show(results: dict[str, Any]) -> None:
    rows = []
    for kind, result in results.items():
        for name in ("namesrv", "broker"):
            ready, idle = result["ready_s"][f"{name}_s"], Idle(**result["idle"][name])
            routed = f"{result['ready_s']['routed_s']['median']:.3f}" if name == "broker" else ""
            rows.append(
                (
                    kind,
                    name,
                    f"{ready['median']:.3f}",
                    f"{ready['low']:.3f}..{ready['high']:.3f}",
                    routed,
                    f"{idle.rss / MIB:.1f}",
                    f"{idle.anonymous / MIB:.1f}",
                    f"{idle.cpu_percent:.2f}",
                )
            )
    columns = ("servers", "program", "ready s", "min..max", "routed s", "VmRSS MiB", "RssAnon MiB", "idle CPU %")
    table("Ready after exec; memory and CPU while idle", columns, rows, text_columns=2)
