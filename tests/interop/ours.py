"""Our own nameserver and broker as the real processes that a user starts.

The command lines and the reading of the ports file are here and nowhere else.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.interop.peers import Cluster, Program, until, wait_for_route

_SECONDS_TO_STOP = 20


def _namesrv_command(ports_file: Path) -> list[str]:
    return [sys.executable, "-m", "rmq_server", "namesrv", "--port", "0", "--ports-file", str(ports_file)]


def _broker_command(ports_file: Path, namesrv: str, store: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "rmq_server", "broker"),
        *("-n", namesrv, "--port", "0", "--ports-file", str(ports_file), "--store", str(store)),
    ]


@contextmanager
def our_namesrv(directory: Path, *, seconds: float = 30) -> Iterator[tuple[Program, int]]:
    """A nameserver on a free port."""
    ports = directory / "namesrv" / "ports.json"
    with Program("namesrv", _namesrv_command(ports), ports.parent) as namesrv:
        yield namesrv, _wait_for_port(namesrv, ports, seconds)


def our_broker(conf: Path) -> Program:
    """A broker with a broker.conf, also one of Apache's; it is not yet ready when this returns."""
    return Program("our-broker", [sys.executable, "-m", "rmq_server", "broker", "-c", str(conf)], conf.parent)


def _port(ports_file: Path, server: str) -> int | None:
    """The port for clients, once the server is ready and has put its file in place: {"namesrv": "host:port"}."""
    try:
        address: str = json.loads(ports_file.read_text(encoding="utf-8"))[server]
    except FileNotFoundError:
        return None
    return int(address.rpartition(":")[2])


@contextmanager
def our_cluster(directory: Path, *, seconds: float = 30) -> Iterator[Cluster]:
    """A nameserver and a broker with an empty store, ready for clients; at the end both must stop cleanly.

    Raises: PeerError with the servers' output, when they are not ready in time; AssertionError when one did not end
            with status 0 after SIGTERM.
    """
    with ExitStack() as stack:
        namesrv, namesrv_port = stack.enter_context(our_namesrv(directory, seconds=seconds))
        address = f"127.0.0.1:{namesrv_port}"

        ports = directory / "broker" / "ports.json"
        command = _broker_command(ports, address, directory / "broker" / "store")
        broker = stack.enter_context(Program("broker", command, ports.parent))
        broker_port = _wait_for_port(broker, ports, seconds)

        wait_for_route(namesrv, address, broker, "TBW102", seconds=seconds)
        yield Cluster("ours", namesrv, namesrv_port, broker, broker_port)
        for program in (broker, namesrv):
            assert program.stop(grace=_SECONDS_TO_STOP) == 0, program.report()


def _wait_for_port(program: Program, ports_file: Path, seconds: float) -> int:
    def bound() -> int | None:
        program.check_running()
        return _port(ports_file, program.name)

    return until(bound, seconds=seconds, what=lambda: f"the ports of {program.report()}")
