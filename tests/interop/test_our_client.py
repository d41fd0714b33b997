"""Our client against Apache's nameserver and broker, and in company of Apache's client."""

import asyncio
from pathlib import Path

import pytest

import rmq_client
from tests.interop.java_client import JavaClient, wait_for_messages
from tests.interop.peers import REFERENCE, Cluster

pytestmark = pytest.mark.sample

_PATIENCE = 60
# With the last offset, what was sent before a queue's first owner came would be skipped, and some of it is here.
_FROM_FIRST = rmq_client.ConsumerConfig(consume_from=rmq_client.ConsumeFrom.FIRST)


@pytest.fixture
def topic(apache: Cluster, request: pytest.FixtureRequest) -> str:
    """A topic of this test alone, with four queues."""
    name: str = request.function.__name__
    apache.create_topic(name, queues=4)
    return name


@pytest.fixture
def java_client(apache: Cluster, tmp_path: Path) -> JavaClient:
    return JavaClient(version=REFERENCE, codec="JSON", namesrv=apache.namesrv, directory=tmp_path)


async def test_java_consumes_what_we_send(apache: Cluster, topic: str, java_client: JavaClient) -> None:
    """Body, tag, key, id, queue and offset that our producer was told are what Apache's consumer gets."""
    async with rmq_client.Producer("our-producers", namesrv=apache.namesrv) as producer:
        sent = [await producer.send(topic, f"消息 {i}".encode(), tag=f"Tag{i}", keys=[f"key-{i}"]) for i in range(20)]
    assert {result.queue.queue_id for result in sent} == {0, 1, 2, 3}

    with java_client.consume(topic) as consumer:
        received = await asyncio.to_thread(wait_for_messages, 20, consumer)
    assert sorted(
        (event["body"], event["tag"], event["key"], event["msgId"], event["queueId"], event["queueOffset"])
        for event in received
    ) == sorted(
        (f"消息 {i}", f"Tag{i}", f"key-{i}", result.msg_id, result.queue.queue_id, result.offset)
        for i, result in enumerate(sent)
    )


async def test_we_consume_what_java_sends(apache: Cluster, topic: str, java_client: JavaClient) -> None:
    """Our consumer gets exactly the messages of its tags, in whatever way Apache's producer sent them."""
    counts = {"sync": 9, "async": 9, "oneway": 9, "batch": 9, "ordered": 9, "transaction": 6}
    sent = await asyncio.to_thread(lambda: java_client.send(topic, **counts))
    rolled_back = {"transaction-1", "transaction-3", "transaction-5"}
    wanted = {event["body"] for event in sent if event["tag"] in {"TagA", "TagB"}} - rolled_back

    received: list[str] = []
    async with (
        asyncio.timeout(_PATIENCE),
        rmq_client.PushConsumer(
            "our-consumers",
            {topic: "TagA || TagB"},
            namesrv=apache.namesrv,
            config=_FROM_FIRST,
        ) as consumer,
    ):
        async for message in consumer:
            received.append(message.body.decode())
            assert message.keys == (message.body.decode(),)
            if len(received) == len(wanted):
                break
    assert sorted(received) == sorted(wanted)


async def test_our_consumers_share_the_queues(apache: Cluster, topic: str) -> None:
    """Two of our consumers have two of four queues each; when one leaves, the other soon has all."""

    async def shares(consumers: dict[str, set[int]], producer: rmq_client.Producer, wanted: list[set[int]]) -> None:
        """Send to every queue until the messages of one round come to the consumers from the `wanted` queues."""
        while True:
            for queues in consumers.values():
                queues.clear()
            sent = [await producer.send(topic, b"which queue?") for _ in range(8)]
            expected = {(result.queue.queue_id, result.offset) for result in sent}
            while not expected <= seen:
                await arrived.wait()
                arrived.clear()
            if sorted(map(sorted, consumers.values())) == list(map(sorted, wanted)):
                return

    seen: set[tuple[int, int]] = set()
    arrived = asyncio.Event()

    async def consume(name: str, consumers: dict[str, set[int]]) -> None:
        async def handle(message: rmq_client.MessageExt) -> None:
            consumers[name].add(message.queue.queue_id)
            seen.add((message.queue.queue_id, message.queue_offset))
            arrived.set()

        async with rmq_client.PushConsumer(
            "sharing-consumers", {topic: "*"}, namesrv=apache.namesrv, config=_FROM_FIRST
        ) as consumer:
            await consumer.run(handle, concurrency=4)

    had: dict[str, set[int]] = {"one": set(), "other": set()}
    async with (
        asyncio.timeout(_PATIENCE),
        rmq_client.Producer("our-producers", namesrv=apache.namesrv) as producer,
        asyncio.TaskGroup() as group,
    ):
        tasks = {name: group.create_task(consume(name, had)) for name in had}
        await shares(had, producer, [{0, 1}, {2, 3}])
        tasks["one"].cancel()
        await asyncio.wait([tasks["one"]])
        del had["one"]
        await shares(had, producer, [{0, 1, 2, 3}])
        tasks["other"].cancel()
