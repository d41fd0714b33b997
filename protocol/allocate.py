"""Who consumes which queues: every member of a group computes the same answer from the same sorted lists.

A strategy is called with the group, the member that asks, all queues and all members, both sorted (`sort_queues`,
`sort_client_ids`); it returns the queues of that member. The client rebalances with it, the broker answers
QUERY_ASSIGNMENT with it. All members of a group must use the same strategy with the same parameters, else queues are
consumed twice or not at all.
Source: apache/rocketmq: client/.../consumer/rebalance/, common/.../consistenthash/ConsistentHashRouter.java,
behaviour.md 3.7
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.errors import LocalProtocolError
from protocol.hashing import ring_hash, utf16_units
from protocol.message import MessageQueue

DEFAULT_VIRTUAL_NODES = 10
"""Places on the ring for each member."""

_ROOM_SEPARATOR = "@"


class AllocationError(LocalProtocolError, ValueError):
    """A strategy cannot be asked this: no member, no queues, a bad parameter. The caller keeps what it has."""


class AllocateStrategy(Protocol):
    """The shape of a strategy. A member that is not in `client_ids` gets nothing.

    name: upstream's getName, which QUERY_ASSIGNMENT carries.
    Raises: AllocationError when the client id, the queues or the client ids are empty.
    """

    @property
    def name(self) -> str: ...

    def __call__(
        self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]: ...


AllocateFunction = Callable[[str, str, Sequence[MessageQueue], Sequence[str]], list[MessageQueue]]
"""A strategy without a name: group, client id, sorted queues, sorted client ids."""


class RoomResolver(Protocol):
    """Where queues and members are, for MACHINE_ROOM_NEARBY; an empty answer is an error."""

    def queue_room(self, queue: MessageQueue) -> str:
        """The machine room of the broker that has this queue."""
        ...

    def client_room(self, client_id: str) -> str:
        """The machine room of a member."""
        ...


def sort_queues(queues: Iterable[MessageQueue]) -> list[MessageQueue]:
    """The queues in the order that strategies need: topic, broker name, queue id; text by UTF-16 unit, as in Java."""
    return sorted(queues, key=lambda queue: (utf16_units(queue.topic), utf16_units(queue.broker_name), queue.queue_id))


def sort_client_ids(client_ids: Iterable[str]) -> list[str]:
    """The members in the order that strategies need: by UTF-16 unit, as in Java."""
    return sorted(client_ids, key=utf16_units)


def strategy_by_name(name: str) -> AllocateStrategy:
    """The strategy that a QUERY_ASSIGNMENT names.

    Differs: upstream's broker knows AVG and AVG_BY_CIRCLE only; CONSISTENT_HASH needs no more than they do.
    Raises: AllocationError for a name that is unknown, or whose parameters only the application has.
    """
    strategy = _BY_NAME.get(name)
    if strategy is None:
        raise AllocationError(f"no allocation strategy is called {name!r}; known are {', '.join(_BY_NAME)}")
    return strategy


@dataclass(frozen=True, slots=True)
class FunctionStrategy:
    """A plain function as a strategy: the built-in ones, or one of the application's own.

    The function must be deterministic over its sorted arguments; it checks its arguments itself.
    """

    name: str
    function: AllocateFunction

    def __call__(
        self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        return self.function(group, client_id, queues, client_ids)


def _averagely(
    group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
) -> list[MessageQueue]:
    index = _index_of(client_id, queues, client_ids)
    if index is None:
        return []
    each, more = divmod(len(queues), len(client_ids))
    start = index * each + min(index, more)
    return list(queues[start : start + each + (index < more)])


def _averagely_by_circle(
    group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
) -> list[MessageQueue]:
    index = _index_of(client_id, queues, client_ids)
    return [] if index is None else list(queues[index :: len(client_ids)])


AVERAGELY = FunctionStrategy("AVG", _averagely)
"""Contiguous blocks, the first members one queue longer. The default."""

AVERAGELY_BY_CIRCLE = FunctionStrategy("AVG_BY_CIRCLE", _averagely_by_circle)
"""Queue after queue dealt around the members."""


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """A hash ring: few queues move when the membership changes, at the price of poor balance.

    Shape:  virtual_nodes is the number of places of each member, 0 means that nobody gets anything;
            hash_text maps any text to a place, an integer.
    Raises: AllocationError for a negative number of virtual nodes.
    """

    virtual_nodes: int = DEFAULT_VIRTUAL_NODES
    hash_text: Callable[[str], int] = ring_hash

    name = "CONSISTENT_HASH"

    def __post_init__(self) -> None:
        if self.virtual_nodes < 0:
            raise AllocationError(f"virtual_nodes is {self.virtual_nodes}, it must not be negative")

    def __call__(
        self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        if _index_of(client_id, queues, client_ids) is None:
            return []
        ring = {
            self.hash_text(f"{member}-{replica}"): member
            for member in client_ids
            for replica in range(self.virtual_nodes)
        }
        if not ring:
            return []
        places = sorted(ring)

        def owner(queue: MessageQueue) -> str:
            place = bisect_left(places, self.hash_text(_queue_text(queue)))
            return ring[places[place % len(places)]]

        return [queue for queue in queues if owner(queue) == client_id]


@dataclass(frozen=True, slots=True)
class ConfiguredQueues:
    """The queues that the application names, whoever else consumes them and whether or not they exist."""

    queues: tuple[MessageQueue, ...] = ()

    name = "CONFIG"

    def __call__(
        self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        return list(self.queues)


@dataclass(frozen=True, slots=True)
class MachineRoom:
    """Only the queues of brokers in given rooms, told by broker names of the form `room@name`; all members share them.

    Differs: upstream leaves the rooms unset by default and then fails with a null pointer; here they are required.
    """

    rooms: Collection[str]

    name = "MACHINE_ROOM"

    def __call__(
        self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        index = _index_of(client_id, queues, client_ids)
        if index is None:
            return []
        local = [queue for queue in queues if _room_of(queue.broker_name) in self.rooms]
        each, more = divmod(len(local), len(client_ids))
        mine = local[index * each : (index + 1) * each]
        if index < more:
            mine.append(local[len(client_ids) * each + index])
        return mine


@dataclass(frozen=True, slots=True)
class MachineRoomNearby:
    """Queues of a room to the members in that room, by `inner`; queues of rooms without members to all members.

    Raises: AllocationError when the resolver gives no room, and what `inner` raises.
    """

    inner: AllocateStrategy
    resolver: RoomResolver

    @property
    def name(self) -> str:
        """MACHINE_ROOM_NEARBY- and the name of the inner strategy."""
        return f"MACHINE_ROOM_NEARBY-{self.inner.name}"

    def __call__(
        self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        if _index_of(client_id, queues, client_ids) is None:
            return []
        room_queues: dict[str, list[MessageQueue]] = {}
        for queue in queues:
            room = _known_room(self.resolver.queue_room(queue), queue.broker_name)
            room_queues.setdefault(room, []).append(queue)
        room_clients: dict[str, list[str]] = {}
        for member in client_ids:
            room = _known_room(self.resolver.client_room(member), member)
            room_clients.setdefault(room, []).append(member)

        mine: list[MessageQueue] = []
        my_room = next(room for room, members in room_clients.items() if client_id in members)
        if my_room in room_queues:
            mine += self.inner(group, client_id, room_queues[my_room], room_clients[my_room])
        for room in sorted(room_queues.keys() - room_clients.keys(), key=utf16_units):
            mine += self.inner(group, client_id, room_queues[room], client_ids)
        return mine


_BY_NAME: dict[str, AllocateStrategy] = {
    strategy.name: strategy for strategy in (AVERAGELY, AVERAGELY_BY_CIRCLE, ConsistentHash())
}


def _index_of(client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]) -> int | None:
    if not client_id:
        raise AllocationError("the client id is empty")
    if not queues:
        raise AllocationError("there are no queues to allocate")
    if not client_ids:
        raise AllocationError("there are no client ids to allocate to")
    return client_ids.index(client_id) if client_id in client_ids else None


def _queue_text(queue: MessageQueue) -> str:
    """MessageQueue.toString of upstream, which is what the ring hashes."""
    return f"MessageQueue [topic={queue.topic}, brokerName={queue.broker_name}, queueId={queue.queue_id}]"


def _room_of(broker_name: str) -> str | None:
    # Java's split forgets empty parts at the end.
    parts = broker_name.rstrip(_ROOM_SEPARATOR).split(_ROOM_SEPARATOR)
    return parts[0] if len(parts) == 2 else None


def _known_room(room: str, owner: str) -> str:
    if not room:
        raise AllocationError(f"the resolver names no machine room for {owner!r}")
    return room
