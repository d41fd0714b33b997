"""Heartbeats and subscriptions: Java's and Go's bodies, and what an expression means."""

import msgspec
import pytest

from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import (
    ConsumerData,
    ConsumeType,
    ExpressionType,
    HeartbeatData,
    MessageModel,
    ProducerData,
    SubscriptionData,
    tags_of,
)
from protocol.errors import RemoteProtocolError

JAVA = (
    b'{"clientID":"192.168.1.2@4711#12345","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",'
    b'"consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":['
    b'{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,'
    b'"tagsSet":[],"topic":"%RETRY%CG"},{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG",'
    b'"subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T1"}],'
    b'"unitMode":false}],'
    b'"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"PG"}],"withoutSub":false}'
)
GO = (
    b'{"clientID":"10.0.0.1@1","producerDataSet":null,"consumerDataSet":[{"groupName":"G","consumeType":'
    b'"CONSUME_ACTIVELY","messageModel":"BROADCASTING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",'
    b'"subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"*","tagsSet":null,"codeSet":null,'
    b'"subVersion":1700000000000000000,"expressionType":"TAG"}],"unitMode":false}]}'
)
JAVA_VALUE = HeartbeatData(
    client_id="192.168.1.2@4711#12345",
    consumer_data_set=[
        ConsumerData(
            group_name="CG",
            subscription_data_set=[
                SubscriptionData.of("%RETRY%CG", "*", 1700000000000),
                SubscriptionData.of("T1", "TagA || TagB", 1700000000000),
            ],
        )
    ],
    producer_data_set=[ProducerData(group_name="PG")],
)


def test_encode_as_java():
    assert encode_body(JAVA_VALUE) == JAVA


def test_decode_of_java():
    assert decode_body(HeartbeatData, JAVA) == JAVA_VALUE


def test_decode_of_go():
    found = decode_body(HeartbeatData, GO)
    (consumer,) = found.consumer_data_set
    (subscription,) = consumer.subscription_data_set
    assert (found.client_id, found.producer_data_set, found.without_sub) == ("10.0.0.1@1", [], False)
    assert (consumer.consume_type, consumer.message_model) == (ConsumeType.ACTIVELY, MessageModel.BROADCASTING)
    assert (subscription.tags_set, subscription.code_set, subscription.sub_version) == ([], [], 1700000000000000000)


def test_decode_of_repeated_subscriptions():
    text = (
        b'{"clientID":"c","consumerDataSet":[{"groupName":"A","subscriptionDataSet":[{"topic":"T","subString":"x"}]},'
        b'{"groupName":"B","subscriptionDataSet":[{"$ref":"$.consumerDataSet[0].subscriptionDataSet[0]"}]}]}'
    )
    first, second = decode_body(HeartbeatData, text).consumer_data_set
    assert first.subscription_data_set == second.subscription_data_set == [SubscriptionData(topic="T", sub_string="x")]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "missing required field `clientID`"),
        (b'{"clientID":"c","consumerDataSet":[{}]}', "missing required field `groupName`"),
        (b'{"clientID":"c","producerDataSet":{}}', "Expected `array`"),
        (b'{"clientID":"c","heartbeatFingerprint":2147483648}', "2147483647"),
    ],
)
def test_bad_heartbeat(body, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_body(HeartbeatData, body)


@pytest.mark.parametrize(
    ("expression", "tags"),
    [
        (None, []),
        ("", []),
        ("*", []),
        ("TagA", ["TagA"]),
        ("TagA||TagB", ["TagA", "TagB"]),
        (" TagB ||  TagA|| || TagB", ["TagB", "TagA"]),
        ("a|b", ["a|b"]),
    ],
)
def test_tags_of(expression, tags):
    assert tags_of(expression) == tags


@pytest.mark.parametrize(
    ("expression", "kind", "sub_string", "expression_type", "tags"),
    [
        (None, None, "*", "TAG", []),
        ("  ", None, "*", "TAG", []),
        (" TagA ", "TAG", "TagA", "TAG", ["TagA"]),
        (" a > 1 || b = 'x' ", ExpressionType.SQL92, "a > 1 || b = 'x'", "SQL92", []),
    ],
)
def test_subscription_of_an_expression(expression, kind, sub_string, expression_type, tags):
    found = SubscriptionData.of("T", expression, 5, kind)
    assert (found.topic, found.sub_version) == ("T", 5)
    assert (found.sub_string, found.expression_type, found.tags_set) == (sub_string, expression_type, tags)
    assert len(found.code_set) == len(tags)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("a||b", None), ("b || a", "TAG"), True),
        (("a", None), ("*", None), False),
        (("*", None), ("", None), True),
        (("a > 1", "SQL92"), ("a > 1", "SQL92"), True),
        (("a > 1", "SQL92"), ("a > 2", "SQL92"), False),
        (("a", "SQL92"), ("a", "TAG"), False),
    ],
)
def test_same_filter(one, other, same):
    first, second = (SubscriptionData.of("T", text, version, kind) for version, (text, kind) in enumerate([one, other]))
    assert first.same_filter(second) == second.same_filter(first) == same


def test_defaults_are_not_shared():
    one, other = (SubscriptionData(topic="T") for _ in range(2))
    one.tags_set.append("x")
    assert other.tags_set == []
    assert msgspec.structs.asdict(other)["tags_set"] == []
