"""A NameServer over a real socket, asked as brokers, clients and tools ask."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from protocol.bodies import fastjson
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.route import KVTable, TopicRouteData
from protocol.bodies.topic_config import (
    DataVersion,
    RegisterBrokerBody,
    TopicConfig,
    TopicConfigTable,
    encode_register_body,
)
from protocol.codes import VERSION, ResponseCode
from protocol.command import RemotingCommand, decode_command
from protocol.frame import FrameDecoder
from protocol.header import Header, NoHeader
from protocol.headers import namesrv as wire
from protocol.request import RequestSpec
from rmq_server.core.errors import StartupError
from rmq_server.core.lifecycle import running
from rmq_server.namesrv.config import NamesrvConfig
from rmq_server.namesrv.server import NameServer
from rmq_server.net.dialer import Link, dial

GOLDEN = Path(__file__).parent.parent / "golden" / "frames"
BROKER = "10.0.0.1:10911"
IDENTITY = wire.BrokerHeader(broker_name="broker-a", broker_addr=BROKER, cluster_name="C", broker_id=0)
FIRST_VERSION = DataVersion(counter=1, timestamp=5)


def config(tmp_path: Path, **changes: Any) -> NamesrvConfig:
    return NamesrvConfig(listen_port=0, kv_config_path=tmp_path / "kvConfig.json", **changes)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NameServer]:
    server = NameServer(config(tmp_path))
    async with running(server):
        yield server


@pytest_asyncio.fixture
async def link(server: NameServer) -> AsyncIterator[Link]:
    link = await dial(server.address)
    yield link
    link.close()


async def ask(
    link: Link, spec: RequestSpec[Any, Any], header: Header | None = None, body: bytes = b"", *, code: int = 0
) -> RemotingCommand:
    answer = await link.request(spec, header or NoHeader(), body, timeout_s=5)
    assert answer.code == code, answer.remark
    return answer


async def register(
    link: Link, *topics: str, version: DataVersion = FIRST_VERSION, code: int = 0, **changes: Any
) -> RemotingCommand:
    compressed = changes.pop("compressed", False)
    table = TopicConfigTable(
        data_version=version, topic_config_table={topic: TopicConfig(topic_name=topic) for topic in topics}
    )
    body = encode_register_body(
        RegisterBrokerBody(topic_config_serialize_wrapper=table), compressed=compressed, version=VERSION
    )
    values = {
        "broker_name": "broker-a",
        "broker_addr": BROKER,
        "cluster_name": "C",
        "broker_id": 0,
        "ha_server_addr": "10.0.0.1:10912",
        "body_crc32": zlib.crc32(body) & 0x7FFFFFFF,
    }
    header = wire.RegisterBrokerHeader(compressed=compressed, **{**values, **changes})
    return await ask(link, wire.REGISTER_BROKER, header, body, code=code)


async def route(link: Link, topic: str) -> TopicRouteData | None:
    answer = await link.request(wire.GET_ROUTEINFO_BY_TOPIC, wire.RouteInfoHeader(topic=topic), timeout_s=5)
    if answer.code == ResponseCode.TOPIC_NOT_EXIST:
        return None
    assert answer.code == 0
    return decode_body(TopicRouteData, answer.body)


async def gone(link: Link, topic: str) -> None:
    """Wait until the other connection's end has been noticed."""
    async with asyncio.timeout(5):
        while await route(link, topic) is not None:
            pass


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_registered_topic_is_routed_in_compact_json(link, compressed) -> None:
    answer = await register(link, "T1", "T2", compressed=compressed)
    assert answer.body == b""
    assert "masterAddr" not in answer.ext
    found = await ask(link, wire.GET_ROUTEINFO_BY_TOPIC, wire.RouteInfoHeader(topic="T1"))
    assert b'"brokerAddrs":{"0":"10.0.0.1:10911"}' in found.body
    assert b" " not in found.body


