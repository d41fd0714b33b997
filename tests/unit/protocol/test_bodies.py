"""JSON bodies: strict and compact out, tolerant in; routes, locks, groups and lists by example."""

import importlib
import pkgutil

import msgspec
import pytest

from protocol import bodies, header
from protocol.bodies.codec import Body, FrozenBody, decode_body, encode_body
from protocol.bodies.heartbeat import CheckClientConfig, ConsumerList, SubscriptionData
from protocol.bodies.lock import LockBatch, LockedQueues, LockQueue
from protocol.bodies.route import BrokerData, ClusterInfo, KVTable, QueueData, TopicList, TopicRouteData
from protocol.bodies.subscription_group import ConsumerOffsetTable, SubscriptionGroupConfig, SubscriptionGroupTable
from protocol.bodies.topic_config import DataVersion, TopicConfig, TopicConfigTable
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.message import MessageQueue

ROUTE = TopicRouteData(
    broker_datas=[
        BrokerData(
            cluster="DefaultCluster",
            broker_name="broker-a",
            broker_addrs={0: "127.0.0.1:10911", 1: "127.0.0.1:11911"},
        )
    ],
    queue_datas=[QueueData(broker_name="broker-a", read_queue_nums=4, write_queue_nums=4, perm=6)],
)

SIMPLE_CASES = [
    (
        ROUTE,
        (
            '{"brokerDatas":[{"cluster":"DefaultCluster","brokerName":"broker-a","brokerAddrs":{"0":"127.0.0.1:10911",'
            '"1":"127.0.0.1:11911"},"enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":'
            '"broker-a","readQueueNums":4,"writeQueueNums":4,"perm":6,"topicSysFlag":0}]}'
        ),
    ),
    (
        TopicRouteData(order_topic_conf="broker-a:4;broker-b:4"),
        '{"brokerDatas":[],"filterServerTable":{},"queueDatas":[],"orderTopicConf":"broker-a:4;broker-b:4"}',
    ),
    (
        ClusterInfo(broker_addr_table={"a": BrokerData(broker_name="a")}, cluster_addr_table={"C": ["a"]}),
        (
            '{"brokerAddrTable":{"a":{"cluster":"","brokerName":"a","brokerAddrs":{},"enableActingMaster":false}},'
            '"clusterAddrTable":{"C":["a"]}}'
        ),
    ),
    (TopicList(topic_list=["T"]), '{"topicList":["T"]}'),
    (KVTable(table={"k": "v"}), '{"table":{"k":"v"}}'),
    (ConsumerList(consumer_id_list=["a@1"]), '{"consumerIdList":["a@1"]}'),
    (
        LockBatch(client_id="c", consumer_group="G", mq_set=[LockQueue(broker_name="b", queue_id=0, topic="T")]),
        (
            '{"clientId":"c","consumerGroup":"G","mqSet":[{"brokerName":"b","queueId":0,"topic":"T"}],'
            '"onlyThisBroker":false}'
        ),
    ),
    (
        LockedQueues(lock_ok_mq_set=[LockQueue(broker_name="b", queue_id=0, topic="T")]),
        '{"lockOKMQSet":[{"brokerName":"b","queueId":0,"topic":"T"}]}',
    ),
    (DataVersion(counter=1, timestamp=5), '{"counter":1,"stateVersion":0,"timestamp":5}'),
    (
        ConsumerOffsetTable(offset_table={"T@G": {0: 5}}),
        '{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"offsetTable":{"T@G":{"0":5}}}',
    ),
]


@pytest.mark.parametrize(("body", "text"), SIMPLE_CASES)
def test_encode(body, text):
    assert encode_body(body) == text.encode()


@pytest.mark.parametrize(("body", "text"), SIMPLE_CASES)
def test_decode(body, text):
    assert decode_body(type(body), text.encode()) == body


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("", TopicRouteData()),
        ("{}", TopicRouteData()),
        ('{"unknown":{"a":[1]},"queueDatas":null}', TopicRouteData()),
        (
            '{"queueDatas":[{"brokerName":"a","perm":"6","readQueueNums":"4","writeQueueNums":4,"topicSysFlag":null}]}',
            None,
        ),
        ('{"brokerDatas":[{"brokerAddrs":{0:"x:1"},"brokerName":"a","enableActingMaster":"true"}]}', None),
        ("{'filterServerTable':{},}", TopicRouteData()),
        ('\ufeff{"orderTopicConf":"a\x01"}', TopicRouteData(order_topic_conf="a\x01")),
        ('{"orderTopicConf":"\\ud800"}', TopicRouteData(order_topic_conf="\ufffd")),
    ],
)
def test_tolerance(text, body):
    found = decode_body(TopicRouteData, text.encode())
    if "perm" in text:
        body = TopicRouteData(queue_datas=ROUTE.queue_datas)
        found.queue_datas[0].broker_name = "broker-a"
    elif "brokerAddrs" in text:
        body = TopicRouteData(
            broker_datas=[BrokerData(broker_name="a", broker_addrs={0: "x:1"}, enable_acting_master=True)]
        )
    assert found == body


