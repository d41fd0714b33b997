"""Start both, warm up, load one at a time, collect."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.compare.plan import WARM_ROUND, Plan
from bench.compare.result import CaseResult, Measured
from bench.facts import pin
from bench.figures import alternating
from bench.load.cases import BATCH, Case, Kind
from bench.load.control import LoadProcess
from bench.load.messages import Order, Target, Window
from bench.report import say
from bench.servers import APACHE, OURS, Servers, apache_servers, our_servers
from bench.topics import create_topic
from bench.usage import keep_on, wait_until_quiet

_NO_LIMIT_S = 600.0
_PULLED_TOPIC = "bench-pulled"
_WARM_TOPIC = "bench-warm"
_COMPILED_SHARE = 0.04
_QUIET_SHARE = 0.25
_COMPILER_REST_S = 4.0
_REST_S = 3.0


class Bench:
    """Both servers of one flush mode and the load process."""

    def __init__(self, plan: Plan, load: LoadProcess, servers: dict[str, Servers]) -> None:
        self._plan = plan
        self._load = load
        self._servers = servers

    def prepare(self, cases: list[Case]) -> None:
        """Create the topics, fill the one that is pulled from, warm up."""
        for name, servers in self._servers.items():
            for topic in {_WARM_TOPIC, _PULLED_TOPIC, *map(_topic_of, cases)}:
                create_topic(servers, topic, self._plan.queues)
            self._window(name, BATCH, _PULLED_TOPIC, _NO_LIMIT_S, self._plan.pulled_messages, release=True)
        self._warm_round(OURS)
        self._warm_jvm()

    def _warm_jvm(self) -> None:
        """Rounds on all cores, so that the compilers need not share one with what they compile."""
        plan, pid = self._plan, self._servers[APACHE].broker_pid
        started, sent = time.monotonic(), 0
        if plan.server_core in os.sched_getaffinity(0):
            keep_on(pid, os.sched_getaffinity(0))
        while True:
            windows = self._warm_round(APACHE)
            sent += sum(window.messages for window in windows)
            used = sum(window.server_cpu_s for window in windows)
            compiling = sum(window.compiler_cpu_s for window in windows) / used
            elapsed = time.monotonic() - started
            if elapsed > plan.warm_s or (sent >= plan.warm_messages and compiling < _COMPILED_SHARE):
                break
        if plan.server_core in os.sched_getaffinity(0):
            keep_on(pid, {plan.server_core})
        wait_until_quiet([pid], share=_QUIET_SHARE, seconds=_COMPILER_REST_S)
        say(f"warmed up: {sent:,} messages in {elapsed:.0f} s; the compilers still took {compiling:.0%} of the CPU")

    def _warm_round(self, name: str) -> list[Window]:
        return [
            self._window(name, case, _PULLED_TOPIC if case.kind is Kind.PULL else _WARM_TOPIC, _NO_LIMIT_S, messages)
            for case, messages in WARM_ROUND
        ]

    def measure(self, case: Case) -> Iterator[Measured]:
        """The windows of one case, in their order; the first of each server, which is not counted, connects."""
        for name in self._servers:
            self._window(name, case, _topic_of(case), self._plan.window_s / 4)
        order = list(alternating(APACHE, OURS, self._plan.windows))
        for number, name in enumerate(order):
            last = name not in order[number + 1 :]
            others = [servers.broker_pid for other, servers in self._servers.items() if other != name]
            wait_until_quiet(others, share=_QUIET_SHARE, seconds=_REST_S)
            yield Measured(name, self._window(name, case, _topic_of(case), self._plan.window_s, release=last))

    def _window(
        self, name: str, case: Case, topic: str, seconds: float, messages: int | None = None, *, release: bool = False
    ) -> Window:
        servers = self._servers[name]
        target = Target(servers.broker, servers.broker_pid, topic, self._plan.queues)
        return self._load.window(Order(target, case.plain(), seconds, messages, release))


def compare(plan: Plan, store_root: Path | None = None) -> Iterator[CaseResult]:
    """Every case of the plan, as it is done.

    store_root: where the stores are made, and removed from at the end.
    Raises: PeerError, LoadError.
    """
    for mode in plan.modes:
        cases = plan.cases_of(mode)
        if not cases:
            continue
        directory = Path(tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root))
        try:
            with ExitStack() as stack:
                prefix = pin(plan.server_core)
                say(f"{mode}: starting both, on empty stores in {directory}")
                servers = {
                    APACHE: stack.enter_context(apache_servers(directory / APACHE, mode, prefix)),
                    OURS: stack.enter_context(our_servers(directory / OURS, mode, prefix)),
                }
                load = stack.enter_context(LoadProcess(pin(plan.load_core)))
                bench = Bench(plan, load, servers)
                say(f"{mode}: warming up, at least {plan.warm_messages:,} messages for the JVM")
                bench.prepare(cases)
                for case in cases:
                    yield CaseResult(mode, case, list(bench.measure(case)))
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _topic_of(case: Case) -> str:
    if case.kind is Kind.PULL:
        return _PULLED_TOPIC
    return "bench-" + "".join([letter if letter.isalnum() else "-" for letter in case.name])