async def test_an_unknown_topic_is_answered_with_upstreams_remark(link) -> None:
    header = wire.RouteInfoHeader(topic="T1")
    answer = await ask(link, wire.GET_ROUTEINFO_BY_TOPIC, header, code=ResponseCode.TOPIC_NOT_EXIST)
    assert answer.remark == (
        "No topic route info in name server for the topic: T1\n"
        "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )


async def test_a_broker_goes_with_its_connection(server, link) -> None:
    broker = await dial(server.address)
    await register(broker, "T1", "T2")
    assert await route(link, "T1") is not None
    broker.abort()
    await gone(link, "T1")


async def test_a_silent_broker_goes_and_its_connection_is_closed(tmp_path) -> None:
    server = NameServer(config(tmp_path, scan_not_active_broker_interval_ms=10))
    closed = asyncio.Event()
    async with running(server), asyncio.timeout(5):
        broker = await dial(server.address, on_close=closed.set)
        await register(broker, "T1", "T2", heartbeat_timeout_millis=20)
        await closed.wait()
        link = await dial(server.address)
        assert await route(link, "T1") is None
        link.close()


async def test_a_broker_says_goodbye(link) -> None:
    await register(link, "T1", "T2")
    await ask(link, wire.UNREGISTER_BROKER, IDENTITY)
    await ask(link, wire.UNREGISTER_BROKER, IDENTITY)
    assert await route(link, "T1") is None


async def test_refused_registrations(link) -> None:
    answer = await register(link, "T1", code=ResponseCode.SYSTEM_ERROR)
    assert answer.remark == "register broker failed"
    answer = await register(link, "T1", "T2", body_crc32=1, code=ResponseCode.SYSTEM_ERROR)
    assert answer.remark == "crc32 not match"
    for address in ("10.0.0.1", "a:1,b:2", "host:x"):
        await register(link, "T1", "T2", broker_addr=address, code=ResponseCode.SYSTEM_ERROR)
    assert await route(link, "T1") is None


async def test_a_slave_is_told_its_master(link) -> None:
    await register(link, "T1", "T2")
    answer = await register(link, "T1", "T2", broker_addr="10.0.0.2:10911", broker_id=1)
    assert answer.ext["masterAddr"] == BROKER
    assert answer.ext["haServerAddr"] == "10.0.0.1:10912"


async def test_versions_are_compared(link) -> None:
    async def query(version: DataVersion) -> tuple[str, bytes]:
        answer = await ask(link, wire.QUERY_DATA_VERSION, IDENTITY, encode_body(version))
        return answer.ext["changed"], answer.body

    assert await query(FIRST_VERSION) == ("true", b"")
    await register(link, "T1", "T2")
    assert await query(FIRST_VERSION) == ("false", encode_body(FIRST_VERSION))
    assert await query(DataVersion(counter=2, timestamp=5)) == ("true", encode_body(FIRST_VERSION))
    header = wire.BrokerHeartbeatHeader(cluster_name="C", broker_addr=BROKER, broker_name="broker-a")
    await ask(link, wire.BROKER_HEARTBEAT, header)


async def test_tools_see_and_change_topics(link) -> None:
    await register(link, "T1", "T2")
    info = await ask(link, wire.GET_BROKER_CLUSTER_INFO)
    assert json.loads(info.body)["clusterAddrTable"] == {"C": ["broker-a"]}
    topics = await ask(link, wire.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
    assert json.loads(topics.body)["topicList"] == ["T1", "T2"]
    topics = await ask(link, wire.GET_TOPICS_BY_CLUSTER, wire.ClusterHeader(cluster="C"))
    assert json.loads(topics.body)["topicList"] == ["T1", "T2"]
    name = wire.BrokerNameHeader(broker_name="broker-a")
    wiped = await ask(link, wire.WIPE_WRITE_PERM_OF_BROKER, name)
    assert wiped.ext["wipeTopicCount"] == "2"
    found = await route(link, "T1")
    assert found is not None
    assert found.queue_datas[0].perm == 4
    added = await ask(link, wire.ADD_WRITE_PERM_OF_BROKER, name)
    assert added.ext["addTopicCount"] == "2"
    await ask(link, wire.DELETE_TOPIC_IN_NAMESRV, wire.DeleteTopicInNamesrvHeader(topic="T1"))
    assert await route(link, "T1") is None
    await ask(link, wire.REGISTER_TOPIC_IN_NAMESRV, wire.RegisterTopicHeader(topic="T1"), encode_body(found))
    assert await route(link, "T1") == found


async def test_topic_lists_can_be_switched_off(tmp_path) -> None:
    server = NameServer(config(tmp_path, enable_all_topic_list=False, enable_topic_list=False))
    async with running(server):
        link = await dial(server.address)
        for spec, header in (
            (wire.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, None),
            (wire.GET_TOPICS_BY_CLUSTER, wire.ClusterHeader(cluster="C")),
        ):
            answer = await ask(link, spec, header, code=ResponseCode.SYSTEM_ERROR)
            assert answer.remark == "disable"
        link.close()


async def test_the_kv_configuration_survives_a_restart(tmp_path) -> None:
    key = wire.KvKeyHeader(namespace="NS", key="k")
    namespace = wire.KvNamespaceHeader(namespace="NS")
    server = NameServer(config(tmp_path))
    async with running(server):
        link = await dial(server.address)
        await ask(link, wire.GET_KV_CONFIG, key, code=ResponseCode.QUERY_NOT_FOUND)
        await ask(link, wire.GET_KVLIST_BY_NAMESPACE, namespace, code=ResponseCode.QUERY_NOT_FOUND)
        await ask(link, wire.DELETE_KV_CONFIG, key)
        await ask(link, wire.PUT_KV_CONFIG, wire.KvPutHeader(namespace="NS", key="k", value="v"))
        link.close()
    server = NameServer(config(tmp_path))
    async with running(server):
        link = await dial(server.address)
        assert (await ask(link, wire.GET_KV_CONFIG, key)).ext["value"] == "v"
        table = await ask(link, wire.GET_KVLIST_BY_NAMESPACE, namespace)
        assert decode_body(KVTable, table.body).table == {"k": "v"}
        await ask(link, wire.DELETE_KV_CONFIG, key)
        await ask(link, wire.GET_KV_CONFIG, key, code=ResponseCode.QUERY_NOT_FOUND)
        link.close()


@pytest.mark.parametrize("is_enabled", [False, True])
async def test_order_configuration_reaches_brokers_and_if_enabled_clients(tmp_path, is_enabled) -> None:
    server = NameServer(config(tmp_path, order_message_enable=is_enabled))
    async with running(server):
        link = await dial(server.address)
        order = wire.KvPutHeader(namespace="ORDER_TOPIC_CONFIG", key="T1", value="broker-a:4")
        await ask(link, wire.PUT_KV_CONFIG, order)
        answer = await register(link, "T1", "T2")
        assert decode_body(KVTable, answer.body).table == {"T1": "broker-a:4"}
        body = (await ask(link, wire.GET_ROUTEINFO_BY_TOPIC, wire.RouteInfoHeader(topic="T1"))).body
        assert json.loads(body).get("orderTopicConf") == ("broker-a:4" if is_enabled else None)
        other = await ask(link, wire.GET_ROUTEINFO_BY_TOPIC, wire.RouteInfoHeader(topic="T2"))
        assert "orderTopicConf" not in json.loads(other.body)
        link.close()


async def test_name_servers_side_by_side_know_nothing_of_each_other(server, link, tmp_path) -> None:
    other = NameServer(config(tmp_path / "other"))
    async with running(other):
        await register(link, "T1", "T2")
        other_link = await dial(other.address)
        assert await route(other_link, "T1") is None
        other_link.close()


async def test_a_port_in_use_is_one_sentence(server, tmp_path) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(StartupError, match=f"127.0.0.1:{port} is in use: another NameServer runs there"):
        async with running(NameServer(NamesrvConfig(listen_port=port, kv_config_path=tmp_path / "kv.json"))):
            pass


@pytest.mark.parametrize("codec", ["JSON", "ROCKETMQ"])
async def test_apaches_recorded_requests_get_apaches_answers(server, codec) -> None:
    """Only some registrations were recorded, so lists and counts of topics are not compared."""
    host, port = server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with gzip.open(GOLDEN / f"5.3.3-{codec}.jsonl.gz", "rt") as lines:
        recorded = [frame for frame in map(json.loads, lines) if frame["to"] == "namesrv"]
    frames = FrameDecoder()
    compared = set()
    for frame in recorded:
        if frame["code"] == 319:
            continue
        request = bytes.fromhex(frame["request"])
        writer.write(len(request).to_bytes(4, "big") + request)
        ours = decode_command(next(frames.receive_data(await read_frame(reader))))
        answer = bytes.fromhex(frame["response"])
        theirs = decode_command(next(FrameDecoder().receive_data(len(answer).to_bytes(4, "big") + answer)))
        assert (ours.code, ours.opaque, ours.remark) == (theirs.code, theirs.opaque, theirs.remark)
        assert ours.serialize_type == theirs.serialize_type
        if frame["code"] not in (206, 205, 327):
            assert ours.ext == theirs.ext
            assert fastjson.loads(ours.body or b"null") == fastjson.loads(theirs.body or b"null")
        compared.add(frame["code"])
    assert compared == {100, 102, 103, 104, 105, 106, 205, 206, 216, 327}
    writer.close()
    await writer.wait_closed()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "big"))
