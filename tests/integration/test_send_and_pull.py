"""Sends and pulls over TCP against the real servers, as raw requests: what each answers and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protocol.address import format_address
from protocol.batch import BatchItem, encode_batch
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import ConsumerData, ConsumerList, HeartbeatData, SubscriptionData
from protocol.bodies.route import TopicRouteData
from protocol.codes import ResponseCode
from protocol.command import RemotingCommand
from protocol.flags import PullSysFlag
from protocol.header import NoHeader
from protocol.headers.client import GET_CONSUMER_LIST_BY_GROUP, HEART_BEAT, ConsumerGroupHeader
from protocol.headers.namesrv import GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader
from protocol.headers.offset import (
    GET_MAX_OFFSET,
    QUERY_CONSUMER_OFFSET,
    UPDATE_CONSUMER_OFFSET,
    OffsetReply,
    QueryConsumerOffsetHeader,
    QueueHeader,
    UpdateConsumerOffsetHeader,
)
from protocol.headers.pull import PULL_MESSAGE, PullMessageHeader, PullMessageReply
from protocol.headers.send import (
    SEND_BATCH_MESSAGE,
    SEND_MESSAGE,
    SEND_MESSAGE_V2,
    SendMessageHeader,
    SendMessageHeaderV2,
    SendMessageReply,
)
from protocol.headers.topic import UPDATE_AND_CREATE_TOPIC, CreateTopicHeader
from protocol.message import PropertyName, decode_properties, encode_properties
from protocol.message_id import parse_offset_message_id
from protocol.record import unpack_all
from rmq_server.net.dialer import Link, dial
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.testing import EmbeddedCluster

BODY = b"hello"


class Client:
    """A raw client of the broker and the nameserver."""

    def __init__(self, cluster: EmbeddedCluster, broker: Link, namesrv: Link) -> None:
        self.cluster = cluster
        self.broker = broker
        self.namesrv = namesrv

    async def ask(self, spec: Any, header: Any, body: bytes = b"") -> RemotingCommand:
        return await self.broker.request(spec, header, body, timeout_s=20)

    async def send(
        self,
        topic: str = "T",
        body: bytes = BODY,
        *,
        spec: Any = SEND_MESSAGE_V2,
        properties: dict[str, str] | str | None = None,
        **fields: Any,
    ) -> RemotingCommand:
        if not isinstance(properties, str):
            properties = encode_properties(properties or {"UNIQ_KEY": "U1", "WAIT": "true"})
        kind = SendMessageHeader if spec is SEND_MESSAGE else SendMessageHeaderV2
        defaults = {"queue_id": 0, "sys_flag": 0, "born_timestamp": 1_700_000_000_000, "flag": 7}
        header = kind(producer_group="PG", topic=topic, properties=properties, **{**defaults, **fields})
        return await self.ask(spec, header, body)

    async def pull(self, offset: int = 0, *, topic: str = "T", suspend_ms: int = 0, **fields: Any) -> RemotingCommand:
        sys_flag = PullSysFlag.SUBSCRIPTION | (PullSysFlag.SUSPEND if suspend_ms else 0)
        defaults = {"queue_id": 0, "max_msg_nums": 32, "sys_flag": sys_flag, "commit_offset": 0, "subscription": "*"}
        header = PullMessageHeader(
            consumer_group="G",
            topic=topic,
            queue_offset=offset,
            suspend_timeout_millis=suspend_ms,
            sub_version=0,
            **{**defaults, **fields},
        )
        return await self.ask(PULL_MESSAGE, header)


@pytest.fixture(params=[FlushDiskType.ASYNC_FLUSH, FlushDiskType.SYNC_FLUSH])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    store = StoreConfig(flush_disk_type=request.param, commitlog_file_bytes=8 * 1024 * 1024)
    async with EmbeddedCluster(store=store) as cluster:
        broker = await dial(format_address("127.0.0.1", cluster.broker.port))
        namesrv = await dial(cluster.namesrv)
        yield Client(cluster, broker, namesrv)
        broker.close()
        namesrv.close()


def pulled(answer: RemotingCommand) -> list[bytes]:
    return [record.body for record in unpack_all(answer.body)]


@pytest.mark.parametrize("spec", [SEND_MESSAGE, SEND_MESSAGE_V2])
async def test_a_message_comes_back_as_it_was_sent_with_what_the_broker_adds(client: Client, spec) -> None:
    properties = {"UNIQ_KEY": "U1", "TAGS": "TagA", "KEYS": "k1 k2", "color": "red", "WAIT": "true"}
    answer = await client.send(spec=spec, properties=properties)
    assert answer.code == ResponseCode.SUCCESS
    reply = answer.read_header(SendMessageReply)
    assert (reply.queue_id, reply.queue_offset, reply.transaction_id) == (0, 0, "U1")
    assert (reply.region_id, reply.trace_on) == ("DefaultRegion", "true")
    assert parse_offset_message_id(reply.msg_id) == ("127.0.0.1", client.cluster.broker.port, 0)

    found = await client.pull()
    assert (found.code, found.remark) == (ResponseCode.SUCCESS, "FOUND")
    state = found.read_header(PullMessageReply)
    assert (state.next_begin_offset, state.min_offset, state.max_offset) == (1, 0, 1)
    (record,) = unpack_all(found.body, verify_body=True)
    assert (record.topic, record.body, record.flag, record.queue_offset) == ("T", BODY, 7, 0)
    added = {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true", "CLUSTER": "DefaultCluster"}
    assert decode_properties(record.properties.decode()) == properties | added


async def test_properties_that_only_a_broker_sets_are_replaced_and_a_unique_id_is_made(client: Client) -> None:
    text = "POP_CK\x01x\x02MSG_REGION\x01mars\x02a\x01b"
    reply = (await client.send(properties=text)).read_header(SendMessageReply)
    (record,) = unpack_all((await client.pull()).body)
    properties = decode_properties(record.properties.decode())
    assert record.properties.count(b"MSG_REGION") == 1
    assert properties["MSG_REGION"] == "DefaultRegion"
    assert "POP_CK" not in properties
    assert properties["a"] == "b"
    assert properties[PropertyName.UNIQ_KEY] == reply.transaction_id
    assert len(reply.transaction_id or "") == 32


async def test_a_batch_gets_consecutive_offsets_and_one_id_for_each(client: Client) -> None:
    await client.send()
    items = [BatchItem(n, b"m%d" % n, f"UNIQ_KEY\x01U{n}\x02TAGS\x01T{n}\x02".encode()) for n in range(3)]
    answer = await client.send(body=encode_batch(items), spec=SEND_BATCH_MESSAGE, batch=True)
    reply = answer.read_header(SendMessageReply)
    assert answer.code == ResponseCode.SUCCESS
    assert reply.queue_offset == 1
    assert len(reply.msg_id.split(",")) == 3
    found = await client.pull(1)
    assert [(r.body, r.flag, r.queue_offset) for r in unpack_all(found.body)] == [
        (b"m0", 0, 1),
        (b"m1", 1, 2),
        (b"m2", 2, 3),
    ]
    assert pulled(await client.pull(0, subscription="T1")) == [b"m1"]


async def test_a_new_topic_is_in_the_route_when_its_first_message_is_acknowledged(client: Client) -> None:
    await client.send("Fresh", default_topic_queue_nums=4)
    answer = await client.namesrv.request(GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader(topic="Fresh"), timeout_s=5)
    route = decode_body(TopicRouteData, answer.body)
    assert [queue.write_queue_nums for queue in route.queue_datas] == [4]
    assert b" " not in answer.body


REFUSED_SENDS = [
    ({"topic": "a b"}, 29, "illegal character"),
    ({"topic": "../../etc"}, 29, "illegal character"),
    ({"topic": ""}, 29, "empty"),
    ({"topic": "T" * 128}, 29, "128 characters"),
    ({"topic": "RMQ_SYS_TRANS_HALF_TOPIC"}, 16, "forbidden"),
    ({"topic": "Nowhere", "default_topic": "Nothing"}, 17, "topic[Nowhere] not exist"),
    ({"topic": "%RETRY%unknown"}, 26, "unknown"),
    ({"queue_id": 4}, 29, "queueId[4]"),
    ({"body": bytes(4 * 1024 * 1024 + 1)}, 13, "4194305 bytes"),
    ({"properties": "UNIQ_KEY\x01U\x02a\x01" + "x" * 32_700 + "\x02"}, 13, "32767"),
    ({"sys_flag": 4}, 13, "transaction"),
    ({"properties": {"UNIQ_KEY": "U", "TRAN_MSG": "true"}}, 13, "transaction"),
    ({"properties": {"UNIQ_KEY": "U", "DELAY": "3"}}, 13, "DELAY"),
    ({"properties": {"UNIQ_KEY": "U", "TIMER_DELAY_MS": "500"}}, 13, "TIMER_DELAY_MS"),
    ({"spec": SEND_BATCH_MESSAGE, "body": b"\0\0\0\1"}, 1, "send_batch_message"),
    ({"spec": SEND_BATCH_MESSAGE, "body": b""}, 13, "no message"),
]


@pytest.mark.parametrize(("fields", "code", "part"), REFUSED_SENDS)
async def test_a_send_that_cannot_be_is_refused_with_code_and_reason(client: Client, fields, code, part) -> None:
    await client.send()
    answer = await client.send(**fields)
    assert answer.code == code, answer.remark
    assert part in (answer.remark or "")
    assert pulled(await client.pull()) == [BODY]


REFUSED_PULLS = [
    ({"topic": "Nowhere"}, 17, "Nowhere"),
    ({"queue_id": -1}, 29, "queueId[-1]"),
    ({"queue_id": 99}, 29, "queueId[99]"),
    ({"max_msg_nums": 0}, 29, "maxMsgNums"),
    ({"expression_type": "SQL92", "subscription": "a > 1"}, 1, "SQL92"),
    ({"sys_flag": 0}, 24, "group info not exist"),
]


@pytest.mark.parametrize(("fields", "code", "part"), REFUSED_PULLS)
async def test_a_pull_that_cannot_be_is_refused_with_code_and_reason(client: Client, fields, code, part) -> None:
    await client.send()
    answer = await client.pull(**fields)
    assert answer.code == code
    assert part in (answer.remark or "")


# offset asked, code, next offset, remark: remoting.md 4.5, with two messages in the queue
POSITIONS = [
    (0, ResponseCode.SUCCESS, 2, "FOUND"),
    (2, ResponseCode.PULL_NOT_FOUND, 2, "OFFSET_OVERFLOW_ONE"),
    (9, ResponseCode.PULL_OFFSET_MOVED, 2, "OFFSET_OVERFLOW_BADLY"),
    (-1, ResponseCode.PULL_OFFSET_MOVED, 0, "OFFSET_TOO_SMALL"),
]


@pytest.mark.parametrize(("offset", "code", "next_offset", "remark"), POSITIONS)
async def test_every_position_has_its_answer(client: Client, offset, code, next_offset, remark) -> None:
    await client.send()
    await client.send()
    answer = await client.pull(offset)
    state = answer.read_header(PullMessageReply)
    assert (answer.code, state.next_begin_offset, answer.remark) == (code, next_offset, remark)
    assert (state.min_offset, state.max_offset, state.suggest_which_broker_id) == (0, 2, 0)


async def test_an_empty_queue_is_not_found_at_zero_and_moved_elsewhere(client: Client) -> None:
    await client.send(queue_id=1)
    for offset, code in ((0, ResponseCode.PULL_NOT_FOUND), (5, ResponseCode.PULL_OFFSET_MOVED)):
        answer = await client.pull(offset)
        assert (answer.code, answer.read_header(PullMessageReply).next_begin_offset) == (code, 0)


async def test_tags_filter_at_the_broker_and_the_offset_passes_what_did_not_match(client: Client) -> None:
    for tag in ("A", "B", "A", "C"):
        await client.send(body=tag.encode(), properties={"UNIQ_KEY": "U", "TAGS": tag})
    found = await client.pull(subscription="A || B")
    assert pulled(found) == [b"A", b"B", b"A"]
    nothing = await client.pull(subscription="X")
    assert nothing.code == ResponseCode.PULL_RETRY_IMMEDIATELY
    assert nothing.read_header(PullMessageReply).next_begin_offset == 4


async def test_a_held_pull_is_answered_by_the_arrival_it_waits_for(client: Client) -> None:
    await client.send(properties={"UNIQ_KEY": "U", "TAGS": "A"})
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(client.pull(1, suspend_ms=15_000, subscription="B"))
        other = await client.send(properties={"UNIQ_KEY": "U", "TAGS": "A"})
        assert other.code == ResponseCode.SUCCESS
        assert not held.done()
        await client.send(body=b"b", properties={"UNIQ_KEY": "U", "TAGS": "B"})
    assert pulled(held.result()) == [b"b"]
    assert held.result().read_header(PullMessageReply).next_begin_offset == 3


async def test_a_held_pull_ends_with_its_time(client: Client) -> None:
    await client.send()
    answer = await client.pull(1, suspend_ms=30)
    assert answer.code == ResponseCode.PULL_NOT_FOUND


async def test_held_pulls_are_answered_when_the_broker_stops(client: Client) -> None:
    await client.send()
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(client.pull(1, suspend_ms=15_000))
        await client.ask(GET_MAX_OFFSET, QueueHeader(topic="T", queue_id=0))
        await client.cluster.stop_broker()
    assert held.result().code == ResponseCode.PULL_NOT_FOUND


async def test_offsets_are_committed_queried_and_survive_a_restart(client: Client) -> None:
    await client.send()
    query = QueryConsumerOffsetHeader(consumer_group="G", topic="T", queue_id=0)
    assert (await client.ask(QUERY_CONSUMER_OFFSET, query)).read_header(OffsetReply).offset == 0
    query.set_zero_if_not_found = False
    assert (await client.ask(QUERY_CONSUMER_OFFSET, query)).code == ResponseCode.QUERY_NOT_FOUND
    commit = UpdateConsumerOffsetHeader(consumer_group="G", topic="T", queue_id=0, commit_offset=1)
    assert (await client.ask(UPDATE_CONSUMER_OFFSET, commit)).code == ResponseCode.SUCCESS
    await client.cluster.stop_broker()
    await client.cluster.start_broker()
    client.broker = await dial(format_address("127.0.0.1", client.cluster.broker.port))
    assert (await client.ask(QUERY_CONSUMER_OFFSET, query)).read_header(OffsetReply).offset == 1
    assert pulled(await client.pull()) == [BODY]


REFUSED_COMMITS = [
    ({"topic": "Nowhere"}, 17, "Nowhere"),
    ({"queue_id": None}, 29, "queueId"),
    ({"commit_offset": None}, 29, "commitOffset"),
    ({"consumer_group": "a/b"}, 29, "illegal character"),
]


@pytest.mark.parametrize(("fields", "code", "part"), REFUSED_COMMITS)
async def test_a_commit_that_cannot_be_is_refused(client: Client, fields, code, part) -> None:
    await client.send()
    valid = {"consumer_group": "G", "topic": "T", "queue_id": 0, "commit_offset": 1}
    answer = await client.ask(UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetHeader(**{**valid, **fields}))
    assert answer.code == code
    assert part in (answer.remark or "")


async def test_a_heartbeat_makes_a_member_a_group_and_its_retry_topic(client: Client) -> None:
    group = ConsumerGroupHeader(consumer_group="G")
    nobody = await client.ask(GET_CONSUMER_LIST_BY_GROUP, group)
    assert (nobody.code, nobody.remark) == (1, "no consumer for this group, G")
    beat = HeartbeatData(
        client_id="c1",
        consumer_data_set=[ConsumerData(group_name="G", subscription_data_set=[SubscriptionData.of("T", "A", 5)])],
    )
    answer = await client.ask(HEART_BEAT, NoHeader(), encode_body(beat))
    assert answer.ext["IS_SUPPORT_HEART_BEAT_V2"] == "true"
    members = decode_body(ConsumerList, (await client.ask(GET_CONSUMER_LIST_BY_GROUP, group)).body)
    assert members.consumer_id_list == ["c1"]
    route = await client.namesrv.request(GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader(topic="%RETRY%G"), timeout_s=5)
    assert route.code == ResponseCode.SUCCESS
    await client.send(properties={"UNIQ_KEY": "U", "TAGS": "A"})
    assert (await client.pull(sys_flag=0)).code == ResponseCode.SUCCESS
    stale = await client.pull(sys_flag=0, topic="Other")
    assert stale.code == ResponseCode.TOPIC_NOT_EXIST


async def test_topics_are_created_changed_and_refused(client: Client) -> None:
    def topic(**fields: Any) -> CreateTopicHeader:
        valid = {"topic": "Made", "read_queue_nums": 8, "write_queue_nums": 8, "perm": 6}
        return CreateTopicHeader(**{**valid, **fields})

    assert (await client.ask(UPDATE_AND_CREATE_TOPIC, topic(attributes="+message.type=FIFO"))).code == 0
    answer = await client.namesrv.request(GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader(topic="Made"), timeout_s=5)
    assert decode_body(TopicRouteData, answer.body).queue_datas[0].read_queue_nums == 8
    for fields, code, part in (
        ({"topic": "TBW102"}, 29, "system topic"),
        ({"topic": "x y"}, 29, "illegal character"),
        ({"read_queue_nums": 0}, 29, "readQueueNums"),
        ({"perm": 8}, 29, "perm"),
        ({"topic_filter_type": "NONE"}, 29, "topicFilterType"),
        ({"attributes": "message.type=FIFO"}, 1, "attributes"),
    ):
        refused = await client.ask(UPDATE_AND_CREATE_TOPIC, topic(**fields))
        assert (refused.code, part in (refused.remark or "")) == (code, True), refused.remark


async def test_the_vip_port_serves_everything_too(client: Client) -> None:
    await client.send()
    vip = await dial(format_address("127.0.0.1", client.cluster.broker.vip_port))
    client.broker, main = vip, client.broker
    assert pulled(await client.pull()) == [BODY]
    client.broker = main
    vip.close()
