"""RouteInfoManager: which broker is alive, where it listens, and which topics it has.

A broker lives as long as the connection over which it registered last, and no longer than its own time-out after its
last word. Brokers are known by cluster and address; replicas share a broker name and differ by id, 0 is the master.

Invariants: each broker name in `_topics` is in `_brokers`; a name in `_brokers` has at least one address; an address
stands under one id only; `_encoded` holds only what a fresh encoding would give.
Differs: filter servers, long gone upstream, are not kept.
Source: apache/rocketmq: namesrv/.../routeinfo/RouteInfoManager.java; remoting.md 3.2
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from protocol.bodies.codec import encode_body
from protocol.bodies.route import MASTER_ID, BrokerData, ClusterInfo, QueueData, TopicRouteData
from protocol.bodies.topic_config import DataVersion, TopicConfig, TopicConfigTable
from protocol.flags import PermName
from rmq_server.core.clock import Clock
from rmq_server.core.log import get_logger

DEFAULT_TIMEOUT_MS = 120_000

_log = get_logger("namesrv.routes")


class BrokerKey(NamedTuple):
    """One broker process."""

    cluster: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a broker says of itself.

    acting_master: None from brokers that do not know the feature.
    channel:       the connection over which it came.
    """

    key: BrokerKey
    broker_name: str
    broker_id: int
    channel: Hashable
    topics: TopicConfigTable = field(default_factory=TopicConfigTable)
    ha_address: str = ""
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    acting_master: bool | None = None


class Master(NamedTuple):
    """Where a slave finds its master; None when there is no live one, and for a master."""

    address: str | None = None
    ha_address: str | None = None


@dataclass(slots=True)
class LiveBroker:
    """A broker that is alive; deadline_s: monotonic time after which it is not, unless it speaks."""

    broker_name: str
    data_version: DataVersion
    channel: Hashable
    ha_address: str
    timeout_s: float
    deadline_s: float


