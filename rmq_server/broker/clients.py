"""Who is connected: the members of consumer groups with their subscriptions, and the producers.

A group ends with its last member. Every member's own subscription is kept, so a member that subscribes differently is
noticed, and pulls are filtered by what the puller itself asked for.
Differs: upstream keeps one subscription per group and topic, so that of two members with different tags one loses
messages at the broker; here each pulls what it subscribed to, and the difference is logged as a warning.
Source: apache/rocketmq: broker/.../client/ConsumerManager.java, ProducerManager.java; behaviour.md 3.4
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from protocol.bodies.heartbeat import ConsumerData, MessageModel, SubscriptionData
from rmq_server.core.clock import Clock
from rmq_server.core.log import get_logger
from rmq_server.net.peer import Peer

_log = get_logger("broker")


@dataclass(slots=True)
class Member:
    """One client in one group, as its latest heartbeat describes it."""

    client_id: str
    peer: Peer
    last_seen_ms: int
    subscriptions: dict[str, SubscriptionData] = field(default_factory=dict)


@dataclass(slots=True)
class ConsumerGroup:
    """A consumer group with at least one member."""

    name: str
    consume_type: str
    message_model: str
    consume_from_where: str
    members: dict[Peer, Member] = field(default_factory=dict)

    @property
    def is_broadcasting(self) -> bool:
        return self.message_model == MessageModel.BROADCASTING

    @property
    def client_ids(self) -> list[str]:
        """The ids of the live members, each once."""
        return list(dict.fromkeys(member.client_id for member in self.members.values()))

    @property
    def topics(self) -> frozenset[str]:
        """All topics that any member subscribes to."""
        return frozenset(topic for member in self.members.values() for topic in member.subscriptions)

    def subscription(self, topic: str, peer: Peer) -> SubscriptionData | None:
        """What the peer, or else any member, subscribed to of a topic."""
        member = self.members.get(peer)
        if member is not None and topic in member.subscriptions:
            return member.subscriptions[topic]
        found = [m.subscriptions[topic] for m in self.members.values() if topic in m.subscriptions]
        return max(found, key=lambda data: data.sub_version, default=None)


class Consumers:
    """All consumer groups with live members; `on_change` is told a group whose membership or topics changed."""

    def __init__(self, clock: Clock, on_change: Callable[[ConsumerGroup], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._groups: dict[str, ConsumerGroup] = {}

    def __iter__(self) -> Iterator[ConsumerGroup]:
        return iter(list(self._groups.values()))

    def get(self, group: str) -> ConsumerGroup | None:
        """A group with live members, None when it has none."""
        return self._groups.get(group)

    def register(self, peer: Peer, client_id: str, data: ConsumerData, *, without_sub: bool) -> None:
        """Take a heartbeat's word on one group of a client."""
        group = self._groups.get(data.group_name)
        if group is None:
            group = ConsumerGroup(data.group_name, data.consume_type, data.message_model, data.consume_from_where)
            self._groups[data.group_name] = group
        topics_before = group.topics
        member = group.members.get(peer)
        joined = member is None
        if member is None:
            self._replace_channel(group, client_id)
            member = group.members[peer] = Member(client_id, peer, self._clock.now_ms())
            peer.call_on_close(self.forget_peer)
            _log.info("consumer joined", group=group.name, client_id=client_id, peer=peer.address)
        member.client_id = client_id
        member.last_seen_ms = self._clock.now_ms()
        group.consume_type, group.message_model = data.consume_type, data.message_model
        group.consume_from_where = data.consume_from_where
        if not without_sub:
            self._subscribe(group, member, data)
        if joined or group.topics != topics_before:
            self._on_change(group)

    def unregister(self, peer: Peer, group_name: str) -> None:
        """A client leaves a group."""
        group = self._groups.get(group_name)
        member = group.members.pop(peer, None) if group is not None else None
        if group is None or member is None:
            return
        _log.info("consumer left", group=group_name, client_id=member.client_id, peer=peer.address)
        if not group.members:
            del self._groups[group_name]
        self._on_change(group)

    def forget_peer(self, peer: Peer) -> None:
        """A connection is gone: leave all its groups."""
        for group in self:
            if peer in group.members:
                self.unregister(peer, group.name)

    def expired(self, expiry_ms: int) -> list[Peer]:
        """The peers that have sent no heartbeat for so long."""
        deadline = self._clock.now_ms() - expiry_ms
        return list({m.peer: None for group in self for m in group.members.values() if m.last_seen_ms < deadline})

    def _replace_channel(self, group: ConsumerGroup, client_id: str) -> None:
        """A client that came back over a new connection takes the place of its old one."""
        for peer, member in list(group.members.items()):
            if member.client_id == client_id:
                del group.members[peer]
                _log.info("consumer reconnected", group=group.name, client_id=client_id, old_peer=peer.address)

    def _subscribe(self, group: ConsumerGroup, member: Member, data: ConsumerData) -> None:
        previous = member.subscriptions
        member.subscriptions = {subscription.topic: subscription for subscription in data.subscription_data_set}
        for topic, subscription in member.subscriptions.items():
            if topic in previous and previous[topic].same_filter(subscription):
                continue
            self._warn_of_mismatch(group, member, topic, subscription)

    def _warn_of_mismatch(
        self, group: ConsumerGroup, member: Member, topic: str, subscription: SubscriptionData
    ) -> None:
        for other in group.members.values():
            theirs = other.subscriptions.get(topic)
            if other is not member and theirs is not None and not theirs.same_filter(subscription):
                _log.warning(
                    "members of a group subscribe differently: messages will be missed",
                    group=group.name,
                    topic=topic,
                    client_id=member.client_id,
                    expression=subscription.sub_string,
                    other_client_id=other.client_id,
                    other_expression=theirs.sub_string,
                )
                return


class Producers:
    """Producer groups and the connections of their members."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: dict[str, dict[Peer, Member]] = {}

    def register(self, peer: Peer, client_id: str, group: str) -> None:
        """Take a heartbeat's word on one group of a client."""
        members = self._groups.setdefault(group, {})
        if peer not in members:
            peer.call_on_close(self.forget_peer)
        members[peer] = Member(client_id, peer, self._clock.now_ms())

    def unregister(self, peer: Peer, group: str) -> None:
        """A client leaves a group."""
        members = self._groups.get(group)
        if members is not None and members.pop(peer, None) is not None and not members:
            del self._groups[group]

    def forget_peer(self, peer: Peer) -> None:
        """A connection is gone: leave all its groups."""
        for group in list(self._groups):
            self.unregister(peer, group)

    def members(self, group: str) -> list[Member]:
        """The live producers of a group."""
        return list(self._groups.get(group, {}).values())

    def expired(self, expiry_ms: int) -> list[Peer]:
        """The peers that have sent no heartbeat for so long."""
        deadline = self._clock.now_ms() - expiry_ms
        return list(
            {peer: None for group in self._groups.values() for peer, m in group.items() if m.last_seen_ms < deadline}
        )
