"""Sending: where to, what goes on the wire, what is retried, and how long it may take."""

import asyncio

import pytest

from protocol.codes import RequestCode, ResponseCode
from protocol.command import response_command
from protocol.header import to_ext
from protocol.headers.send import SendMessageHeaderV2
from protocol.message import decode_properties
from rmq_client import (
    BackoffPolicy,
    ConnectFailed,
    ConnectionLost,
    FlowControl,
    Message,
    MessageIllegal,
    MessageQueue,
    Misuse,
    NoRoute,
    NotRunning,
    Producer,
    ProducerConfig,
    ProtocolError,
    RequestTimeout,
    SendStatus,
)
from tests.unit.rmq_client.fake import NAMESRV, Silence, World, refuse, until

SEND = RequestCode.SEND_MESSAGE_V2


def producer(world: World, timeout: float = 3.0, client: dict | None = None, **config) -> Producer:
    return Producer("pg", timeout=timeout, client=world.client(**(client or {})), config=ProducerConfig(**config))


def sends(world: World) -> list:
    return [request for broker in world.brokers.values() for request in broker.requests if request.code == SEND]


async def test_a_message_is_stored_and_its_place_returned():
    world = World()
    async with producer(world) as p:
        sent = await p.send("T", b"body", tag="created", keys=["42", "43"], properties={"colour": "red"})
    assert sent.status is SendStatus.SEND_OK
    assert (sent.queue.topic, sent.queue.broker_name, sent.offset) == ("T", "broker-a", 0)
    request = sends(world)[0]
    properties = decode_properties(request.ext["i"])
    assert properties == {
        "colour": "red", "KEYS": "42 43", "TAGS": "created", "WAIT": "true", "UNIQ_KEY": sent.msg_id,
    }  # fmt: skip
    assert request.body == b"body"


async def test_the_fast_header_equals_the_typed_one():
    world = World()
    async with producer(world) as p:
        sent = await p.send(Message("T", b"x", flag=7))
    ext = sends(world)[0].ext
    typed = SendMessageHeaderV2(
        producer_group="pg", topic="T", queue_id=sent.queue.queue_id, sys_flag=0, born_timestamp=int(ext["g"]), flag=7,
        properties=ext["i"], reconsume_times=0, unit_mode=False, batch=False, bname="broker-a",
    )  # fmt: skip
    assert ext == to_ext(typed)


async def test_queues_take_turns():
    world = World()
    async with producer(world) as p:
        queues = [(await p.send("T", b"x")).queue.queue_id for _ in range(8)]
    assert sorted(queues) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert queues[:4] == queues[4:]


async def test_one_queue_by_key_selector_or_name():
    world = World()
    async with producer(world) as p:
        keyed = {(await p.send("T", b"x", ordering_key="42")).queue for _ in range(5)}
        assert len(keyed) == 1
        chosen = await p.send(Message("T", b"x", tag="z"), selector=lambda queues, message: queues[len(message.tag)])
        assert chosen.queue.queue_id == 1
        fixed = MessageQueue("T", "broker-a", 3)
        assert (await p.send("T", b"x", queue=fixed)).queue == fixed


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue": MessageQueue("other", "broker-a", 0)},
        {"queue": MessageQueue("T", "broker-a", 0), "ordering_key": "1"},
        {"selector": lambda queues, message: None},
    ],
)
async def test_wrong_choices_are_misuse(wrong):
    async with producer(World()) as p:
        with pytest.raises(Misuse):
            await p.send("T", b"x", **wrong)


async def test_wrong_messages_are_refused_before_sending():
    world = World()
    async with producer(world, max_message_bytes=10) as p:
        with pytest.raises(TypeError, match="encode"):
            await p.send("T", "text")
        with pytest.raises(Misuse, match="empty"):
            await p.send("T", b"")
        with pytest.raises(Misuse, match="max_message_bytes"):
            await p.send("T", bytes(11))
        with pytest.raises(Misuse, match="either"):
            await p.send(Message("T", b"x"), b"y")
        with pytest.raises(ProtocolError):
            await p.send("no topic", b"x")
        with pytest.raises(Misuse, match="may not"):
            await p.send("SCHEDULE_TOPIC_XXXX", b"x")
    assert not sends(world)


