"""Pulling by hand, administration, and what every client does in the background."""

import asyncio
import zlib

import pytest

from protocol.codes import RequestCode, ResponseCode
from protocol.flags import MessageSysFlag
from protocol.record import CorruptRecord
from rmq_client import (
    AdminClient,
    MessageQueue,
    Misuse,
    NoRoute,
    NotRunning,
    Producer,
    PullConsumer,
    PullStatus,
    RequestTimeout,
)
from tests.unit.rmq_client.fake import World, refuse, until


async def test_a_pull_carries_its_expression_and_group():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, zlib.compress(b"large"), b"TAGS\x01a\x02", sys_flag=MessageSysFlag.COMPRESSED)
    world.broker.store("T", 0, b"other", b"TAGS\x01b\x02")
    async with PullConsumer("pullers", client=world.client()) as puller:
        (queue,) = await puller.queues("T")
        result = await puller.pull(queue, 0, 10, expression="a || c")
        assert result.status is PullStatus.FOUND
        assert [message.body for message in result.messages] == [b"large"]
        assert (result.next_offset, result.min_offset, result.max_offset) == (2, 0, 2)
        (pull,) = [request for request in world.broker.requests if request.code == RequestCode.PULL_MESSAGE]
        assert pull.ext["subscription"] == "a || c"
        assert pull.ext["sysFlag"] == "4"
        beat = world.broker.heartbeats[0].consumer_data_set[0]
        assert (beat.group_name, beat.consume_type) == ("pullers", "CONSUME_ACTIVELY")


async def test_a_waiting_pull_is_held_by_the_broker():
    world = World(topics={"T": 1})
    async with PullConsumer("pullers", client=world.client()) as puller, asyncio.TaskGroup() as group:
        (queue,) = await puller.queues("T")
        assert (await puller.pull(queue, 0)).status is PullStatus.NO_NEW_MSG
        waiting = group.create_task(puller.pull(queue, 0, wait=10))
        await until(lambda: world.broker.held)
        world.broker.store("T", 0, b"x")
        assert (await waiting).messages[0].queue_offset == 0


async def test_offsets_of_a_group():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    async with PullConsumer("pullers", client=world.client()) as puller:
        queue = MessageQueue("T", "broker-a", 0)
        assert await puller.committed(queue) is None, "the broker's address is looked up when it is not known"
        await puller.commit(queue, 1)
        assert await puller.committed(queue) == 1
        assert (await puller.min_offset(queue), await puller.max_offset(queue)) == (0, 1)
        assert await puller.search_offset(queue, 1_700_000_000) == 1
        with pytest.raises(NoRoute):
            await puller.queues("Unknown")


async def test_a_damaged_record_is_an_error_and_no_loss():
    world = World(topics={"T": 1})
    world.broker.answers[RequestCode.PULL_MESSAGE] = lambda session, request: world.broker.pull_answer(
        request, 0, 1, 0, 1, b"\x00\x00\x00\x05damaged"
    )
    async with PullConsumer("pullers", client=world.client()) as puller:
        (queue,) = await puller.queues("T")
        with pytest.raises(CorruptRecord):
            await puller.pull(queue, 0)


async def test_a_topic_is_created_on_every_master_and_awaited():
    world = World("a", "b")
    async with AdminClient(client=world.client()) as admin:
        await admin.create_topic("New", queues=3)
        assert all(broker.count(RequestCode.UPDATE_AND_CREATE_TOPIC) == 1 for broker in world.brokers.values())
        assert len(await admin.offsets("New")) == 6
        assert "New" in await admin.topics()
        assert set((await admin.cluster()).broker_addr_table) == {"a", "b"}


async def test_a_topic_can_be_created_in_a_part_of_the_cluster():
    world = World("a", "b")
    async with AdminClient(client=world.client()) as admin:
        await admin.create_topic("New", brokers=["b"], cluster="C")
        assert world.brokers["a"].count(RequestCode.UPDATE_AND_CREATE_TOPIC) == 0
        for wrong in ({"brokers": ["c"]}, {"cluster": "D"}, {"queues": 0}, {"perm": 8}):
            with pytest.raises(Misuse):
                await admin.create_topic("New", **wrong)


async def test_a_route_that_does_not_appear_is_a_timeout():
    world = World()
    world.nameserver.answers[RequestCode.GET_ROUTEINFO_BY_TOPIC] = refuse(ResponseCode.TOPIC_NOT_EXIST)
    async with AdminClient(client=world.client()) as admin:
        with pytest.raises(RequestTimeout, match="does not show"):
            await admin.create_topic("New", timeout=0.02)
        with pytest.raises(NoRoute):
            await admin.route("T")


async def test_lag_is_what_was_not_consumed():
    world = World(topics={"T": 3})
    for number in range(9):
        world.broker.store("T", number % 3, b"x")
    world.broker.first_offset["T", 2] = 7
    world.broker.offsets["g", "T", 0] = 2
    world.broker.offsets["g", "T", 2] = 1
    async with AdminClient(client=world.client()) as admin:
        lag = await admin.consumer_lag("g", "T")
        assert [lag.queues[queue] for queue in sorted(lag.queues)] == [1, 3, 3]
        assert lag.total == 7
        assert list((await admin.consumer_offsets("g", "T")).values()) == [2, None, 1]


@pytest.mark.parametrize("make", [AdminClient, lambda client: PullConsumer("g", client=client)])
async def test_clients_are_entered_once_and_used_inside(make):
    world = World()
    made = make(client=world.client())
    with pytest.raises(NotRunning):
        await (made.topics() if isinstance(made, AdminClient) else made.queues("T"))
    async with made:
        pass
    with pytest.raises(NotRunning, match="once"):
        await made.__aenter__()


async def test_heartbeats_go_on_and_idle_connections_are_closed():
    world = World()
    async with Producer("pg", client=world.client(heartbeat_s=0.001, idle_close_s=0.002)) as p:
        await p.send("T", b"x")
        await until(lambda: len(world.broker.heartbeats) > 3, 1_000_000)
        await until(lambda: not world.nameserver.sessions, 1_000_000)
        assert world.broker.sessions, "heartbeats keep this one in use"
        world.add_topic("Other")
        await p.send("Other", b"x")


async def test_a_refused_heartbeat_is_logged(caplog):
    world = World()
    world.broker.answers[RequestCode.HEART_BEAT] = refuse(ResponseCode.SYSTEM_ERROR, "not you")
    async with Producer("pg", client=world.client()) as p:
        assert (await p.send("T", b"x")).offset == 0
    assert "not you" in caplog.text


async def test_an_address_that_is_none_is_a_failed_connection():
    world = World()
    world.broker.address = "nonsense"
    async with Producer("pg", client=world.client()) as p:
        with pytest.raises(ConnectionError, match="nonsense"):
            await p.send("T", b"x")
