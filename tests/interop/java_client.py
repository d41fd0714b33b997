"""The published Java client, driven through java/Scenario.java."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.peers import SMALL_JVM, Program, java, java_program

_SOURCE = Path(__file__).parent / "java" / "Scenario.java"

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class JavaClient:
    """One version of the client with one header codec, talking to one nameserver."""

    version: str
    codec: str
    namesrv: str
    directory: Path
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def send(self, topic: str, **counts: int) -> list[Event]:
        """Send `counts` messages in each mode, wait for the end, and return a `sent` event for each message.

        Raises: PeerError with the program's output, when it failed.
        """
        modes = [f"{mode}={count}" for mode, count in counts.items()]
        with self._start("send", topic, f"{topic}-producers", *modes) as program:
            return of_kind("sent", program.finish())

    def consume(
        self,
        topic: str,
        *,
        orderly: bool = False,
        expression: str = "*",
        fail_first: bool = False,
        rebalance_seconds: int = 2,
    ) -> Program:
        """Start a push consumer of the topic's one group, from the first offset; it runs until stopped.

        The client's own interval between rebalances is 20 s, and its first one may come before the broker knows it:
        give 20 only where it matters that the broker's notice, and not the interval, brings about a rebalance.
        """
        how = "orderly" if orderly else "concurrently"
        return self._start(
            *("consume", topic, f"{topic}-consumers", how, expression),
            *(["fail-first"] if fail_first else []),
            jvm=[f"-Drocketmq.client.rebalance.waitInterval={rebalance_seconds * 1000}"],
        )

    def _start(self, action: str, topic: str, *arguments: str, jvm: Sequence[str] = ()) -> Program:
        return java(
            f"{action}-{next(self._numbers)}",
            ["Scenario", action, self.namesrv, topic, *arguments],
            self.directory,
            version=self.version,
            classes=java_program(_SOURCE, self.version),
            jvm=[*SMALL_JVM, *jvm],
            codec=self.codec,
        )


def of_kind(kind: str, *programs: Program) -> list[Event]:
    """The events of one kind that the programs have reported so far."""
    return [event for program in programs for event in program.events() if event["event"] == kind]


def wait_for_messages(count: int, *consumers: Program, seconds: float = 60) -> list[Event]:
    """Wait until the consumers have had `count` messages together, stop them in order, and return all they had."""

    def enough() -> bool:
        for consumer in consumers:
            consumer.check_running()
        return len(of_kind("message", *consumers)) >= count

    consumers[0].wait_for(lambda _: enough(), seconds=seconds, what=f"{count} messages at {len(consumers)} consumers")
    for consumer in consumers:
        consumer.stop()
    return of_kind("message", *consumers)


def allocation(topic: str, consumer: Program) -> set[int]:
    """The queues that the consumer holds now, by its last allocation."""
    allocations = [event["queues"] for event in of_kind("allocated", consumer) if event["topic"] == topic]
    return {int(queue) for queue in allocations[-1].split()} if allocations else set()