async def test_bytes_like_bodies_are_fine():
    async with producer(World()) as p:
        for body in (bytearray(b"x"), memoryview(b"x")):
            assert (await p.send("T", body)).status is SendStatus.SEND_OK


async def test_outside_its_block_a_producer_refuses():
    p = producer(World())
    with pytest.raises(NotRunning):
        await p.send("T", b"x")


async def test_a_batch_is_stored_together():
    world = World()
    async with producer(world) as p:
        sent = await p.send_batch([Message("T", b"%d" % number, keys=str(number)) for number in range(3)])
    assert len(sent.msg_id.split(",")) == len(sent.offset_msg_id.split(",")) == 3
    (records,) = world.broker.queues.values()
    assert len(records) == 3


async def test_what_is_no_batch():
    async with producer(World(), max_message_bytes=100) as p:
        for messages, hint in (
            ([], "at least one"),
            ([Message("T", b"x"), Message("U", b"x")], "one topic"),
            ([Message("T", b"x"), Message("T", b"x", wait_store_ok=False)], "wait_store_ok"),
            ([Message("%RETRY%g", b"x")], "retry topic"),
            ([Message("T", bytes(60)), Message("T", bytes(60))], "max_message_bytes"),
            ([Message("T", b"")], "empty"),
        ):
            with pytest.raises(Misuse, match=hint):
                await p.send_batch(messages)


async def test_oneway_does_not_wait():
    world = World()
    async with producer(world) as p:
        await p.send_oneway("T", b"x", tag="t")
        await until(lambda: world.broker.queues)
        assert sends(world)[0].is_oneway


@pytest.mark.parametrize("code", [10, 11, 12])
async def test_stored_but_not_confirmed_is_a_result(code):
    world = World()
    broker = world.broker
    broker.answers[SEND] = lambda session, request: broker.sent(
        request, request.read_header(SendMessageHeaderV2), [5], code
    )
    async with producer(world) as p:
        sent = await p.send("T", b"x")
    assert sent.status.value == code
    assert sent.offset == 5
    assert len(sends(world)) == 1


async def test_not_confirmed_is_tried_elsewhere_when_asked_for():
    world = World("a", "b")
    for broker in world.brokers.values():
        broker.answers[SEND] = lambda session, request, broker=broker: broker.sent(
            request, request.read_header(SendMessageHeaderV2), [5], 10
        )
    async with producer(world, retry_not_stored_ok=True) as p:
        assert (await p.send("T", b"x")).status is SendStatus.FLUSH_DISK_TIMEOUT
    assert len(sends(world)) == 3


@pytest.mark.parametrize("code", [1, 14, 16, 17, 204, 205, 1500])
async def test_retriable_codes_go_to_another_broker_with_the_same_id(code):
    world = World("a", "b")
    world.brokers["a"].answers[SEND] = refuse(code)
    async with producer(world) as p:
        for _ in range(8):
            assert (await p.send("T", b"x")).queue.broker_name == "b"
    failed = {decode_properties(r.ext["i"])["UNIQ_KEY"] for r in world.brokers["a"].requests if r.code == SEND}
    stored = {decode_properties(r.ext["i"])["UNIQ_KEY"] for r in world.brokers["b"].requests if r.code == SEND}
    assert failed
    assert failed <= stored


async def test_other_codes_are_raised_at_once():
    world = World("a", "b")
    for broker in world.brokers.values():
        broker.answers[SEND] = refuse(ResponseCode.MESSAGE_ILLEGAL, "no")
    async with producer(world) as p:
        with pytest.raises(MessageIllegal, match="no") as caught:
            await p.send("T", b"x")
    assert len(sends(world)) == 1
    assert caught.value.broker_addr in {"a:10911", "b:10911"}


