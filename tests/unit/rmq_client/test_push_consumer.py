"""Consuming: what is delivered, what is committed, how queues are shared."""

import asyncio
import logging
import zlib
from contextlib import asynccontextmanager

import pytest

from protocol.codes import RequestCode, ResponseCode
from protocol.command import request_command
from protocol.compress import MissingCompression
from protocol.flags import MessageSysFlag
from protocol.names import retry_topic
from rmq_client import (
    BackoffPolicy,
    ConnectionLost,
    ConsumeFrom,
    ConsumerConfig,
    Misuse,
    NotRunning,
    PushConsumer,
)
from tests.unit.rmq_client.fake import NAMESRV, World, refuse, until

FAST = BackoffPolicy(initial_s=0.001, max_s=0.001)
PULL = RequestCode.PULL_MESSAGE


def consumer(world: World, wanted="T", group: str = "g", client: dict | None = None, **config) -> PushConsumer:
    settings = {"consume_from": ConsumeFrom.FIRST, "retry": FAST, **config}
    return PushConsumer(group, wanted, client=world.client(**(client or {})), config=ConsumerConfig(**settings))


@asynccontextmanager
async def running(c: PushConsumer, handler, **how):
    """Run a consumer beside the test."""
    async with c, asyncio.TaskGroup() as group:
        task = group.create_task(c.run(handler, **how))
        try:
            yield c
        finally:
            await c.close()
            await task


def tagged(tag: str) -> bytes:
    return f"TAGS\x01{tag}\x02".encode()


async def test_every_message_comes_once_and_is_committed():
    world = World()
    for number in range(100):
        world.broker.store("T", number % 4, b"%d" % number)
    seen = []

    async def handle(message):
        seen.append(int(message.body))

    async with running(consumer(world), handle):
        await until(lambda: len(seen) == 100)
        world.broker.store("T", 0, b"100")
        await until(lambda: len(seen) == 101)
    assert sorted(seen) == list(range(101))
    assert [world.broker.offsets["g", "T", number] for number in range(4)] == [26, 25, 25, 25]
    assert world.broker.requests[-1].code == RequestCode.UNREGISTER_CLIENT


async def test_handlers_run_side_by_side_up_to_the_limit():
    world = World()
    for number in range(20):
        world.broker.store("T", number % 4, b"x")
    active, most, gate = 0, 0, asyncio.Event()

    async def handle(message):
        nonlocal active, most
        active += 1
        most = max(most, active)
        await gate.wait()
        active -= 1

    async with running(consumer(world), handle, concurrency=7):
        await until(lambda: active == 7)
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        await until(lambda: world.broker.held and not active)
    assert most == 7


async def test_batches_are_lists_of_one_queue():
    world = World(topics={"T": 2})
    for number in range(10):
        world.broker.store("T", number % 2, b"x")
    sizes = []

    async def handle(messages):
        assert len({message.queue for message in messages}) == 1
        sizes.append(len(messages))

    async with running(consumer(world), handle, batch=3):
        await until(lambda: sum(sizes) == 10)
    assert sorted(sizes) == [2, 2, 3, 3]


async def test_a_failed_message_comes_again_and_holds_the_offset_back(caplog):
    world = World(topics={"T": 1})
    for number in range(5):
        world.broker.store("T", 0, b"%d" % number)
    tries, others = [], []
    fail = True

    async def handle(message):
        if message.body == b"1":
            tries.append(message.reconsume_times)
            if fail:
                raise RuntimeError("not yet")
        else:
            others.append(message.body)

    with caplog.at_level(logging.WARNING, "rmq_client"):
        async with running(consumer(world, commit_interval_s=0.001), handle):
            await until(lambda: len(others) == 4 and len(tries) > 2, 100_000)
            await until(lambda: world.broker.offsets.get(("g", "T", 0)) == 1, 100_000)
            fail = False
            await until(lambda: world.broker.offsets.get(("g", "T", 0)) == 5, 100_000)
    assert tries[:3] == [0, 1, 2]
    assert "not yet" in caplog.text


