"""Locks on queues for ordered consumption: one member of a group owns a queue until it releases it or falls silent.

Source: apache/rocketmq: broker/.../client/rebalance/RebalanceLockManager.java
"""

from collections.abc import Iterable
from typing import NamedTuple

from protocol.message import MessageQueue
from rmq_server.core.clock import Clock


class _Lock(NamedTuple):
    client_id: str
    expires_at_s: float


class QueueLocks:
    """Group -> queue -> owner."""

    def __init__(self, clock: Clock, live_s: float) -> None:
        self._clock = clock
        self._live_s = live_s
        self._groups: dict[str, dict[MessageQueue, _Lock]] = {}

    def lock(self, group: str, client_id: str, queues: Iterable[MessageQueue]) -> list[MessageQueue]:
        """Lock or renew what is free or the client's own; returns the queues that it now owns."""
        locks = self._groups.setdefault(group, {})
        now = self._clock.monotonic()
        owned = []
        for queue in queues:
            held = locks.get(queue)
            if held is None or held.client_id == client_id or held.expires_at_s <= now:
                locks[queue] = _Lock(client_id, now + self._live_s)
                owned.append(queue)
        return owned

    def unlock(self, group: str, client_id: str, queues: Iterable[MessageQueue]) -> None:
        """Release the queues that the client owns."""
        locks = self._groups.get(group, {})
        for queue in queues:
            held = locks.get(queue)
            if held is not None and held.client_id == client_id:
                del locks[queue]
        if not locks:
            self._groups.pop(group, None)

    def is_locked(self, group: str) -> bool:
        """Whether any queue of the group is locked now."""
        now = self._clock.monotonic()
        return any(lock.expires_at_s > now for lock in self._groups.get(group, {}).values())
