"""Which queue a message goes to. Pure: randomness and time are given.

Source: apache/rocketmq: client/.../impl/producer/TopicPublishInfo.java, latency/MQFaultStrategy.java,
producer/selector/SelectMessageQueueByHash.java; behaviour.md 1.6
"""

from collections.abc import Callable, Sequence

from protocol.hashing import java_hash
from protocol.message import MessageQueue
from rmq_client.latency import FaultTable

_MASK = 0x7FFFFFFF


def queue_of_key(key: str, queues: Sequence[MessageQueue]) -> MessageQueue:
    """The queue of an ordering key: Java's hash of it, as upstream's SelectMessageQueueByHash."""
    index = abs(_java_remainder(java_hash(key), len(queues)))
    return queues[index]


class RoundRobin:
    """One queue after the other, away from brokers that just failed.

    start: where to begin, random so that many producers do not begin alike.
    faults: brokers to leave out; None when slow brokers are not to be avoided.
    """

    def __init__(self, start: int, faults: FaultTable | None = None) -> None:
        self._next = start & _MASK
        self._faults = faults

    def next(self, queues: Sequence[MessageQueue]) -> MessageQueue:
        """The queue of a first attempt when no broker is to be avoided."""
        index = self._next
        self._next = index + 1 & _MASK
        return queues[index % len(queues)]

    def select(self, queues: Sequence[MessageQueue], now_ms: float, last_broker: str | None = None) -> MessageQueue:
        """The queue of an attempt, if possible not on `last_broker`, where the attempt before failed."""
        faults = self._faults
        if faults is None:
            if last_broker is None:
                return self.next(queues)
            return self._find(queues, lambda broker: broker != last_broker) or self.next(queues)
        return (
            self._find(queues, lambda broker: faults.is_available(broker, now_ms) and broker != last_broker)
            or self._find(queues, lambda broker: faults.is_reachable(broker) and broker != last_broker)
            or self.next(queues)
        )

    def reset(self, start: int) -> None:
        """Begin anew elsewhere, as upstream does before a retry when it avoids slow brokers."""
        self._next = start & _MASK

    def _find(self, queues: Sequence[MessageQueue], fits: Callable[[str], bool]) -> MessageQueue | None:
        for _ in range(len(queues)):
            queue = self.next(queues)
            if fits(queue.broker_name):
                return queue
        return None


def _java_remainder(dividend: int, divisor: int) -> int:
    """Java's `%`, which takes the sign of the dividend."""
    return dividend % divisor if dividend >= 0 else -(-dividend % divisor)