async def test_something_cancelled_inside_a_handler_is_a_failure():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    tries = []

    async def handle(message):
        tries.append(message)
        if len(tries) == 1:
            raise asyncio.CancelledError

    async with running(consumer(world), handle, concurrency=1):
        await until(lambda: len(tries) == 2, 100_000)


async def test_a_handler_that_is_not_async_is_refused():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    async with consumer(world) as c:
        with pytest.raises(TypeError, match="async def"):
            await c.run(lambda message: None)
    assert ("g", "T", 0) not in world.broker.offsets


async def test_tags_are_compared_exactly():
    world = World(topics={"T": 1})
    for tag in ("Aa", "BB", "other"):  # Aa and BB have the same hash, so that a broker lets both through
        world.broker.store("T", 0, tag.encode(), tagged(tag))
    world.broker.store("T", 0, b"untagged")
    world.broker.store("T", 0, b"second", tagged("cc"))
    seen = []

    async def handle(message):
        seen.append(message.body)

    async with running(consumer(world, {"T": "Aa || cc"}), handle):
        await until(lambda: len(seen) == 2)
    assert seen == [b"Aa", b"second"]
    assert world.broker.offsets["g", "T", 0] == 5
    subscriptions = {s.topic: s for s in world.broker.heartbeats[0].consumer_data_set[0].subscription_data_set}
    assert subscriptions["T"].tags_set == ["Aa", "cc"]
    assert retry_topic("g") in subscriptions


async def test_offsets_pass_messages_that_are_all_filtered():
    world = World(topics={"T": 1})
    for _ in range(3):
        world.broker.store("T", 0, b"x", tagged("other"))
    async with running(consumer(world, {"T": "mine"}), None):
        await until(lambda: world.broker.held)
    assert world.broker.offsets["g", "T", 0] == 3


async def test_compressed_bodies_are_inflated():
    world = World(topics={"T": 1})
    world.broker.store("T", 0, zlib.compress(b"large"), sys_flag=MessageSysFlag.COMPRESSED)
    async with consumer(world) as c:
        async for message in c:
            assert message.body == b"large"
            break


async def test_a_body_that_cannot_be_inflated_pauses_its_queue_and_is_not_skipped(monkeypatch, caplog):
    def missing(body, sys_flag):
        raise MissingCompression("install the extra")

    monkeypatch.setattr("rmq_client.consumer.fetch.decompress", missing)
    monkeypatch.setattr("rmq_client.consumer.puller.PROBLEM_WAIT_S", 0.001)
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"before")
    world.broker.store("T", 0, b"???", sys_flag=MessageSysFlag.COMPRESSED)
    world.broker.store("T", 0, b"after")
    seen = []

    async def handle(message):
        seen.append(message.body)

    async with running(consumer(world), handle):
        await until(lambda: world.broker.count(PULL) > 4, 100_000)
        assert "install the extra" in caplog.text
        assert seen == [b"before"]
        monkeypatch.undo()
        monkeypatch.setattr("rmq_client.consumer.fetch.decompress", lambda body, sys_flag: b"large")
        await until(lambda: len(seen) == 3, 1_000_000)
    assert seen == [b"before", b"large", b"after"]
    assert world.broker.offsets["g", "T", 0] == 3


