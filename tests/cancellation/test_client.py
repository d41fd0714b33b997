"""Cancelled anywhere, the client stays true: nothing leaks, nothing is lost, and it can be used again."""

import asyncio

import pytest

from protocol.codes import RequestCode
from rmq_client import (
    AdminClient,
    ConsumeFrom,
    ConsumerConfig,
    Message,
    Producer,
    ProducerConfig,
    PullConsumer,
    PushConsumer,
)
from tests.unit.rmq_client.fake import NAMESRV, World, until

SEND = RequestCode.SEND_MESSAGE_V2


def producer(world: World, **config) -> Producer:
    return Producer("pg", client=world.client(), config=ProducerConfig(**config))


def consumer(world: World, **config) -> PushConsumer:
    return PushConsumer(
        "g", "T", client=world.client(), config=ConsumerConfig(consume_from=ConsumeFrom.FIRST, **config)
    )


async def cancelled_after(turns: int, work) -> bool:
    """Run `work` for so many turns of the loop, then cancel it; whether it was cut off."""
    task = asyncio.get_running_loop().create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


async def test_a_send_cancelled_at_any_turn_leaves_the_producer_usable():
    turns, cut = 0, True
    while cut:
        world = World()
        async with producer(world) as p:
            cut = await cancelled_after(turns, p.send("T", b"x"))
            assert p.in_flight_bytes == 0
            sent = await p.send("T", b"y")
            assert sent.offset >= 0
        turns += 1
    assert turns > 5


@pytest.mark.parametrize("what", ["batch", "oneway", "keyed"])
async def test_other_sends_cancelled_at_any_turn(what):
    turns, cut = 0, True
    while cut:
        world = World()
        async with producer(world) as p:
            work = {
                "batch": lambda p=p: p.send_batch([Message("T", b"x")] * 3),
                "oneway": lambda p=p: p.send_oneway("T", b"x"),
                "keyed": lambda p=p: p.send("T", b"x", ordering_key="k"),
            }[what]
            cut = await cancelled_after(turns, work())
            assert p.in_flight_bytes == 0
            await p.send("T", b"y")
        turns += 1


async def test_a_cancelled_send_does_not_cancel_the_dial_of_another():
    world = World()
    release = asyncio.Event()
    connect = world.connect

    async def slow(factory, host, port):
        await release.wait()
        await connect(factory, host, port)

    world.connect = slow
    async with producer(world) as p, asyncio.TaskGroup() as group:
        first = group.create_task(p.send("T", b"1"))
        second = group.create_task(p.send("T", b"2"))
        await until(lambda: True)
        for _ in range(10):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        release.set()
        assert (await second).offset == 0
        assert first.cancelled()


async def test_a_send_that_waits_for_room_gives_up_its_place():
    world = World()
    held = []
    world.broker.answers[SEND] = lambda session, request: held.append((session, request))
    async with producer(world, max_in_flight_bytes=10) as p, asyncio.TaskGroup() as group:
        first = group.create_task(p.send("T", bytes(10)))
        await until(lambda: held)
        waiting = group.create_task(p.send("T", bytes(10)))
        last = group.create_task(p.send("T", bytes(10)))
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        del world.broker.answers[SEND]
        session, request = held[0]
        session.send(world.broker.on_send_message_v2(session, request))
        await first
        await last
        assert p.in_flight_bytes == 0


async def test_run_cancelled_lets_handlers_finish():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    gate, ended = asyncio.Event(), []

    async def handle(message):
        await gate.wait()
        ended.append(message)

    async with consumer(world) as c:
        task = asyncio.get_running_loop().create_task(c.run(handle))
        await until(lambda: world.broker.held)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        gate.set()
    assert len(ended) == 1
    assert world.broker.offsets["g", "T", 0] == 1


async def test_run_can_be_called_again_after_it_was_cancelled():
    world = World(topics={"T": 1})
    seen = []

    async def handle(message):
        seen.append(message)

    async with consumer(world) as c:
        for number in range(3):
            world.broker.store("T", 0, b"x")
            task = asyncio.get_running_loop().create_task(c.run(handle))
            await until(lambda number=number: len(seen) == number + 1)
            task.cancel()
            await asyncio.wait([task])


async def test_a_loop_cancelled_has_not_consumed_its_message():
    world = World(topics={"T": 1})
    for number in range(2):
        world.broker.store("T", 0, b"%d" % number)
    got = []

    async def loop(c: PushConsumer):
        async for message in c:
            got.append(message.body)
            if len(got) == 2:
                await asyncio.Event().wait()

    async with consumer(world) as c:
        task = asyncio.get_running_loop().create_task(loop(c))
        await until(lambda: len(got) == 2)
        task.cancel()
        await asyncio.wait([task])
    assert got == [b"0", b"1"]
    assert world.broker.offsets["g", "T", 0] == 1


async def test_a_loop_cancelled_while_it_waits_keeps_what_it_consumed():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    got = []

    async def loop(c: PushConsumer):
        async for message in c:
            got.append(message.body)
            await asyncio.sleep(0)

    async with consumer(world) as c:
        task = asyncio.get_running_loop().create_task(loop(c))
        await until(lambda: got and world.broker.held)
        task.cancel()
        await asyncio.wait([task])
    assert world.broker.offsets["g", "T", 0] == 1


@pytest.mark.parametrize("kind", ["producer", "push", "pull", "admin"])
async def test_a_client_cancelled_at_any_turn_leaves_nothing_behind(kind):
    async def use(world: World):
        made = {
            "producer": lambda: producer(world),
            "push": lambda: consumer(world),
            "pull": lambda: PullConsumer("g", client=world.client()),
            "admin": lambda: AdminClient(client=world.client()),
        }[kind]()
        async with made as client:
            if kind == "producer":
                await client.send("T", b"x")
            elif kind == "push":
                async for _ in client:
                    break
            elif kind == "pull":
                (queue, *_) = await client.queues("T")
                await client.pull(queue, 0)
                await client.commit(queue, 0)
            else:
                await client.create_topic("New", 2)
                await client.offsets("New")

    turns, cut = 0, True
    while cut:
        world = World(topics={"T": 1})
        world.broker.store("T", 0, b"x")
        cut = await cancelled_after(turns, use(world))
        await until(lambda world=world: all(transport.closed for transport in world.transports))
        turns += 1
    assert turns > 5


async def test_a_blackholed_nameserver_does_not_hold_up_leaving():
    world = World()
    world.blackholes.add(NAMESRV)
    async with producer(world) as p:
        assert await cancelled_after(3, p.send("T", b"x"))
