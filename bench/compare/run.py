"""Start both, warm up, load one at a time, collect."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.compare.plan import WARM_PULLS, WARM_UP, Plan
from bench.compare.result import CaseResult, Measured
from bench.facts import pin
from bench.figures import alternating
from bench.load.cases import BATCH, Case, Kind
from bench.load.control import LoadProcess
from bench.load.messages import Order, Target, Window
from bench.report import say
from bench.servers import APACHE, OURS, Servers, apache_servers, our_servers
from bench.topics import create_topic

_NO_LIMIT_S = 600.0
_PULLED_TOPIC = "bench-pulled"
_OUR_WARM_MESSAGES = 20_000


class Bench:
    """Both servers of one flush mode and the load process."""

    def __init__(self, plan: Plan, load: LoadProcess, servers: dict[str, Servers]) -> None:
        self._plan = plan
        self._load = load
        self._servers = servers

    def prepare(self, cases: list[Case]) -> None:
        """Create and fill the topics, warm up."""
        for name, servers in self._servers.items():
            least = self._plan.warm_messages if name == APACHE else _OUR_WARM_MESSAGES
            for topic in ["bench-warm", _PULLED_TOPIC, *map(_topic_of, cases)]:
                create_topic(servers, topic, self._plan.queues)
            for case, share in WARM_UP:
                self._window(name, case, "bench-warm", _NO_LIMIT_S, int(least * share), release=True)
            if any(case.kind is Kind.PULL for case in cases):
                self._window(name, BATCH, _PULLED_TOPIC, _NO_LIMIT_S, self._plan.pulled_messages, release=True)
                self._window(name, WARM_PULLS, _PULLED_TOPIC, _NO_LIMIT_S, least, release=True)

    def measure(self, case: Case) -> Iterator[Measured]:
        """The windows of one case, in their order; the first of each server, which is not counted, connects."""
        for name in self._servers:
            self._window(name, case, _topic_of(case), self._plan.window_s / 4)
        order = list(alternating(APACHE, OURS, self._plan.windows))
        for number, name in enumerate(order):
            last = name not in order[number + 1 :]
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
                say(f"{mode}: warming up, {plan.warm_messages:,} messages for the JVM")
                bench.prepare(cases)
                for case in cases:
                    yield CaseResult(mode, case, list(bench.measure(case)))
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _topic_of(case: Case) -> str:
    if case.kind is Kind.PULL:
        return _PULLED_TOPIC
    return "bench-" + "".join([letter if letter.isalnum() else "-" for letter in case.name])