def test_repeated_objects_are_resolved_even_where_nothing_is_required():
    data = (
        b'{"dataVersion":{"counter":7},"topicConfigTable":'
        b'{"A":{"topicName":"A","attributes":{"k":"v"}},"B":{"topicName":"B","attributes":{"$ref":"$.topicConfigTable.A.attributes"}}}}'
    )
    table = decode_body(TopicConfigTable, data)
    assert table.topic_config_table["B"].attributes == {"k": "v"}
    check = decode_body(CheckClientConfig, b'{"x":[{"topic":"T"}],"subscriptionData":{"$ref":"$.x[0]"}}')
    assert check.subscription_data == SubscriptionData(topic="T")


@pytest.mark.parametrize(
    ("kind", "data", "complaint"),
    [
        (TopicRouteData, b"[]", "not a TopicRouteData: Expected `object`, got `array`"),
        (TopicRouteData, b'{"queueDatas":[{}]}', r"missing required field `brokerName` - at `\$.queueDatas\[0\]`"),
        (LockBatch, b"", "missing required field `clientId`"),
        (LockBatch, b'{"clientId":null}', "missing required field `clientId`"),
        (DataVersion, b'{"counter":9223372036854775808}', "Expected `int` <= 9223372036854775807"),
        (TopicConfig, b'{"topicName":"T","perm":2147483648}', r"`int` <= 2147483647 - at `\$.perm`"),
        (LockQueue, b'{"brokerName":"b","topic":"T","queueId":"x"}', r"Expected `int`, got `str` - at `\$.queueId`"),
        (LockQueue, b'{"brokerName":"b","topic":"T","queueId":%s}' % (b"9" * 5000), "number of 5000 characters"),
        (ConsumerOffsetTable, b'{"offsetTable":{"a":{"x":1}}}', "Expected `int`, got `str`"),
        (TopicRouteData, b'{"queueDatas":', "the end at character 14"),
        (TopicRouteData, b"\xff", "not UTF-8 at byte 0"),
        (TopicRouteData, b"[" * 100_000, "nested deeper"),
        (TopicRouteData, b'{"x":' + b"[" * 100_000, "nested deeper"),
    ],
)
def test_errors_name_the_place(kind, data, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_body(kind, data)


def test_text_that_cannot_be_encoded_is_not_written():
    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        encode_body(TopicList(topic_list=["\ud800"]))


def test_master_of_a_broker_name():
    assert ROUTE.broker_datas[0].master_addr == "127.0.0.1:10911"
    assert BrokerData(broker_name="a", broker_addrs={1: "x:1"}).master_addr is None


def test_lock_queue_is_a_message_queue():
    queue = MessageQueue("T", "b", 3)
    assert LockQueue.of(queue).queue == queue


def test_group_defaults_are_upstreams():
    group = decode_body(SubscriptionGroupConfig, b'{"groupName":"G"}')
    assert (group.retry_max_times, group.retry_queue_nums, group.consume_enable) == (16, 1, True)
    assert group.group_retry_policy.type == "CUSTOMIZED"
    table = SubscriptionGroupTable(subscription_group_table={"G": group}, forbidden_table={"G": {"T": 2}})
    assert decode_body(SubscriptionGroupTable, encode_body(table)) == table


def test_group_members_that_we_do_not_interpret_are_kept():
    text = b'{"groupName":"G","groupRetryPolicy":{"type":"X","customizedRetryPolicy":{"next":[1]}}}'
    again = msgspec.json.decode(encode_body(decode_body(SubscriptionGroupConfig, text)))
    assert again["groupRetryPolicy"] == {"type": "X", "customizedRetryPolicy": {"next": [1]}}


def all_wire_structs():
    for module in pkgutil.iter_modules(bodies.__path__):
        importlib.import_module(f"protocol.bodies.{module.name}")
    importlib.import_module("protocol.headers")
    todo = [Body, FrozenBody, header.Header]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__.startswith("protocol."):
            yield kind


@pytest.mark.parametrize("kind", sorted(all_wire_structs(), key=lambda kind: kind.__qualname__))
def test_every_wire_struct_is_keyword_only_and_says_what_it_is(kind):
    assert kind.__doc__
    with pytest.raises(TypeError, match="Extra positional arguments"):
        kind(1)