async def test_three_attempts_and_the_last_error():
    world = World()
    world.broker.answers[SEND] = refuse(ResponseCode.SYSTEM_ERROR, "broken")
    async with producer(world) as p:
        with pytest.raises(Exception, match="broken") as caught:
            await p.send("T", b"x")
    assert len(sends(world)) == 3
    assert "tried broker-a, broker-a, broker-a" in caught.value.__notes__[0]


async def test_a_chosen_queue_is_tried_once():
    world = World("a", "b")
    for broker in world.brokers.values():
        broker.answers[SEND] = refuse(ResponseCode.SYSTEM_ERROR)
    async with producer(world) as p:
        for choice in ({"ordering_key": "k"}, {"queue": MessageQueue("T", "a", 0)}):
            with pytest.raises(Exception, match="SYSTEM_ERROR"):
                await p.send("T", b"x", **choice)
    assert len(sends(world)) == 2


async def test_an_overloaded_broker_is_tried_again_after_a_wait():
    world = World()
    answers = [refuse(ResponseCode.SYSTEM_BUSY), refuse(ResponseCode.FLOW_CONTROL)]
    world.broker.answers[SEND] = lambda session, request: (
        answers.pop(0)(session, request) if answers else world.broker.on_send_message_v2(session, request)
    )
    async with producer(world, flow_control=BackoffPolicy(initial_s=0.001)) as p:
        assert (await p.send("T", b"x")).status is SendStatus.SEND_OK
    assert len(sends(world)) == 3


async def test_flow_control_is_raised_when_the_wait_does_not_fit():
    world = World()
    world.broker.answers[SEND] = refuse(ResponseCode.SYSTEM_BUSY)
    async with producer(world, timeout=0.5) as p:
        started = asyncio.get_running_loop().time()
        with pytest.raises(FlowControl) as caught:
            await p.send("T", b"x")
        assert asyncio.get_running_loop().time() - started < 0.4
    assert caught.value.reply_text == "TOO_MANY_REQUESTS"
    assert len(sends(world)) == 1


async def test_a_hung_broker_costs_the_whole_time_and_one_attempt():
    world = World()
    world.broker.answers[SEND] = Silence
    async with producer(world, timeout=0.02) as p:
        with pytest.raises(RequestTimeout):
            await p.send("T", b"x")
    assert len(sends(world)) == 1


async def test_the_time_covers_route_and_connection():
    world = World()
    world.blackholes.add(NAMESRV)
    async with producer(world, timeout=0.02, client={"connect_timeout_s": 60.0}) as p:
        with pytest.raises(RequestTimeout):
            await p.send("T", b"x")
    world = World()
    world.blackholes.add(world.broker.address)
    async with producer(world, timeout=0.02, client={"connect_timeout_s": 60.0}) as p:
        with pytest.raises(RequestTimeout):
            await p.send("T", b"x")


async def test_a_refused_connection_fails_fast_and_elsewhere_it_goes_on():
    world = World("a", "b")
    world.brokers["a"].stop()
    async with producer(world) as p:
        assert {(await p.send("T", b"x")).queue.broker_name for _ in range(8)} == {"b"}
        world.brokers["b"].stop()
        with pytest.raises(ConnectionLost):
            await p.send("T", b"x")


async def test_an_unknown_topic_is_created_from_the_template():
    world = World(topics={"TBW102": 8})
    world.add_topic("TBW102", 8)
    async with producer(world) as p:
        queues = {(await p.send("New", b"x")).queue.queue_id for _ in range(8)}
    assert queues == {0, 1, 2, 3}
    assert sends(world)[0].ext["c"] == "TBW102"


async def test_without_a_template_an_unknown_topic_has_no_route():
    async with producer(World()) as p:
        with pytest.raises(NoRoute, match="Nowhere"):
            await p.send("Nowhere", b"x")


