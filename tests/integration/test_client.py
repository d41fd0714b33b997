"""Our client against our servers over TCP: send, consume, share, administer, and outlive restarts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rmq_client import (
    AdminClient,
    BackoffPolicy,
    ClientConfig,
    ConnectionLost,
    ConsumeFrom,
    ConsumerConfig,
    Message,
    Producer,
    PullConsumer,
    PullStatus,
    PushConsumer,
    RocketMQError,
    SendStatus,
)
from rmq_server.testing import EmbeddedCluster
from tests.support.eventually import eventually

QUICK = ClientConfig(reconnect=BackoffPolicy(initial_s=0.05, max_s=0.1), route_refresh_s=0.1)


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster() as running:
        yield running


@pytest.fixture
async def admin(cluster: EmbeddedCluster) -> AsyncIterator[AdminClient]:
    async with AdminClient(namesrv=cluster.namesrv) as client:
        yield client


class Ledger:
    """What was consumed, and a way to wait for it."""

    def __init__(self) -> None:
        self.seen: Counter[bytes] = Counter()
        self._changed = asyncio.Condition()

    async def handle(self, message) -> None:
        async with self._changed:
            self.seen[message.body] += 1
            self._changed.notify_all()

    async def wait_for(self, bodies: set[bytes]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: bodies <= set(self.seen))


def consumer(cluster: EmbeddedCluster, wanted="T", group: str = "g") -> PushConsumer:
    config = ConsumerConfig(consume_from=ConsumeFrom.FIRST)
    return PushConsumer(group, wanted, namesrv=cluster.namesrv, client=QUICK, config=config)


@asynccontextmanager
async def running(c: PushConsumer, ledger: Ledger):
    async with c, asyncio.TaskGroup() as group:
        task = group.create_task(c.run(ledger.handle))
        try:
            yield c
        finally:
            await c.close()
            await task


async def assigned(*wanted: tuple[PushConsumer, int]) -> None:
    """Wait until each consumer has so many queues."""
    await eventually(lambda: all(len(c.assignment) == count for c, count in wanted))


async def shared(count: int, *members: PushConsumer) -> None:
    """Wait until each of the queues belongs to one of the members."""
    await eventually(lambda: sum(len(c.assignment) for c in members) == count and all(c.assignment for c in members))
    assert len(frozenset().union(*(c.assignment for c in members))) == count


async def send_until_stored(producer: Producer, body: bytes) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await producer.send("T", body)
            except (RocketMQError, ConnectionLost):
                await asyncio.sleep(0.02)
            else:
                return


async def test_every_way_to_send_and_to_consume(cluster, admin):
    await admin.create_topic("T", queues=4)
    ledger = Ledger()
    async with Producer("pg", namesrv=cluster.namesrv) as producer:
        sent = await producer.send("T", b"one", tag="created", keys=["42"])
        assert sent.status is SendStatus.SEND_OK
        await producer.send(Message("T", b"two", tag="paid"))
        await producer.send("T", b"three", tag="other", queue=sent.queue)
        await producer.send_batch([Message("T", b"b%d" % number, tag="paid") for number in range(10)])
        await producer.send_oneway("T", b"oneway", tag="created")
        keyed = {(await producer.send("T", b"k%d" % n, ordering_key="42", tag="paid")).queue for n in range(5)}
        assert len(keyed) == 1
        expected = {b"one", b"two", b"oneway"} | {b"b%d" % n for n in range(10)} | {b"k%d" % n for n in range(5)}
        async with running(consumer(cluster, {"T": "created || paid"}), ledger):
            await ledger.wait_for(expected)
    assert ledger.seen == Counter(expected)
    assert (await admin.consumer_lag("g", "T")).total == 0


async def test_members_share_without_duplicates(cluster, admin):
    await admin.create_topic("T", queues=8)
    ledger = Ledger()
    bodies = {b"%d" % number for number in range(200)}
    async with Producer("pg", namesrv=cluster.namesrv) as producer, running(consumer(cluster), ledger) as first:
        await assigned((first, 8))
        async with running(consumer(cluster), ledger) as second, running(consumer(cluster), ledger) as third:
            await shared(8, first, second, third)
            for body in bodies:
                await producer.send("T", body)
            await ledger.wait_for(bodies)
        await assigned((first, 8))
    assert ledger.seen == Counter(bodies)


async def test_a_pull_consumer_goes_where_it_is_told(cluster, admin):
    await admin.create_topic("T", queues=1)
    async with (
        Producer("pg", namesrv=cluster.namesrv) as producer,
        PullConsumer("pullers", namesrv=cluster.namesrv) as puller,
    ):
        (queue,) = await puller.queues("T")
        assert await puller.committed(queue) is None
        waiting = asyncio.ensure_future(puller.pull(queue, 0, wait=10))
        for number in range(3):
            await producer.send("T", b"%d" % number, tag="even" if number % 2 == 0 else "odd")
        found = await waiting
        assert found.status is PullStatus.FOUND
        assert found.messages[0].body == b"0"
        odd = await puller.pull(queue, 0, expression="odd")
        assert [message.body for message in odd.messages] == [b"1"]
        assert (await puller.pull(queue, 3)).status is PullStatus.NO_NEW_MSG
        assert (await puller.pull(queue, 9)).status is PullStatus.OFFSET_ILLEGAL
        await puller.commit(queue, 2)
        assert await puller.committed(queue) == 2
        assert (await puller.min_offset(queue), await puller.max_offset(queue)) == (0, 3)
        assert await puller.search_offset(queue, 0) == 0
    assert (await admin.consumer_lag("pullers", "T")).total == 1


async def test_the_administrator_sees_what_there_is(cluster, admin):
    await admin.create_topic("T", queues=3)
    await admin.create_topic("T", queues=5)
    route = await admin.route("T")
    assert route.queue_datas[0].write_queue_nums == 5
    assert "T" in await admin.topics()
    (broker,) = (await admin.cluster()).broker_addr_table.values()
    assert broker.broker_name == route.queue_datas[0].broker_name
    assert len(await admin.offsets("T")) == len(await admin.offsets_at("T", 0)) == 5


async def test_an_announced_address_can_be_mapped(cluster, admin):
    await admin.create_topic("T", queues=1)
    address = (await admin.route("T")).broker_datas[0].master_addr
    good = Producer("pg", namesrv=cluster.namesrv, address_map={address: f"localhost:{address.rpartition(':')[2]}"})
    async with good as producer:
        assert (await producer.send("T", b"x")).status is SendStatus.SEND_OK
    bad = Producer("pg", namesrv=cluster.namesrv, address_map={address: "127.0.0.1:1"})
    async with bad as producer:
        with pytest.raises(ConnectionLost):
            await producer.send("T", b"x")


async def test_clients_outlive_the_nameserver(cluster, admin):
    await admin.create_topic("T", queues=2)
    ledger = Ledger()
    async with (
        Producer("pg", namesrv=cluster.namesrv, client=QUICK) as producer,
        running(consumer(cluster), ledger) as c,
    ):
        await assigned((c, 2))
        await producer.send("T", b"before")
        await cluster.stop_namesrv()
        await producer.send("T", b"meanwhile")
        await ledger.wait_for({b"before", b"meanwhile"})
        await cluster.start_namesrv()
        await producer.send("T", b"after")
        await ledger.wait_for({b"after"})
    assert set(ledger.seen.values()) == {1}


@pytest.mark.parametrize("new_port", [False, True])
async def test_clients_outlive_the_broker(cluster, admin, new_port):
    await admin.create_topic("T", queues=2)
    ledger = Ledger()
    async with (
        Producer("pg", namesrv=cluster.namesrv, client=QUICK) as producer,
        running(consumer(cluster), ledger) as c,
    ):
        await assigned((c, 2))
        await producer.send("T", b"before")
        await ledger.wait_for({b"before"})
        await cluster.stop_broker()
        with pytest.raises(RocketMQError):
            await producer.send("T", b"lost", timeout=0.2)
        await cluster.start_broker(new_port=new_port)
        for number in range(4):
            await send_until_stored(producer, b"%d" % number)
        await ledger.wait_for({b"%d" % number for number in range(4)})
