"""Membership of groups: what counts as a change, who is gone, who subscribes differently."""

import pytest

from protocol.bodies.heartbeat import ConsumerData, MessageModel, SubscriptionData
from rmq_server.broker.clients import ConsumerGroup, Consumers, Producers
from rmq_server.core.clock import ManualClock
from tests.support.wire import silent_peer


def consumer(expression: str = "*", version: int = 1, topics: tuple[str, ...] = ("T",), **fields) -> ConsumerData:
    subscriptions = [SubscriptionData.of(topic, expression, version) for topic in topics]
    return ConsumerData(group_name="G", subscription_data_set=subscriptions, **fields)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.changes: list[list[str]] = []
        self.consumers = Consumers(self.clock, self._changed)

    def _changed(self, group: ConsumerGroup) -> None:
        self.changes.append(group.client_ids)

    def beat(self, peer, client_id: str, data: ConsumerData | None = None, *, without_sub: bool = False) -> None:
        self.consumers.register(peer, client_id, data or consumer(), without_sub=without_sub)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_join_leave_and_a_broken_connection_are_changes_a_heartbeat_is_not(bench: Bench) -> None:
    a, b = silent_peer(1), silent_peer(2)
    bench.beat(a, "a")
    bench.beat(b, "b")
    bench.beat(a, "a")
    assert bench.changes == [["a"], ["a", "b"]]
    b.lose()
    assert bench.changes[-1] == ["a"]
    bench.consumers.unregister(a, "G")
    assert bench.changes[-1] == []
    assert bench.consumers.get("G") is None


async def test_a_topic_more_or_less_is_a_change_another_expression_alone_is_not(bench: Bench) -> None:
    peer = silent_peer()
    bench.beat(peer, "a")
    bench.beat(peer, "a", consumer("TagA", 2))
    assert len(bench.changes) == 1
    bench.beat(peer, "a", consumer(topics=("T", "U")))
    assert len(bench.changes) == 2
    bench.beat(peer, "a", consumer())
    assert len(bench.changes) == 3


async def test_a_heartbeat_without_subscriptions_keeps_them(bench: Bench) -> None:
    peer = silent_peer()
    bench.beat(peer, "a", consumer("TagA"))
    bench.beat(peer, "a", ConsumerData(group_name="G"), without_sub=True)
    group = bench.consumers.get("G")
    assert group is not None
    subscription = group.subscription("T", peer)
    assert subscription is not None
    assert subscription.tags_set == ["TagA"]


async def test_members_that_subscribe_differently_each_keep_theirs_and_are_named(bench: Bench, caplog) -> None:
    a, b, stranger = silent_peer(1), silent_peer(2), silent_peer(3)
    bench.beat(a, "a", consumer("TagA", 1))
    bench.beat(b, "b", consumer("TagB", 2))
    bench.beat(b, "b", consumer("TagB", 3))
    group = bench.consumers.get("G")
    assert group is not None
    assert [group.subscription("T", peer).tags_set for peer in (a, b, stranger)] == [["TagA"], ["TagB"], ["TagB"]]
    warnings = [record.getMessage() for record in caplog.records if "subscribe differently" in record.getMessage()]
    assert len(warnings) == 1
    for part in ("group=G", "topic=T", "client_id=b", "other_client_id=a", "TagA", "TagB"):
        assert part in warnings[0]


async def test_a_client_that_reconnects_takes_the_place_of_its_old_connection(bench: Bench) -> None:
    old, new = silent_peer(1), silent_peer(2)
    bench.beat(old, "a")
    bench.beat(new, "a")
    group = bench.consumers.get("G")
    assert group is not None
    assert group.client_ids == ["a"]
    old.lose()
    assert bench.consumers.get("G") is group


async def test_silence_expires(bench: Bench) -> None:
    quiet, loud = silent_peer(1), silent_peer(2)
    bench.beat(quiet, "quiet")
    bench.clock.advance(100)
    bench.beat(loud, "loud")
    bench.clock.advance(30)
    assert bench.consumers.expired(120_000) == [quiet]


async def test_broadcasting_is_known(bench: Bench) -> None:
    bench.beat(silent_peer(), "a", consumer(message_model=MessageModel.BROADCASTING))
    group = bench.consumers.get("G")
    assert group is not None
    assert group.is_broadcasting


async def test_producers_come_and_go() -> None:
    clock = ManualClock()
    producers = Producers(clock)
    a, b = silent_peer(1), silent_peer(2)
    producers.register(a, "a", "P")
    producers.register(b, "b", "P")
    assert [member.client_id for member in producers.members("P")] == ["a", "b"]
    a.lose()
    producers.unregister(b, "P")
    assert producers.members("P") == []
    producers.register(silent_peer(3), "c", "P")
    clock.advance(121)
    assert len(producers.expired(120_000)) == 1
