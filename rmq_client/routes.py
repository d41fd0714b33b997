"""What a client makes of a topic's route: queues to write and read, and addresses of brokers. Pure.

Source: apache/rocketmq: client/.../impl/factory/MQClientInstance.java (topicRouteData2TopicPublishInfo,
topicRouteData2TopicSubscribeInfo), behaviour.md 1.5
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from protocol.bodies.route import MASTER_ID, BrokerData, TopicRouteData
from protocol.flags import PermName
from protocol.message import MessageQueue


@dataclass(frozen=True, slots=True)
class TopicRoute:
    """The route of one topic, prepared for its users.

    write_queues: queues whose broker has a master and which may be written to; in queue order of each broker.
    read_queues:  queues which may be read from, masters or not.
    order:        the queues are fixed by an order configuration.
    """

    topic: str
    data: TopicRouteData
    write_queues: tuple[MessageQueue, ...]
    read_queues: tuple[MessageQueue, ...]
    order: bool = False

    @classmethod
    def of(cls, topic: str, data: TopicRouteData) -> "TopicRoute":
        """Prepare a route as a nameserver answered it."""
        order = data.order_topic_conf
        fixed = _order_queues(topic, order) if isinstance(order, str) and order else None
        return cls(
            topic,
            data,
            tuple(fixed if fixed is not None else _write_queues(topic, data)),
            tuple(_read_queues(topic, data)),
            fixed is not None,
        )

    def same_as(self, other: "TopicRoute | None") -> bool:
        """Whether both say the same, whatever the order of their lists."""
        return other is not None and _sorted(self.data) == _sorted(other.data)


class RouteTable:
    """The routes that this client knows, and the broker addresses that follow from them."""

    def __init__(self) -> None:
        self._routes: dict[str, TopicRoute] = {}
        self._brokers: dict[str, dict[int, str]] = {}

    def get(self, topic: str) -> TopicRoute | None:
        """The known route of a topic."""
        return self._routes.get(topic)

    def put(self, route: TopicRoute) -> bool:
        """Remember a route; whether it changed anything."""
        if route.same_as(self._routes.get(route.topic)):
            return False
        self._routes[route.topic] = route
        self._brokers = {}
        for known in self._routes.values():
            if known is not route:
                self._note_brokers(known.data.broker_datas)
        self._note_brokers(route.data.broker_datas)  # the newest word on an address counts
        return True

    @property
    def topics(self) -> list[str]:
        return list(self._routes)

    def master(self, broker_name: str) -> str | None:
        """The address of a broker's master."""
        return self._brokers.get(broker_name, {}).get(MASTER_ID)

    def replica(self, broker_name: str, broker_id: int = MASTER_ID) -> str | None:
        """The address to read from: the wanted replica, else the one after it, else any."""
        addresses = self._brokers.get(broker_name)
        if not addresses:
            return None
        if broker_id in addresses:
            return addresses[broker_id]
        if broker_id != MASTER_ID and broker_id + 1 in addresses:
            return addresses[broker_id + 1]
        return next(iter(addresses.values()))

    def any_broker_of(self, topic: str) -> str | None:
        """The name of some broker that has the topic."""
        route = self._routes.get(topic)
        names = [data.broker_name for data in route.data.broker_datas if data.broker_addrs] if route else []
        return random.choice(names) if names else None

    def addresses(self, *, masters_only: bool) -> set[str]:
        """All broker addresses of all routes."""
        return {
            address
            for replicas in self._brokers.values()
            for broker_id, address in replicas.items()
            if broker_id == MASTER_ID or not masters_only
        }

    def _note_brokers(self, brokers: Iterable[BrokerData]) -> None:
        for broker in brokers:
            self._brokers[broker.broker_name] = dict(broker.broker_addrs)


def template_for(topic: str, data: TopicRouteData, max_queues: int) -> TopicRouteData:
    """The route of the auto-create topic, as the first guess for `topic`: at most `max_queues` queues per broker."""
    queues = [
        msgspec.structs.replace(
            queue,
            read_queue_nums=min(max_queues, queue.read_queue_nums),
            write_queue_nums=min(max_queues, queue.read_queue_nums),
        )
        for queue in data.queue_datas
    ]
    return msgspec.structs.replace(data, queue_datas=queues)


def _write_queues(topic: str, data: TopicRouteData) -> Iterable[MessageQueue]:
    masters = {broker.broker_name for broker in data.broker_datas if broker.master_addr}
    for queue in sorted(data.queue_datas, key=lambda queue: queue.broker_name):
        if queue.perm & PermName.WRITE and queue.broker_name in masters:
            for queue_id in range(queue.write_queue_nums):
                yield MessageQueue(topic, queue.broker_name, queue_id)


def _read_queues(topic: str, data: TopicRouteData) -> Iterable[MessageQueue]:
    for queue in sorted(data.queue_datas, key=lambda queue: queue.broker_name):
        if queue.perm & PermName.READ:
            for queue_id in range(queue.read_queue_nums):
                yield MessageQueue(topic, queue.broker_name, queue_id)


def _order_queues(topic: str, configuration: str) -> list[MessageQueue]:
    queues = []
    for part in configuration.split(";"):
        broker_name, _, count = part.partition(":")
        if broker_name and count.isdigit():
            queues += [MessageQueue(topic, broker_name, queue_id) for queue_id in range(int(count))]
    return queues


def _sorted(data: TopicRouteData) -> tuple[object, ...]:
    return (
        sorted(msgspec.structs.astuple(queue) for queue in data.queue_datas),
        sorted((broker.broker_name, sorted(broker.broker_addrs.items())) for broker in data.broker_datas),
        data.order_topic_conf,
    )
