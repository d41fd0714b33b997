"""Published Java clients, 4.9.7 and 5.3.3, with both header codecs: what was sent is what arrives."""

from collections import Counter
from pathlib import Path

import pytest

from tests.interop.java_client import JavaClient, allocation, of_kind, wait_for_messages
from tests.interop.peers import LAST_4X, REFERENCE, Cluster, until

FLAVOURS = [(version, codec) for version in (REFERENCE, LAST_4X) for codec in ("JSON", "ROCKETMQ")]
SAMPLE = {(REFERENCE, "JSON"), (LAST_4X, "ROCKETMQ")}

every_flavour = pytest.mark.parametrize("flavour", FLAVOURS, ids="-".join)
every_flavour_sampled = pytest.mark.parametrize(
    "flavour",
    [pytest.param(flavour, marks=pytest.mark.sample if flavour in SAMPLE else ()) for flavour in FLAVOURS],
    ids="-".join,
)


@pytest.fixture
def client(flavour: tuple[str, str], needs_java: None, cluster: Cluster, tmp_path: Path) -> JavaClient:
    version, codec = flavour
    return JavaClient(version=version, codec=codec, namesrv=cluster.namesrv, directory=tmp_path)


@pytest.fixture
def topic(flavour: tuple[str, str], request: pytest.FixtureRequest) -> str:
    """A topic of this test alone, which does not exist yet."""
    version, codec = flavour
    return f"{request.function.__name__}-{version.replace('.', '_')}-{codec}"


@every_flavour_sampled
def test_every_way_to_send(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """Sync, async, oneway, batch and ordered sends to a topic that nobody made arrive exactly once."""
    counts = {"sync": 10, "async": 10, "oneway": 10, "batch": 10, "ordered": 12}
    sent = client.send(topic, **counts)
    assert Counter(event["mode"] for event in sent) == counts
    assert {event["status"] for event in sent if event["mode"] != "oneway"} == {"SEND_OK"}

    with client.consume(topic) as consumer:
        messages = {event["body"]: event for event in wait_for_messages(len(sent), consumer)}
    received = of_kind("message", consumer)
    assert sorted(event["body"] for event in received) == sorted(event["body"] for event in sent)
    assert sum(cluster.max_offsets(topic, queues=4)) == len(sent)

    for event in sent:
        message = messages[event["body"]]
        assert message["tag"] == event["tag"]
        assert message["key"] == event["body"]
        assert message["reconsumeTimes"] == 0
        if event["mode"] in {"sync", "async", "ordered"}:
            assert [message[name] for name in ("msgId", "queueId", "queueOffset")] == [
                event[name] for name in ("msgId", "queueId", "queueOffset")
            ]
    batch = [(event, messages[event["body"]]) for event in sent if event["mode"] == "batch"]
    assert [message["queueOffset"] - event["queueOffset"] for event, message in batch] == list(range(len(batch)))
    ids = [message["msgId"] for _, message in batch]
    # Apache's broker up to 5.3.3 gives the properties of the whole batch, its id among them, to every message
    # (apache/rocketmq#9416); the ids that the producer was told are right after that.
    assert ids == batch[0][0]["msgId"].split(",") or len(set(ids)) == 1


@every_flavour_sampled
def test_orderly_consumers_keep_the_order(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """Messages of one key arrive in the order of sending, at one of two orderly consumers."""
    cluster.create_topic(topic, queues=4)
    with client.consume(topic, orderly=True) as one, client.consume(topic, orderly=True) as other:
        until(
            lambda: len(allocation(topic, one)) == len(allocation(topic, other)) == 2,
            seconds=60,
            what=lambda: f"two queues each\n{one.report()}\n{other.report()}",
        )
        sent = client.send(topic, ordered=30)
        wait_for_messages(30, one, other)
    for key in range(3):
        bodies = [f"ordered-{i}" for i in range(key, 30, 3)]
        assert len({event["queueId"] for event in sent if event["body"] in bodies}) == 1
        had = [[event["body"] for event in of_kind("message", who) if event["body"] in bodies] for who in (one, other)]
        assert sorted(had) == [[], bodies]


@every_flavour_sampled
def test_consumer_gets_only_its_tags(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """Of three tags, a consumer of two gets exactly the messages of those."""
    cluster.create_topic(topic, queues=4)
    # Of 12 messages each queue gets one of every tag, so no queue can skip a TagC of the first round unnoticed: an
    # orderly consumer that has the second round has passed all of the first.
    sent = client.send(topic, sync=12) + client.send(topic, sync=12)
    wanted = [event for event in sent if event["tag"] in {"TagA", "TagB"}]
    with client.consume(topic, orderly=True, expression="TagA || TagB") as consumer:
        received = wait_for_messages(len(wanted), consumer)
    assert Counter(event["msgId"] for event in received) == Counter(event["msgId"] for event in wanted)
    assert {event["tag"] for event in received} == {"TagA", "TagB"}


@every_flavour
def test_consumers_share_the_queues(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """Two consumers of a group hold four of eight queues each; when one is killed, the other soon holds all."""
    cluster.create_topic(topic, queues=8)
    with client.consume(topic, rebalance_seconds=20) as one, client.consume(topic, rebalance_seconds=20) as other:
        until(
            lambda: len(allocation(topic, one)) == len(allocation(topic, other)) == 4,
            seconds=60,
            what=lambda: f"four queues each\n{one.report()}\n{other.report()}",
        )
        assert allocation(topic, one) | allocation(topic, other) == set(range(8))
        one.stop(grace=0)
        other.wait_for(lambda consumer: len(allocation(topic, consumer)) == 8, seconds=10, what="all queues")


@every_flavour
def test_failed_messages_come_again(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """What a concurrent consumer gives back comes again after its delay, once, as the same message."""
    cluster.create_topic(topic)
    sent = client.send(topic, sync=6)
    with client.consume(topic, fail_first=True) as consumer:
        received = wait_for_messages(12, consumer)
    for times in (0, 1):
        again = [event for event in received if event["reconsumeTimes"] == times]
        assert sorted(event["msgId"] for event in again) == sorted(event["msgId"] for event in sent)
        assert sorted(event["body"] for event in again) == sorted(event["body"] for event in sent)


@pytest.mark.not_yet("delayed messages are refused until the broker has delay levels")
@every_flavour
def test_delayed_messages_wait(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """Messages of delay level 1 arrive once, and not before a second has passed."""
    cluster.create_topic(topic)
    with client.consume(topic) as consumer:
        consumer.wait_for(lambda program: len(allocation(topic, program)) == 4, what="its queues")
        sent = client.send(topic, delay=5)
        received = wait_for_messages(5, consumer)
    assert sorted(event["msgId"] for event in received) == sorted(event["msgId"] for event in sent)
    assert min(event["ageMs"] for event in received) >= 1000


@pytest.mark.not_yet("transactional messages are refused until the broker can check them")
@every_flavour
def test_only_committed_transactions_arrive(client: JavaClient, cluster: Cluster, topic: str) -> None:
    """Half messages that were committed arrive; those rolled back never reach the topic."""
    cluster.create_topic(topic)
    client.send(topic, transaction=6)
    with client.consume(topic) as consumer:
        received = wait_for_messages(3, consumer)
    assert sorted(event["body"] for event in received) == ["transaction-0", "transaction-2", "transaction-4"]
    assert sum(cluster.max_offsets(topic, queues=4)) == 3
