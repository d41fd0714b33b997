"""Settings of the client: frozen, with a unit in the name of each time and size.

Source: apache/rocketmq: client/.../ClientConfig.java, DefaultMQProducer.java, DefaultMQPushConsumer.java; behaviour.md
1.5, 2.1, 4.1
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from protocol.address import InvalidAddress, format_address, parse_address, parse_address_list
from protocol.allocate import AVERAGELY, AllocateStrategy
from protocol.names import AUTO_CREATE_TOPIC, MAX_MESSAGE_BYTES
from rmq_client.backoff import BackoffPolicy
from rmq_client.errors import Misuse
from rmq_client.transport import Connector, connect_tcp

DEFAULT_NAMESRV = "localhost:9876"
NAMESRV_PORT = 9876
NAMESRV_VARIABLE = "NAMESRV_ADDR"


class ConsumeFrom(Enum):
    """Where a group begins that has no offset yet: at the oldest message, or behind the newest.

    LAST is RocketMQ's default. A broker answers 0 for a queue whose first message is still in memory, so on a young
    topic a new group may begin at the first message with LAST too.
    """

    FIRST = "CONSUME_FROM_FIRST_OFFSET"
    LAST = "CONSUME_FROM_LAST_OFFSET"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What all clients share.

    namesrv:           `host:port`, several joined with `;`; else NAMESRV_ADDR of the environment, else localhost:9876.
    address_map:       for addresses that are announced but cannot be dialled from here: `host:port` or `host` as
                       announced -> what to dial instead (a port left out is kept).
    native_codec:      whether to offer the MSGPACK header codec; Apache's servers ignore the offer.
    request_timeout_s: for every request but sends and pulls.
    idle_close_s:      a connection without traffic for so long is closed.
    reconnect:         waits between background attempts to reach a broker; a send never waits for them.
    connector:         how to dial; a test may give an in-memory one.
    """

    namesrv: str | None = None
    address_map: Mapping[str, str] = field(default_factory=dict)
    native_codec: bool = True
    connect_timeout_s: float = 3.0
    request_timeout_s: float = 3.0
    route_refresh_s: float = 30.0
    heartbeat_s: float = 30.0
    idle_close_s: float = 120.0
    reconnect: BackoffPolicy = field(default_factory=BackoffPolicy)
    connector: Connector = connect_tcp

    @property
    def nameservers(self) -> list[str]:
        """The addresses of the nameservers.

        Raises: Misuse when they do not read.
        """
        text = self.namesrv or os.environ.get(NAMESRV_VARIABLE) or DEFAULT_NAMESRV
        try:
            return [format_address(*parts) for parts in parse_address_list(text, NAMESRV_PORT)]
        except InvalidAddress as problem:
            raise Misuse(f"namesrv={text!r}: {problem}") from None

    def dial_address(self, announced: str) -> tuple[str, int]:
        """Host and port to dial for an announced address.

        Raises: Misuse when the address, or what address_map says, is not `host:port`.
        """
        try:
            host, port = parse_address(announced)
            mapped = self.address_map.get(announced) or self.address_map.get(host)
            return parse_address(mapped, port) if mapped else (host, port)
        except InvalidAddress as problem:
            raise Misuse(str(problem)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """How a producer sends.

    retries:               attempts after the first, each on another broker where there is one.
    retry_not_stored_ok:   also try elsewhere when the status is not SEND_OK.
    max_message_bytes:     limit of a body, and of the sum of a batch.
    max_in_flight_bytes:   bodies that wait for their answer; a send beyond it waits within its time-out.
    create_topic_key, default_topic_queues: template and queue count when the broker creates the topic.
    avoid_slow_brokers:    upstream's sendLatencyEnable: leave out brokers that failed or were slow lately.
    flow_control:          waits before a send tries again on an overloaded broker.
    """

    retries: int = 2
    retry_not_stored_ok: bool = False
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_in_flight_bytes: int = 64 * 1024 * 1024
    create_topic_key: str = AUTO_CREATE_TOPIC
    default_topic_queues: int = 4
    avoid_slow_brokers: bool = False
    flow_control: BackoffPolicy = field(default_factory=BackoffPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """How a push consumer pulls and commits.

    consume_from:    ConsumeFrom, a datetime (naive: local time), or Unix seconds; only for queues without an offset.
    allocate:        how the queues are shared; all members of a group must use the same.
    max_cached_messages, max_cached_bytes, max_cached_span: per queue; beyond one of them the queue is not pulled.
                     Span is the distance of the oldest and the newest cached offset.
    suspend_s:       how long the broker may hold a pull when there is nothing.
    retry:           waits before a message whose handler failed is handled again.
    close_timeout_s: how long closing waits for running handlers before it cancels them.
    """

    consume_from: ConsumeFrom | datetime | float = ConsumeFrom.LAST
    allocate: AllocateStrategy = AVERAGELY
    pull_batch: int = 32
    max_cached_messages: int = 1000
    max_cached_bytes: int = 100 * 1024 * 1024
    max_cached_span: int = 2000
    suspend_s: float = 15.0
    pull_timeout_s: float = 30.0
    commit_interval_s: float = 5.0
    rebalance_interval_s: float = 20.0
    retry: BackoffPolicy = field(default_factory=lambda: BackoffPolicy(max_s=30.0))
    close_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("pull_batch", 1, 1024),
            ("max_cached_messages", 1, 65535),
            ("max_cached_bytes", 1, 1024 * 1024 * 1024),
            ("max_cached_span", 1, 65535),
        ):
            if not low <= getattr(self, name) <= high:
                raise Misuse(f"{name}={getattr(self, name)} is outside {low}..{high}")


def merged(config: ClientConfig | None, namesrv: str | None, address_map: Mapping[str, str] | None) -> ClientConfig:
    """The settings with the two that constructors take directly laid over them."""
    base = config or ClientConfig()
    return replace(base, namesrv=namesrv or base.namesrv, address_map=address_map or base.address_map)