async def test_bytes_under_way_are_bounded():
    world = World()
    held = []
    world.broker.answers[SEND] = lambda session, request: held.append((session, request))
    async with producer(world, max_in_flight_bytes=2500) as p, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(p.send("T", bytes(1000)))
        await until(lambda: len(held) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(held) == 2
        assert p.in_flight_bytes == 2000
        with pytest.raises(RequestTimeout, match="no room"):
            await p.send("T", bytes(1000), timeout=0.01)
        for _ in range(5):
            await until(lambda: held)
            session, request = held.pop(0)
            session.send(world.broker.on_send_message_v2(session, request))
    assert p.in_flight_bytes == 0


async def test_slow_brokers_are_avoided_when_asked_for():
    world = World("a", "b")
    world.brokers["a"].answers[SEND] = refuse(ResponseCode.SYSTEM_ERROR)
    async with producer(world, avoid_slow_brokers=True) as p:
        for _ in range(20):
            await p.send("T", b"x")
    assert world.brokers["a"].count(SEND) <= 1


async def test_brokers_learn_of_the_producer_and_of_its_end():
    world = World()
    async with producer(world) as p:
        await p.send("T", b"x")
        beat = world.broker.heartbeats[0]
        assert (beat.client_id, beat.producer_data_set[0].group_name) == (p.client_id, "pg")
    farewell = world.broker.requests[-1]
    assert farewell.code == RequestCode.UNREGISTER_CLIENT
    assert farewell.ext == {"clientID": p.client_id, "producerGroup": "pg"}


async def test_a_broker_at_another_address_is_found():
    world = World()
    async with producer(world) as p:
        await p.send("T", b"x")
        broker = world.broker
        broker.stop()
        await until(lambda: world.nameserver.count(RequestCode.GET_ROUTEINFO_BY_TOPIC) > 1)
        world.move(broker, "elsewhere:1")
        broker.start()
        assert (await p.send("T", b"x", ordering_key="1")).status is SendStatus.SEND_OK
    assert "elsewhere:1" in world.dials


async def test_a_dead_nameserver_does_not_stop_a_producer_that_knows_the_way():
    world = World()
    async with producer(world) as p:
        await p.send("T", b"x")
        world.nameserver.stop()
        await until(lambda: not world.nameserver.sessions)
        assert (await p.send("T", b"x")).status is SendStatus.SEND_OK
        with pytest.raises(ConnectFailed):
            await p.send("Other", b"x")
        world.nameserver.start()
        world.add_topic("Other")
        assert (await p.send("Other", b"x")).status is SendStatus.SEND_OK


async def test_the_next_nameserver_is_asked():
    world = World()
    client = world.client(connect_timeout_s=0.01)
    two = Producer("pg", namesrv=f"dead:1;{NAMESRV}", client=client)
    async with two as p:
        for _ in range(3):
            assert await p.queues("T")


async def test_a_nameserver_that_shuts_down_counts_as_gone():
    world = World()
    async with producer(world) as p:
        await p.send("T", b"x")
        world.nameserver.answers[RequestCode.GET_ROUTEINFO_BY_TOPIC] = refuse(ResponseCode.GO_AWAY)
        with pytest.raises(ConnectionLost, match="shutting down"):
            await p.send("Other", b"x")
        world.broker.stop()
        with pytest.raises(ConnectFailed):
            await p.send("T", b"x")


async def test_a_nameserver_that_fails_does_not_hide_why_a_send_failed():
    world = World()
    async with producer(world) as p:
        await p.send("T", b"x")
        world.nameserver.answers[RequestCode.GET_ROUTEINFO_BY_TOPIC] = refuse(ResponseCode.SYSTEM_ERROR)
        world.broker.stop()
        with pytest.raises(ConnectFailed):
            await p.send("T", b"x")


async def test_the_body_of_the_block_raises_its_own_error():
    async def use() -> None:
        async with producer(World()) as p:
            await p.send("T", b"x")
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await use()


async def test_an_answer_without_the_needed_fields_is_a_protocol_error():
    world = World()
    world.broker.answers[SEND] = lambda session, request: response_command(request, 0, {})
    async with producer(world) as p:
        with pytest.raises(ProtocolError, match="msgId"):
            await p.send("T", b"x")
