"""Searches by key and by id over TCP against the real broker."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from protocol.address import format_address
from protocol.codes import ResponseCode
from protocol.command import RemotingCommand
from protocol.headers.query import (
    QUERY_MESSAGE,
    VIEW_MESSAGE_BY_ID,
    QueryMessageHeader,
    QueryMessageReply,
    ViewMessageHeader,
)
from protocol.headers.send import SendMessageReply
from protocol.message_id import parse_offset_message_id
from protocol.record import unpack_all
from rmq_server.net.dialer import dial
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.testing import EmbeddedCluster
from tests.integration.test_send_and_pull import Client

FOREVER = 2**63 - 1


@pytest.fixture(params=FlushDiskType)
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    store = StoreConfig(
        flush_disk_type=request.param, commitlog_file_bytes=8 * 1024 * 1024, index_slots=100, index_entries=150
    )
    async with EmbeddedCluster(tmp_path, store=store) as cluster:
        broker = await dial(format_address("127.0.0.1", cluster.broker.port))
        namesrv = await dial(cluster.namesrv)
        yield Client(cluster, broker, namesrv)
        broker.close()
        namesrv.close()


async def query(client: Client, key: str, *, topic: str = "T", **fields: Any) -> RemotingCommand:
    values = {"max_num": 64, "begin_timestamp": 0, "end_timestamp": FOREVER, "unique_key_query": False}
    return await client.ask(QUERY_MESSAGE, QueryMessageHeader(topic=topic, key=key, **{**values, **fields}))


async def send(client: Client, number: int, **fields: Any) -> SendMessageReply:
    keys = f"odd k{number}" if number % 2 else f"even k{number}"
    answer = await client.send(body=b"%d" % number, properties={"UNIQ_KEY": f"U{number}", "KEYS": keys}, **fields)
    return answer.read_header(SendMessageReply)


def bodies(answer: RemotingCommand) -> list[int]:
    assert answer.code == ResponseCode.SUCCESS, answer.remark
    return [int(record.body) for record in unpack_all(answer.body, verify_body=True)]


async def test_every_key_is_found_as_soon_as_its_message_is_acknowledged(client: Client) -> None:
    for number in range(120):  # three keys each, more than two files
        await send(client, number, queue_id=number % 4)
        assert bodies(await query(client, f"k{number}")) == [number]
    assert bodies(await query(client, "U7", unique_key_query=True)) == [7]
    assert bodies(await query(client, "U7")) == [7]
    assert bodies(await query(client, "odd")) == list(range(1, 120, 2))
    assert bodies(await query(client, "even", max_num=5)) == [110, 112, 114, 116, 118]
    reply = (await query(client, "k119")).read_header(QueryMessageReply)
    last = unpack_all((await query(client, "k119")).body)[0]
    assert reply == QueryMessageReply(
        index_last_update_timestamp=last.store_timestamp_ms, index_last_update_phyoffset=last.physical_offset
    )


async def test_what_is_not_there_is_not_found(client: Client) -> None:
    nothing = await query(client, "k1")
    assert (nothing.code, nothing.body) == (ResponseCode.QUERY_NOT_FOUND, b"")
    assert nothing.ext == {"indexLastUpdateTimestamp": "0", "indexLastUpdatePhyoffset": "0"}
    await send(client, 1)
    stored = unpack_all((await query(client, "k1")).body)[0].store_timestamp_ms
    misses = [
        {"key": "k2"},
        {"key": "k1", "topic": "Other"},
        {"key": "k1", "unique_key_query": True},
        {"key": "k1", "end_timestamp": stored - 1},
        {"key": "k1", "begin_timestamp": stored + 1},
        {"key": "odd k1"},
    ]
    for miss in misses:
        assert (await query(client, **miss)).code == ResponseCode.QUERY_NOT_FOUND, miss  # type: ignore[arg-type]
    assert bodies(await query(client, "k1", begin_timestamp=stored, end_timestamp=stored)) == [1]


async def test_keys_survive_a_restart(client: Client) -> None:
    for number in range(60):
        await send(client, number)
    await client.cluster.stop_broker()
    await client.cluster.start_broker()
    client.broker = await dial(format_address("127.0.0.1", client.cluster.broker.port))
    for number in range(60):
        assert bodies(await query(client, f"k{number}")) == [number]


async def test_a_message_is_seen_by_its_id(client: Client) -> None:
    sent = await send(client, 5)
    _, _, offset = parse_offset_message_id(sent.msg_id)
    assert bodies(await client.ask(VIEW_MESSAGE_BY_ID, ViewMessageHeader(offset=offset, topic="T"))) == [5]
    for wrong in (offset + 1, offset + 10_000, -1, FOREVER):
        answer = await client.ask(VIEW_MESSAGE_BY_ID, ViewMessageHeader(offset=wrong))
        assert answer.code == ResponseCode.SYSTEM_ERROR
        assert answer.remark == f"can not find message by the offset, {wrong}"
