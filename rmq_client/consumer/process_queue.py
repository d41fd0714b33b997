"""ProcessQueue: this client's window on one queue it owns. Pure.

Invariant: the offset that `remove` returns never passes a message that is not finished.
Differs: when all is finished it passes what a filter left out behind the last message (`pulled_to`); upstream commits
that only with the answer to the next pull.
Source: apache/rocketmq: client/.../impl/consumer/ProcessQueue.java; behaviour.md 4.3
"""

from collections import deque
from collections.abc import Callable, Iterable

from protocol.message import MessageExt, MessageQueue

NOTHING_CACHED = -1


class ProcessQueue:
    """The messages of one queue that were pulled and are not finished.

    dropped:  the queue belongs to somebody else now; results of its messages no longer count.
    pulled_to: the offset up to which everything was pulled; what is not cached below it was left out by a filter.
    on_room:  called after every removal while set; whoever waits for room sets it.
    """

    __slots__ = ("_order", "_sizes", "cached_bytes", "dropped", "max_offset", "on_room", "pulled_to", "queue")

    def __init__(self, queue: MessageQueue) -> None:
        self.queue = queue
        self.dropped = False
        self.cached_bytes = 0
        self.max_offset = -1
        self.pulled_to = 0
        self.on_room: Callable[[], None] | None = None
        self._sizes: dict[int, int] = {}
        self._order: deque[int] = deque()

    def __repr__(self) -> str:
        state = "dropped" if self.dropped else f"{self.count} cached"
        return f"<ProcessQueue {self.queue.broker_name}/{self.queue.topic}/{self.queue.queue_id} {state}>"

    @property
    def count(self) -> int:
        """Messages cached."""
        return len(self._sizes)

    @property
    def span(self) -> int:
        """The distance of the oldest and the newest cached offset."""
        return self._order[-1] - self._order[0] if self._order else 0

    def is_full(self, max_messages: int, max_bytes: int, max_span: int) -> bool:
        """Whether nothing should be pulled now; every limit may be reached, none passed."""
        return len(self._sizes) > max_messages or self.cached_bytes > max_bytes or self.span > max_span

    def put(self, messages: Iterable[MessageExt]) -> None:
        """Cache messages, which come in the order of their offsets; one that is cached already is not counted twice."""
        sizes = self._sizes
        for message in messages:
            offset = message.queue_offset
            size = len(message.body)
            if offset in sizes:
                self.cached_bytes += size - sizes[offset]
            else:
                self._order.append(offset)
                self.max_offset = offset
                self.cached_bytes += size
            sizes[offset] = size

    def remove(self, messages: Iterable[MessageExt]) -> int:
        """Finish messages; return the offset to commit: the oldest unfinished one, else behind what was pulled.

        NOTHING_CACHED when nothing was cached.
        """
        sizes = self._sizes
        if not sizes:
            return NOTHING_CACHED
        for message in messages:
            self.cached_bytes -= sizes.pop(message.queue_offset, 0)
        order = self._order
        while order and order[0] not in sizes:
            order.popleft()
        if self.on_room is not None:
            self.on_room()
        return order[0] if order else max(self.max_offset + 1, self.pulled_to)
