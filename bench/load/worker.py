"""The load process: reads orders, runs windows, writes what they came to. Started by `control.LoadProcess`.

Connections and requests of a load are made at its first window and kept for the next ones.
"""

import gc
import sys
import time
from collections.abc import Callable

import msgspec

from bench.load.admin import Admin
from bench.load.cases import Case, Kind, case_of
from bench.load.frames import pull_frames, pull_start, send_frames
from bench.load.links import Link, Links
from bench.load.messages import Failure, Order, Target, Window
from bench.usage import compiler_seconds, cpu_seconds
from protocol.address import parse_address

_SETTLE_SECONDS = 60.0
_SETTLE_POLL_SECONDS = 0.01
_NEXT_OFFSET = b'"nextBeginOffset":"'


class CountError(Exception):
    """The queues do not hold what was acknowledged."""


class Worker:
    """All loads of this process."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str, str], Links] = {}
        self._acknowledged: dict[tuple[str, str], int] = {}

    def window(self, order: Order) -> Window:
        """Run one window and wait until the queues hold what was acknowledged."""
        case, target = case_of(order.case), order.target
        key = target.address, target.topic, case.name
        with Admin(target.address) as admin:
            if key not in self._links:
                self._links[key] = _connect(case, target, admin)
                self._acknowledged.setdefault(key[:2], sum(admin.max_offsets(target.topic, target.queues)))
            links = self._links[key]
            window = self._measured(order, case, links, admin)
        if order.release:
            links.close()
            del self._links[key]
        return window

    def _measured(self, order: Order, case: Case, links: Links, admin: Admin) -> Window:
        target = order.target
        messages, requests = links.messages, links.requests
        compiler_cpu = compiler_seconds(target.pid)
        server_cpu, own_cpu, started = cpu_seconds(target.pid), time.process_time(), time.perf_counter()
        links.run(order.seconds, order.messages)
        answered, own_cpu = time.perf_counter(), time.process_time() - own_cpu
        messages, requests = links.messages - messages, links.requests - requests
        if case.kind is not Kind.PULL:
            self._acknowledged[target.address, target.topic] += messages
        in_queues = self._settle(target, admin)
        server_cpu = cpu_seconds(target.pid) - server_cpu
        return Window(
            messages=messages,
            requests=requests,
            seconds=answered - started,
            server_cpu_s=server_cpu,
            compiler_cpu_s=compiler_seconds(target.pid) - compiler_cpu,
            load_cpu_s=own_cpu,
            settle_s=time.perf_counter() - answered,
            in_queues=in_queues,
        )

    def _settle(self, target: Target, admin: Admin) -> int:
        """Wait for a broker that builds its queues behind its log.

        Raises: CountError when they hold more than was acknowledged, or stand still with less.
        """
        wanted = self._acknowledged[target.address, target.topic]
        before, patience = -1, time.monotonic() + _SETTLE_SECONDS
        while True:
            found = sum(admin.max_offsets(target.topic, target.queues))
            if found == wanted:
                return found
            if found != before:
                before, patience = found, time.monotonic() + _SETTLE_SECONDS
            if found > wanted or time.monotonic() > patience:
                raise CountError(f"{wanted} messages of {target.topic} were acknowledged, {found} are in its queues")
            time.sleep(_SETTLE_POLL_SECONDS)


def _connect(case: Case, target: Target, admin: Admin) -> Links:
    address = parse_address(target.address)
    if case.kind is Kind.PULL:
        offsets = admin.max_offsets(target.topic, target.queues)
        links = [
            Link(
                address,
                pull_frames(case, target.topic, number % target.queues, offsets[number % target.queues]),
                _pulled(case),
            )
            for number in range(case.connections)
        ]
    else:
        links = [
            Link(address, send_frames(case, target.topic, target.queues, number), case.messages)
            for number in range(case.connections)
        ]
    gc.collect()
    gc.freeze()
    return Links(links, case.in_flight)


def _pulled(case: Case) -> Callable[[int, bytes], int]:
    """How many messages a pull brought: from where it asked to where it should go on."""

    def count(opaque: int, header: bytes) -> int:
        at = header.index(_NEXT_OFFSET) + len(_NEXT_OFFSET)
        return int(header[at : header.index(b'"', at)]) - pull_start(case, opaque)

    return count


def main() -> None:
    """Serve orders until the input ends."""
    worker = Worker()
    for line in sys.stdin.buffer:
        answer: Window | Failure
        try:
            answer = worker.window(msgspec.json.decode(line, type=Order))
        except Exception as error:
            answer = Failure(f"{type(error).__name__}: {error}")
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
