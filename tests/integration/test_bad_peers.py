"""Peers that send what is no request: they are turned away, one log line says why, and nobody else notices."""

import asyncio

import pytest

from protocol.command import encode_command, request_command
from rmq_client import Producer, PushConsumer
from rmq_server.testing import EmbeddedCluster

HEADER_NESTED = b'{"code":10,"extFields":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"
NO_FIELDS = encode_command(request_command(10, {"topic": "T"}, b"body"))


def framed(header: bytes, kind: int = 0) -> bytes:
    return (4 + len(header)).to_bytes(4, "big") + (kind << 24 | len(header)).to_bytes(4, "big") + header


CLOSED = {
    "a frame over the limit": b"\x01\x00\x00\x01" + bytes(64),
    "a negative length": b"\x80\x00\x00\x00",
    "an unknown serialize type": framed(b"{}", 7),
    "garbage for a header": framed(b"\xff\x00garbage"),
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", CLOSED.values(), ids=CLOSED)
async def test_the_connection_is_closed_and_the_others_go_on(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with EmbeddedCluster() as cluster, Producer("p", namesrv=cluster.namesrv) as producer:
        await producer.send("T", b"before")
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.broker.port)
        writer.write(data)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        host, port = writer.get_extra_info("sockname")
        writer.close()
        lines = [record.getMessage() for record in caplog.records if "connection closed" in record.getMessage()]
        assert len(lines) == 1
        assert f"{host}:{port}" in lines[0]
        await producer.send("T", b"after")


@pytest.mark.parametrize(("data", "remark"), [(NO_FIELDS, b"producerGroup"), (framed(HEADER_NESTED), b"")])
async def test_what_can_be_answered_is_answered(data: bytes, remark: bytes) -> None:
    async with EmbeddedCluster() as cluster:
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.broker.port)
        writer.write(data)
        async with asyncio.timeout(10):
            answer = await reader.read(4096)
        assert remark in answer
        writer.close()
        async with Producer("p", namesrv=cluster.namesrv) as producer:
            await producer.send("T", b"still here")


async def test_nothing_is_lost_while_others_misbehave() -> None:
    async with EmbeddedCluster() as cluster, Producer("p", namesrv=cluster.namesrv) as producer:
        sent = [b"%d" % number for number in range(50)]
        for body in sent:
            _, writer = await asyncio.open_connection("127.0.0.1", cluster.broker.port)
            writer.write(CLOSED["a web browser"])
            await producer.send("T", body)
            writer.close()
        received: list[bytes] = []
        async with asyncio.timeout(30), PushConsumer("c", "T", namesrv=cluster.namesrv) as consumer:
            async for message in consumer:
                received.append(message.body)
                if len(received) == len(sent):
                    break
        assert sorted(received) == sorted(sent)
