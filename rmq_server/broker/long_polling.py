"""Held pulls: requests for a queue that has nothing new, until something arrives or their time is over.

A hold costs nothing while it waits: no task, one timer. An arrival looks only at the holds of its own queue.
Differs: upstream looks every 5 s for holds whose time is over; here each ends at its time.
Source: apache/rocketmq: broker/.../longpolling/PullRequestHoldService.java; behaviour.md 7.3
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from rmq_server.net.peer import Peer
from rmq_server.store.message_store import Arrival


class Timer(Protocol):
    """What call_later returns."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]


class Hold:
    """One pull that waits.

    queue_offset: what it asked for.
    codes:        the tag hashes that it wants, None for all.
    resume:       runs the pull again, this time to its answer.
    """

    __slots__ = ("codes", "key", "peer", "queue_offset", "resume", "timer")

    def __init__(
        self,
        peer: Peer,
        key: tuple[str, int],
        queue_offset: int,
        codes: frozenset[int] | None,
        resume: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.key = key
        self.queue_offset = queue_offset
        self.codes = codes
        self.resume = resume
        self.timer: Timer | None = None


class HoldTable:
    """The held pulls of a broker."""

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._queues: dict[tuple[str, int], set[Hold]] = {}
        self._peers: dict[Peer, set[Hold]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, hold: Hold, timeout_s: float) -> None:
        """Keep a pull until its queue moves or the time is over."""
        self._queues.setdefault(hold.key, set()).add(hold)
        if hold.peer not in self._peers:
            self._peers[hold.peer] = set()
            hold.peer.call_on_close(self.forget_peer)
        self._peers[hold.peer].add(hold)
        hold.timer = self._call_later(timeout_s, lambda: self._resume(hold))

    def notify(self, arrivals: Iterable[Arrival]) -> None:
        """Messages became readable: resume who waits for one of them."""
        if not self._queues:
            return
        for topic, queue_id, max_offset, codes in arrivals:
            for hold in list(self._queues.get((topic, queue_id), ())):
                if max_offset > hold.queue_offset and (hold.codes is None or not hold.codes.isdisjoint(codes)):
                    self._resume(hold)

    def resume_all(self) -> None:
        """Answer everybody, because the broker stops."""
        for holds in list(self._queues.values()):
            for hold in list(holds):
                self._resume(hold)

    def forget_peer(self, peer: Peer) -> None:
        """A connection is gone, its pulls with it."""
        for hold in self._peers.pop(peer, ()):
            self._remove(hold)

    def _resume(self, hold: Hold) -> None:
        self._peers[hold.peer].discard(hold)
        self._remove(hold)
        hold.resume()

    def _remove(self, hold: Hold) -> None:
        if hold.timer is not None:
            hold.timer.cancel()
        holds = self._queues[hold.key]
        holds.discard(hold)
        if not holds:
            del self._queues[hold.key]
