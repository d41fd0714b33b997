"""A peer: bad bytes, slow readers, closing."""

import asyncio

import pytest

from protocol.command import RemotingCommand, encode_command, request_command
from protocol.errors import RocketMQError
from rmq_server.net.peer import Crowd, Peer, Reply
from rmq_server.net.transport import Outbox
from tests.support.wire import FakePeer


def echo(peer: Peer, command: RemotingCommand) -> None:
    peer.respond(command, Reply(body=command.body))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7f\xff\xff\xff", "frame length"),
        (b"\xff\xff\xff\xff", "frame length"),
        (b"\x00\x00\x00\x03", "frame length"),
        (b"\x00\x00\x00\x08\x00\x00\x10\x00abcd", "header length"),
        (b"\x00\x00\x00\x08\x09\x00\x00\x04abcd", "serialize type"),
        (b"\x00\x00\x00\x08\x00\x00\x00\x04[1,2", "JSON"),
        (b"GET / HTTP/1.1\r\n\r\n", "frame length"),
    ],
)
async def test_bytes_that_are_no_frame_close_the_connection_with_one_log_line(data, reason, caplog) -> None:
    peer = FakePeer(echo)
    peer.data_received(encode_command(request_command(11, None, b"good")) + data)
    assert [answer.body for answer in peer.sent()] == [b"good"]
    assert peer.wire.closed
    (line,) = [record.getMessage() for record in caplog.records if "connection closed" in record.getMessage()]
    assert "127.0.0.1:50000" in line
    assert reason in line


async def test_deeply_nested_json_is_refused() -> None:
    peer = FakePeer(echo)
    header = b'{"code":11,"extFields":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    peer.data_received((4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header)
    assert peer.wire.closed or peer.sent()


async def test_memory_follows_what_arrived_and_not_what_was_announced() -> None:
    peer = FakePeer(echo)
    peer.data_received((16 * 1024 * 1024).to_bytes(4, "big") + bytes(100))
    assert peer._connection.buffered_bytes == 104


async def test_a_peer_that_does_not_read_its_answers_is_not_served_until_it_does() -> None:
    served: list[int] = []

    def serve(peer: Peer, command: RemotingCommand) -> None:
        served.append(command.opaque)
        peer.respond(command, Reply())
        if len(served) == 2:
            peer.pause_writing()

    peer = FakePeer(serve)
    commands = [request_command(11) for _ in range(5)]
    for opaque, command in enumerate(commands):
        command.opaque = opaque
    peer.receive(*commands)
    assert served == [0, 1]
    assert not peer.wire.reading
    peer.resume_writing()
    assert served == [0, 1, 2, 3, 4]
    assert peer.wire.reading
    await asyncio.sleep(0)
    assert [answer.opaque for answer in peer.sent()] == [0, 1, 2, 3, 4]


async def test_close_callbacks_run_once_and_answers_to_a_lost_peer_are_dropped() -> None:
    peer = FakePeer(echo)
    closed: list[Peer] = []
    peer.call_on_close(closed.append)
    peer.call_on_close(closed.append)
    peer.lose()
    peer.respond(request_command(11), Reply())
    assert closed == [peer]
    assert peer.wire.written == b""


async def test_answers_that_cannot_be_made_true_are_withheld_and_the_connection_ends(caplog) -> None:
    def disk_failed() -> None:
        raise RocketMQError("the disk failed")

    peer = FakePeer(echo)
    peer.outbox._before_write = disk_failed
    peer.receive(request_command(11))
    assert peer.sent() == []
    assert peer.wire.closed
    assert "the disk failed" in caplog.text


async def test_one_turn_sends_for_all_connections_after_one_look_at_the_disk() -> None:
    looks: list[int] = []
    outbox = Outbox(lambda: looks.append(1))
    peers = [FakePeer(echo), FakePeer(echo)]
    for peer in peers:
        peer._outbox = peer.outbox = outbox
        peer.receive(request_command(11))
    assert not any(peer.wire.written for peer in peers)
    await asyncio.sleep(0)
    assert [len(peer.sent()) for peer in peers] == [1, 1]
    assert looks == [1]


async def test_a_crowd_knows_when_everybody_is_gone() -> None:
    crowd = Crowd()
    await crowd.wait_gone()
    peer = FakePeer(echo)
    crowd.add(peer)
    assert len(crowd) == 1
    crowd.discard(peer)
    await crowd.wait_gone()
