"""The shell around the connection: coalescing, deadlines, loss, flow control, what the peer asks."""

import asyncio

import pytest

from protocol.bodies.codec import encode_body
from protocol.bodies.heartbeat import HeartbeatData
from protocol.codes import RequestCode, ResponseCode
from protocol.command import SerializeType, request_command, response_command
from rmq_client import ConnectionLost, RequestTimeout
from rmq_client.transport import Link, open_link
from tests.unit.rmq_client.fake import Silence, World, until


async def linked(world: World, **more) -> Link:
    link = Link(world.broker.address, on_request=more.pop("on_request", lambda *_: None), on_lost=lambda _: None)
    host, _, port = world.broker.address.rpartition(":")
    await open_link(link, world.connect, host, int(port), 1.0)
    return link


def beat():
    return request_command(RequestCode.HEART_BEAT, None, encode_body(HeartbeatData(client_id="c")))


async def test_requests_of_one_turn_leave_in_one_write():
    world = World()
    link = await linked(world)
    answers = await asyncio.gather(*[link.request(beat(), 1.0) for _ in range(5)])
    assert {answer.code for answer in answers} == {ResponseCode.SUCCESS}
    assert world.transports[0].writes == 1


async def test_a_server_of_ours_is_spoken_to_in_msgpack():
    world = World()
    link = await linked(world)
    await link.request(beat(), 1.0)
    await link.request(beat(), 1.0)
    assert [request.serialize_type for request in world.broker.requests] == [SerializeType.JSON, SerializeType.MSGPACK]


async def test_no_answer_is_a_timeout_and_a_late_answer_is_ignored():
    world = World()
    late = []
    world.broker.answers[RequestCode.HEART_BEAT] = lambda session, request: late.append((session, request))
    link = await linked(world)
    with pytest.raises(RequestTimeout):
        await link.request(beat(), 0.001)
    session, request = late[0]
    session.send(response_command(request, 0))
    del world.broker.answers[RequestCode.HEART_BEAT]
    assert (await link.request(beat(), 1.0)).code == 0


async def test_a_shorter_deadline_is_not_delayed_by_a_longer_one():
    world = World()
    world.broker.answers[RequestCode.HEART_BEAT] = Silence
    link = await linked(world)
    long, short = link.request(beat(), 60.0), link.request(beat(), 0.001)
    with pytest.raises(RequestTimeout):
        await short
    assert not long.done()
    link.close()
    with pytest.raises(ConnectionLost, match="closed by this client"):
        await long


async def test_a_connection_that_stays_silent_is_given_up(monkeypatch):
    monkeypatch.setattr("rmq_client.transport.SILENCE_S", 0.0)
    world = World()
    world.broker.answers[RequestCode.HEART_BEAT] = Silence
    link = await linked(world)
    with pytest.raises(RequestTimeout):
        await link.request(beat(), 0.001)
    assert not link.is_open


async def test_a_held_request_says_nothing_about_the_connection(monkeypatch):
    monkeypatch.setattr("rmq_client.transport.SILENCE_S", 0.0)
    world = World()
    world.broker.answers[RequestCode.HEART_BEAT] = Silence
    link = await linked(world)
    with pytest.raises(RequestTimeout):
        await link.request(beat(), 0.001, held=True)
    assert link.is_open


async def test_requests_under_way_learn_that_the_connection_is_lost():
    world = World()
    world.broker.answers[RequestCode.HEART_BEAT] = lambda session, request: world.broker.stop()
    link = await linked(world)
    with pytest.raises(ConnectionLost, match="closed by the peer"):
        await link.request(beat(), 1.0)
    with pytest.raises(ConnectionLost):
        link.request(beat(), 1.0)
    with pytest.raises(ConnectionLost):
        link.send_oneway(beat())


async def test_garbage_ends_the_connection():
    world = World()
    link = await linked(world)
    waiter = link.request(beat(), 1.0)
    link.data_received(b"\xff\xff\xff\xff")
    with pytest.raises(ConnectionLost, match="broke the protocol"):
        await waiter


async def test_a_peer_that_does_not_read_makes_writers_wait():
    link = await linked(World())
    link.pause_writing()
    assert link.is_congested
    waiting = asyncio.ensure_future(link.writable())
    await asyncio.sleep(0)
    assert not waiting.done()
    link.resume_writing()
    await waiting
    link.pause_writing()
    waiting = asyncio.ensure_future(link.writable())
    await asyncio.sleep(0)
    link.abort("the test")
    with pytest.raises(ConnectionLost):
        await waiting


async def test_what_the_peer_asks_is_handed_over():
    world = World()
    asked = []
    link = await linked(world, on_request=lambda link, request: asked.append(request.code))
    await link.request(beat(), 1.0)
    world.broker.sessions[0].ask(request_command(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, oneway=True))
    await until(lambda: asked)
    assert asked == [RequestCode.NOTIFY_CONSUMER_IDS_CHANGED]