class RouteInfoManager:
    """The tables of one NameServer.

    prune: a registration removes those topics of its broker that it leaves out.
    """

    def __init__(self, clock: Clock, *, prune: bool = False) -> None:
        self._clock = clock
        self._prune = prune
        self._topics: dict[str, dict[str, QueueData]] = {}
        self._brokers: dict[str, BrokerData] = {}
        self._live: dict[BrokerKey, LiveBroker] = {}
        self._encoded: dict[str, bytes] = {}

    # What brokers say

    def register(self, registration: Registration) -> Master | None:
        """Take a broker in, or take its changes over.

        Returns None when it is refused: an incremental registration of a broker that is not known here.
        """
        key, name, broker_id = registration.key, registration.broker_name, registration.broker_id
        broker = self._brokers.get(name)
        holder = broker.broker_addrs.get(broker_id) if broker else None
        if (
            holder is not None
            and holder != key.address
            and self._outranks(BrokerKey(key.cluster, holder), registration)
        ):
            _log.warning("broker id is taken", broker=name, broker_id=broker_id, address=key.address, holder=holder)
            self._live.pop(key, None)
            return Master()
        if holder is None and len(registration.topics.topic_config_table) == 1:
            _log.warning("incremental registration of an unknown broker refused", broker=name, address=key.address)
            return None
        broker = self._place(registration)
        self._take_topics(registration, broker, first=holder is None)
        self._take_liveness(registration)
        return Master() if broker_id == MASTER_ID else self._master_of(key.cluster, broker)

    def touch(self, key: BrokerKey) -> None:
        """A broker is alive."""
        live = self._live.get(key)
        if live is not None:
            live.deadline_s = self._clock.monotonic() + live.timeout_s

    def data_version(self, key: BrokerKey) -> DataVersion | None:
        """The version of a live broker's topics, as it was last registered."""
        live = self._live.get(key)
        return live.data_version if live else None

    def unregister(self, key: BrokerKey, broker_name: str) -> None:
        """A broker says goodbye; its topics go with the last replica of its name."""
        self._live.pop(key, None)
        broker = self._brokers.get(broker_name)
        if broker is None or key.address not in broker.broker_addrs.values():
            return
        broker.broker_addrs = {id_: address for id_, address in broker.broker_addrs.items() if address != key.address}
        self._encoded.clear()
        _log.info("broker unregistered", broker=broker_name, address=key.address, replicas=len(broker.broker_addrs))
        if not broker.broker_addrs:
            del self._brokers[broker_name]
            self._remove_topics(broker_name, list(self._topics))
        elif broker.enable_acting_master and broker.master_addr is None:
            self._change_perm(broker_name, lambda perm: perm & ~PermName.WRITE)

    def channel_closed(self, channel: Hashable) -> None:
        """A connection is gone, and with it the brokers that registered over it last."""
        for key, live in [*self._live.items()]:
            if live.channel == channel:
                self.unregister(key, live.broker_name)

    def expire(self) -> list[LiveBroker]:
        """Remove the brokers that were silent for too long; returns them, so that their connections can be closed."""
        now = self._clock.monotonic()
        silent = [(key, live) for key, live in self._live.items() if live.deadline_s < now]
        for key, live in silent:
            _log.warning("broker is silent", broker=live.broker_name, address=key.address, timeout_s=live.timeout_s)
            self.unregister(key, live.broker_name)
        return [live for _, live in silent]

    # What tools change

    def wipe_write_perm(self, broker_name: str) -> int:
        """Take the write permission from all topics of a broker; returns how many. Its next change gives it back."""
        return self._change_perm(broker_name, lambda perm: perm & ~PermName.WRITE)

    def add_write_perm(self, broker_name: str) -> int:
        """Make all topics of a broker readable and writable; returns how many."""
        return self._change_perm(broker_name, lambda perm: PermName.READ_WRITE)

    def add_topic(self, topic: str, queues: Iterable[QueueData]) -> None:
        """Add a topic to brokers that did not register it; queues of unknown brokers are ignored."""
        for queue in queues:
            if queue.broker_name in self._brokers:
                self._put_queue(topic, queue)
            else:
                _log.warning("topic of an unknown broker ignored", topic=topic, broker=queue.broker_name)

    def delete_topic(self, topic: str, cluster: str | None = None) -> None:
        """Forget a topic, everywhere or on the brokers of one cluster; who registers it again brings it back."""
        names = self._topics.get(topic, {})
        for name in [*names]:
            if cluster is None or self._brokers[name].cluster == cluster:
                self._remove_topics(name, [topic])

    # What clients and tools ask

    def route(self, topic: str) -> TopicRouteData | None:
        """Where a topic lives; None when no broker has it."""
        queues = self._topics.get(topic)
        if not queues:
            return None
        return TopicRouteData(broker_datas=[self._brokers[name] for name in queues], queue_datas=list(queues.values()))

    def encoded_route(self, topic: str) -> bytes | None:
        """`route` as compact JSON, encoded once per change: all clients poll it."""
        body = self._encoded.get(topic)
        if body is None:
            route = self.route(topic)
            if route is None:
                return None
            body = self._encoded[topic] = encode_body(route)
        return body

    def cluster_info(self) -> ClusterInfo:
        """All live brokers."""
        clusters: dict[str, list[str]] = {}
        for name, broker in self._brokers.items():
            clusters.setdefault(broker.cluster, []).append(name)
        return ClusterInfo(broker_addr_table=self._brokers, cluster_addr_table=clusters)

    def topics(self) -> list[str]:
        """The names of all topics."""
        return list(self._topics)

    def topics_of_cluster(self, cluster: str) -> list[str]:
        """The names of the topics that a broker of the cluster has."""
        names = {name for name, broker in self._brokers.items() if broker.cluster == cluster}
        return [topic for topic, queues in self._topics.items() if not names.isdisjoint(queues)]

    # Inside

    def _outranks(self, holder: BrokerKey, newcomer: Registration) -> bool:
        live = self._live.get(holder)
        return live is not None and live.data_version.state_version > newcomer.topics.data_version.state_version

    def _place(self, registration: Registration) -> BrokerData:
        """Put the address under its id, and under no other."""
        key, broker_id = registration.key, registration.broker_id
        before = self._brokers.get(registration.broker_name)
        others = before.broker_addrs.items() if before else ()
        addresses = {id_: address for id_, address in others if address != key.address}
        broker = BrokerData(
            cluster=key.cluster,
            broker_name=registration.broker_name,
            broker_addrs=dict(sorted((addresses | {broker_id: key.address}).items())),
            enable_acting_master=bool(registration.acting_master),
        )
        if broker != before:
            self._brokers[registration.broker_name] = broker
            self._encoded.clear()
        return broker

    def _take_topics(self, registration: Registration, broker: BrokerData, *, first: bool) -> None:
        is_master = registration.broker_id == MASTER_ID
        is_prime_slave = registration.acting_master is not None and registration.broker_id == min(broker.broker_addrs)
        if not (is_master or is_prime_slave):
            return
        name, table = broker.broker_name, registration.topics
        if self._prune:
            self._remove_topics(name, [topic for topic in self._topics if topic not in table.topic_config_table])
        is_changed = first or self.data_version(registration.key) != table.data_version
        mask = ~PermName.WRITE if registration.acting_master and not is_master else ~0
        for topic, config in table.topic_config_table.items():
            if is_changed or name not in self._topics.get(topic, {}):
                self._put_queue(topic, _queue_data(name, config, mask))

    def _take_liveness(self, registration: Registration) -> None:
        key = registration.key
        timeout_s = (registration.timeout_ms if registration.timeout_ms > 0 else DEFAULT_TIMEOUT_MS) / 1000
        if key not in self._live:
            _log.info(
                "broker registered",
                broker=registration.broker_name,
                broker_id=registration.broker_id,
                cluster=key.cluster,
                address=key.address,
                topics=len(registration.topics.topic_config_table),
            )
        self._live[key] = LiveBroker(
            broker_name=registration.broker_name,
            data_version=registration.topics.data_version,
            channel=registration.channel,
            ha_address=registration.ha_address,
            timeout_s=timeout_s,
            deadline_s=self._clock.monotonic() + timeout_s,
        )

    def _master_of(self, cluster: str, broker: BrokerData) -> Master:
        address = broker.master_addr
        live = self._live.get(BrokerKey(cluster, address)) if address else None
        return Master(address, live.ha_address) if live else Master()

    def _put_queue(self, topic: str, queue: QueueData) -> None:
        queues = self._topics.setdefault(topic, {})
        if queues.get(queue.broker_name) != queue:
            queues[queue.broker_name] = queue
            self._encoded.pop(topic, None)

    def _remove_topics(self, broker_name: str, topics: Iterable[str]) -> None:
        for topic in topics:
            queues = self._topics[topic]
            if queues.pop(broker_name, None) is not None:
                self._encoded.pop(topic, None)
            if not queues:
                del self._topics[topic]

    def _change_perm(self, broker_name: str, change: Callable[[int], int]) -> int:
        count = 0
        for topic, queues in self._topics.items():
            queue = queues.get(broker_name)
            if queue is not None:
                self._put_queue(topic, replace(queue, perm=change(queue.perm)))
                count += 1
        return count


def _queue_data(broker_name: str, config: TopicConfig, mask: int) -> QueueData:
    return QueueData(
        broker_name=broker_name,
        read_queue_nums=config.read_queue_nums,
        write_queue_nums=config.write_queue_nums,
        perm=config.perm & mask,
        topic_sys_flag=config.topic_sys_flag,
    )