@pytest.mark.parametrize(
    "limit",
    [{"max_cached_messages": 40}, {"max_cached_bytes": 400}, {"max_cached_span": 40, "max_cached_messages": 99}],
)
async def test_a_queue_is_not_pulled_while_too_much_is_cached(limit):
    world = World(topics={"T": 1})
    for _ in range(200):
        world.broker.store("T", 0, bytes(10))
    gate, seen = asyncio.Event(), []

    async def handle(message):
        await gate.wait()
        seen.append(message)

    async with running(consumer(world, **limit), handle, concurrency=3):
        await until(lambda: world.broker.count(PULL) >= 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert world.broker.count(PULL) == 2, "twice 32 is more than the limit"
        gate.set()
        await until(lambda: len(seen) == 200)


# The loop


async def test_asking_for_the_next_message_consumes_the_one_before():
    world = World(topics={"T": 1})
    for number in range(3):
        world.broker.store("T", 0, b"%d" % number)
    async with consumer(world) as c:
        seen = []
        async for message in c:
            seen.append(message.body)
            if len(seen) == 3:
                break
    assert world.broker.offsets["g", "T", 0] == 2
    async with consumer(world) as c:
        async for message in c:
            assert message.body == b"2"
            break


async def test_a_loop_left_early_gives_its_message_to_the_next():
    world = World(topics={"T": 1})
    for number in range(2):
        world.broker.store("T", 0, b"%d" % number)
    async with consumer(world) as c:
        for _ in range(2):
            async for message in c:
                assert message.body == b"0"
                break
        seen = []

        async def handle(message):
            seen.append(message.body)
            if len(seen) == 2:
                await c.close()

        await c.run(handle, concurrency=1)
        assert seen == [b"0", b"1"]


async def test_close_ends_the_loop():
    world = World(topics={"T": 1})
    async with consumer(world) as c:
        async with asyncio.TaskGroup() as group:

            async def loop():
                async for _ in c:
                    pass

            group.create_task(loop())
            await until(lambda: world.broker.held)
            await c.close()
        with pytest.raises(NotRunning):
            c.__aiter__()


async def test_one_use_at_a_time():
    world = World()

    async def handle(message):
        pass

    async with running(consumer(world), handle) as c:
        await asyncio.sleep(0)
        with pytest.raises(Misuse, match="run"):
            await c.run(handle)
        with pytest.raises(Misuse, match="run"):
            c.__aiter__()


# Sharing


async def nothing(message):
    """Consume."""


async def test_members_share_the_queues_and_take_over():
    world = World(topics={"T": 4})
    async with running(consumer(world), nothing) as first:
        await until(lambda: len(first.assignment) == 4)
        async with running(consumer(world), nothing) as second:
            await until(lambda: len(first.assignment) == len(second.assignment) == 2)
            assert not first.assignment & second.assignment
        await until(lambda: len(first.assignment) == 4)


async def test_a_queue_given_away_is_committed_first():
    world = World(topics={"T": 2})
    for number in range(2):
        world.broker.store("T", number, b"x")
    seen = []

    async def handle(message):
        seen.append(message)

    async with running(consumer(world), handle) as first:
        await until(lambda: len(seen) == 2 and len(first.assignment) == 2)
        async with running(consumer(world), handle):
            await until(lambda: len(first.assignment) == 1)
            (kept,) = first.assignment
            await until(lambda: world.broker.offsets.get(("g", "T", 1 - kept.queue_id)) == 1)
    assert len(seen) == 2


async def test_results_for_a_lost_queue_do_not_count():
    world = World(topics={"T": 2})
    world.broker.store("T", 0, b"x")
    world.broker.store("T", 1, b"x")
    gate, started = asyncio.Event(), []

    async def handle(message):
        started.append(message.queue.queue_id)
        await gate.wait()

    async with running(consumer(world), handle) as first:
        await until(lambda: len(started) == 2)
        second = []

        async def take_over(message):
            second.append(message.queue)

        async with running(consumer(world), take_over):
            await until(lambda: second)
            gate.set()
    (lost,) = set(second) - first.assignment
    assert started.count(lost.queue_id) == 1


async def test_new_queues_of_a_topic_are_taken_up():
    world = World(topics={"T": 1})
    async with running(consumer(world, client={"route_refresh_s": 0.001}), nothing) as c:
        await until(lambda: len(c.assignment) == 1)
        world.add_topic("T", 3)
        await until(lambda: len(c.assignment) == 3, 100_000)


async def test_a_topic_that_appears_later_is_consumed():
    world = World()
    async with running(consumer(world, "Later", client={"route_refresh_s": 0.001}), nothing) as c:
        assert not c.assignment
        world.add_topic("Later", 2)
        await until(lambda: len(c.assignment) == 2, 1_000_000)


async def test_a_failed_allocation_keeps_what_there_is():
    world = World(topics={"T": 2})
    fails = False

    class Strategy:
        name = "MINE"

        def __call__(self, group, client_id, queues, client_ids):
            if fails:
                raise ZeroDivisionError("a bug of the application")
            return list(queues)

    async with running(consumer(world, allocate=Strategy()), nothing) as c:
        await until(lambda: len(c.assignment) == 2)
        fails = True
        world.broker.notify("g")
        before = world.broker.count(RequestCode.GET_CONSUMER_LIST_BY_GROUP)
        await until(lambda: world.broker.count(RequestCode.GET_CONSUMER_LIST_BY_GROUP) > before)
        await asyncio.sleep(0)
        assert len(c.assignment) == 2


# Where to begin


@pytest.mark.parametrize(
    ("begin", "stored", "start"),
    [
        (ConsumeFrom.FIRST, None, 0),
        (ConsumeFrom.LAST, None, 3),
        (1_700_000_000.0, None, 1),
        (ConsumeFrom.FIRST, 2, 2),
        (ConsumeFrom.LAST, 2, 2),
        (1_700_000_000.0, 2, 2),
    ],
)
async def test_where_a_queue_begins(begin, stored, start):
    world = World(topics={"T": 1})
    for _ in range(3):
        world.broker.store("T", 0, b"x")
    if stored is not None:
        world.broker.offsets["g", "T", 0] = stored
    async with consumer(world, consume_from=begin):
        await until(lambda: world.broker.count(PULL))
        pulls = [r for r in world.broker.requests if r.code == PULL and r.ext["topic"] == "T"]
    assert pulls[0].ext["queueOffset"] == str(start)
    query = next(r for r in world.broker.requests if r.code == RequestCode.QUERY_CONSUMER_OFFSET)
    assert query.ext.get("setZeroIfNotFound") == ("false" if isinstance(begin, float) else None)


async def test_an_offset_outside_the_queue_is_put_right():
    world = World(topics={"T": 1})
    world.broker.first_offset["T", 0] = 100
    world.broker.store("T", 0, b"x")
    seen = []

    async def handle(message):
        seen.append(message.queue_offset)

    async with running(consumer(world), handle):
        await until(lambda: seen)
    assert seen == [100]
    assert world.broker.offsets["g", "T", 0] == 101


# Trouble


async def test_pulls_go_on_after_the_broker_refused_them(monkeypatch):
    monkeypatch.setattr("rmq_client.consumer.puller.PROBLEM_WAIT_S", 0.001)
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    answers = [refuse(code) for code in (ResponseCode.FLOW_CONTROL, ResponseCode.SYSTEM_BUSY,
                                          ResponseCode.SUBSCRIPTION_NOT_EXIST)]  # fmt: skip
    world.broker.answers[PULL] = lambda session, request: (
        answers.pop(0)(session, request) if answers else world.broker.on_pull_message(session, request)
    )
    beats = len(world.broker.heartbeats)
    seen = []

    async def handle(message):
        seen.append(message)

    async with running(consumer(world), handle):
        await until(lambda: seen, 1_000_000)
    assert len(world.broker.heartbeats) > beats + 1, "a missing subscription is announced again"


async def test_a_broker_that_returns_is_consumed_again():
    world = World(topics={"T": 2})
    seen = []

    async def handle(message):
        seen.append(message.body)

    client = {"reconnect": BackoffPolicy(initial_s=0.001, max_s=0.001), "route_refresh_s": 0.001}
    async with running(consumer(world, client=client), handle) as c:
        await until(lambda: len(c.assignment) == 2)
        broker = world.broker
        broker.stop()
        await until(lambda: not broker.sessions)
        world.move(broker, "elsewhere:2")
        broker.start()
        broker.store("T", 1, b"after")
        await until(lambda: seen, 1_000_000)
        assert len(c.assignment) == 2


async def test_no_nameserver_at_the_start_is_an_error():
    world = World()
    world.nameserver.stop()
    with pytest.raises(ConnectionLost, match=NAMESRV):
        async with consumer(world):
            pass


async def test_a_failing_part_of_the_client_surfaces(monkeypatch):
    async def broken(self):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(PushConsumer, "_keep_committed", broken)

    async def use():
        async with consumer(World()) as c:
            await c.run(nothing)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        await use()


async def test_requests_that_this_client_does_not_serve_are_answered():
    world = World()
    async with consumer(world):
        await until(lambda: world.broker.held)
        answers = []
        session = world.broker.sessions[0]
        received = session.data_received
        session.data_received = lambda data: (answers.extend(session.machine.receive_data(data)), None)[1]
        session.ask(request_command(RequestCode.GET_CONSUMER_RUNNING_INFO, {}))
        await until(lambda: answers)
        session.data_received = received
    assert answers[0].code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED


async def test_close_waits_for_handlers_and_then_cancels_them():
    world = World(topics={"T": 2})
    world.broker.store("T", 0, b"quick")
    world.broker.store("T", 1, b"stuck")
    started, ended = [], []
    gate = asyncio.Event()

    async def handle(message):
        started.append(message)
        if message.body == b"stuck":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
        await gate.wait()
        ended.append("finished")

    async with consumer(world, close_timeout_s=0.02) as c, asyncio.TaskGroup() as group:
        running = group.create_task(c.run(handle))
        await until(lambda: len(started) == 2)
        closing = group.create_task(c.close())
        await asyncio.sleep(0)
        gate.set()
        await closing
        await running
    assert sorted(ended) == ["cancelled", "finished"]
    assert world.broker.offsets["g", "T", 0] == 1
    assert ("g", "T", 1) not in world.broker.offsets


async def test_commits_travel_with_pulls():
    world = World(topics={"T": 1})
    for _ in range(40):
        world.broker.store("T", 0, b"x")
    async with running(consumer(world, commit_interval_s=60.0), nothing):
        await until(lambda: world.broker.held)
        world.broker.store("T", 0, b"x")
        await until(lambda: world.broker.offsets.get(("g", "T", 0)))
    commits = [r for r in world.broker.requests if r.code == PULL and int(r.ext["sysFlag"]) & 1]
    assert commits


async def test_a_refused_commit_is_logged_and_not_fatal(caplog):
    world = World(topics={"T": 1})
    world.broker.store("T", 0, b"x")
    world.broker.answers[RequestCode.UPDATE_CONSUMER_OFFSET] = refuse(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST)
    seen = []

    async def handle(message):
        seen.append(message)

    async with running(consumer(world), handle):
        await until(lambda: seen)
    assert "not committed" in caplog.text


async def test_notifications_for_other_groups_do_not_matter():
    world = World()
    async with running(consumer(world), nothing):
        await until(lambda: world.broker.held)
        lists = world.broker.count(RequestCode.GET_CONSUMER_LIST_BY_GROUP)
        world.broker.groups["other"] = world.broker.groups["g"]
        world.broker.notify("other")
        for _ in range(50):
            await asyncio.sleep(0)
        assert world.broker.count(RequestCode.GET_CONSUMER_LIST_BY_GROUP) == lists
        del world.broker.groups["other"]


async def test_a_forgotten_member_announces_itself(monkeypatch):
    monkeypatch.setattr("rmq_client.consumer.push.UNBALANCED_RETRY_S", 0.001)
    world = World(topics={"T": 1})
    async with running(consumer(world), nothing) as c:
        await until(lambda: c.assignment)
        world.broker.groups["g"].clear()
        (session,) = world.broker.sessions
        session.ask(request_command(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": "g"}, oneway=True))
        await until(lambda: world.broker.groups["g"], 100_000)
        assert c.assignment
