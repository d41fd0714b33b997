"""Which queues to give up and which to take. Pure.

Differs: upstream waits at least a second between two rebalances and 500 ms before the first pull of a new queue; we do
neither (design.md 7). It also gives up queues that were not pulled for 120 s, in case the pull got lost; our pulls are
tasks whose failure surfaces.
Source: apache/rocketmq: client/.../impl/consumer/RebalanceImpl.java; behaviour.md 3.5
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from protocol.allocate import AllocateStrategy, AllocationError, sort_client_ids, sort_queues
from protocol.message import MessageQueue


class Change(NamedTuple):
    """What a rebalance of one topic changes."""

    drop: list[MessageQueue]
    add: list[MessageQueue]


def allocate(
    strategy: AllocateStrategy,
    group: str,
    client_id: str,
    queues: Iterable[MessageQueue],
    client_ids: Iterable[str],
) -> list[MessageQueue]:
    """This member's share of a topic's queues.

    Raises: AllocationError, also for whatever a strategy of the application raises; the caller keeps what it has.
    """
    try:
        return strategy(group, client_id, sort_queues(queues), sort_client_ids(client_ids))
    except Exception as problem:
        raise AllocationError(f"the allocation strategy {strategy.name} failed: {problem!r}") from problem


def change_of(owned: Collection[MessageQueue], topic: str, wanted: Sequence[MessageQueue]) -> Change:
    """From what is owned of a topic to what is wanted; queues of other topics are not touched."""
    keep = set(wanted)
    return Change(
        [queue for queue in owned if queue.topic == topic and queue not in keep],
        [queue for queue in wanted if queue not in owned],
    )
