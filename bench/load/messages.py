"""What the load process is told and what it answers: one JSON line each, over its standard input and output."""

from typing import Any

import msgspec


class Target(msgspec.Struct, frozen=True):
    """A broker under load. pid: the process whose CPU time counts; topic: exists, with so many queues."""

    address: str
    pid: int
    topic: str
    queues: int


class Order(msgspec.Struct, frozen=True):
    """One window.

    seconds, messages: it ends after the one or the other, whichever comes first.
    release:           close the connections afterwards.
    """

    target: Target
    case: dict[str, Any]
    seconds: float
    messages: int | None = None
    release: bool = False


class Window(msgspec.Struct, frozen=True):
    """What a window came to.

    messages:       acknowledged, or received by pulls.
    seconds:        from the first request to the last answer.
    server_cpu_s:   until everything acknowledged was in the queues too.
    compiler_cpu_s: what of it a JVM's compiler threads used.
    settle_s:       how long after the last answer that took.
    in_queues:      messages in the queues of the topic at the end.
    """

    messages: int
    requests: int
    seconds: float
    server_cpu_s: float
    compiler_cpu_s: float
    load_cpu_s: float
    settle_s: float
    in_queues: int

    @property
    def server_us(self) -> float:
        """Server CPU per message in µs."""
        return self.server_cpu_s / self.messages * 1e6

    @property
    def load_us(self) -> float:
        """Load generator CPU per message in µs."""
        return self.load_cpu_s / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds


class Failure(msgspec.Struct, frozen=True):
    """Why a window came to nothing."""

    failure: str
