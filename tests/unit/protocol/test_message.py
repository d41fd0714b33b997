"""Messages and the properties text."""

import pytest

from protocol.address import pack_host
from protocol.errors import LocalProtocolError
from protocol.message import (
    RESERVED_PROPERTIES,
    Message,
    MessageExt,
    MessageQueue,
    PropertyName,
    body_bytes,
    decode_properties,
    encode_properties,
)
from protocol.names import MAX_PROPERTIES_BYTES
from protocol.record import Record

SIMPLE_CASES = [
    ({}, ""),
    ({"TAGS": "TagA"}, "TAGS\x01TagA\x02"),
    ({"a": "1", "b": "x y", "ä": "é😀"}, "a\x011\x02b\x01x y\x02ä\x01é😀\x02"),
]


@pytest.mark.parametrize(("properties", "text"), SIMPLE_CASES)
def test_encode_properties(properties, text):
    assert encode_properties(properties) == text


@pytest.mark.parametrize(("properties", "text"), SIMPLE_CASES)
def test_decode_properties(properties, text):
    assert decode_properties(text) == properties
    assert decode_properties(text.removesuffix("\x02")) == properties


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("a\x011\x02a\x012\x02", {"a": "2"}),
        ("\x011\x02b\x01\x02c\x02d\x011", {"d": "1"}),
        ("\x02\x02\x01\x02", {}),
        ("a\x011\x012", {"a": "1\x012"}),
    ],
)
def test_decode_properties_leaves_out_what_is_not_one(text, properties):
    assert decode_properties(text) == properties


@pytest.mark.parametrize(
    ("properties", "complaint"),
    [
        ({"": "x"}, "empty name or value"),
        ({"a": ""}, "'a'='' has an empty"),
        ({"ok": "x", "a\x01": "x"}, r"0x01 or 0x02: 'a\\x01'"),
        ({"a": "x\x02"}, "0x01 or 0x02: 'a'"),
        ({"a": "\ud800"}, "cannot be encoded"),
        ({"a": "x" * MAX_PROPERTIES_BYTES}, "have 32770 bytes, the limit is 32767"),
        ({"a": "😀" * 8200}, "have 32803 bytes"),
    ],
)
def test_encode_properties_refuses(properties, complaint):
    with pytest.raises(LocalProtocolError, match=complaint):
        encode_properties(properties)


def test_properties_at_the_limit():
    assert len(encode_properties({"a": "x" * (MAX_PROPERTIES_BYTES - 3)})) == MAX_PROPERTIES_BYTES
    assert len(encode_properties({"a": "😀" * 8191}).encode()) == MAX_PROPERTIES_BYTES


@pytest.mark.parametrize("body", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_body_is_bytes_like(body):
    assert Message("T", body).body == b"x"
    assert type(body_bytes(body)) is bytes


@pytest.mark.parametrize(("body", "hint"), [("x", "encode it"), (None, "not NoneType"), (1, "not int")])
def test_body_of_another_kind_is_refused(body, hint):
    with pytest.raises(TypeError, match=hint):
        Message("T", body)


def test_wire_properties():
    message = Message("T", b"", tag="TagA", keys=["k1", "k2"], properties={"mine": "x"}, wait_store_ok=False)
    assert message.wire_properties("ID") == {
        "mine": "x",
        "KEYS": "k1 k2",
        "UNIQ_KEY": "ID",
        "WAIT": "false",
        "TAGS": "TagA",
    }
    assert message.properties == {"mine": "x"}
    assert Message("T", b"").wire_properties("ID") == {"UNIQ_KEY": "ID", "WAIT": "true"}


def test_one_key_may_be_a_text():
    assert Message("T", b"", keys="k1").keys == ("k1",)


@pytest.mark.parametrize("key", ["", "a b", " "])
def test_illegal_key(key):
    with pytest.raises(LocalProtocolError, match="is empty or contains a space"):
        Message("T", b"", keys=("ok", key))


@pytest.mark.parametrize("name", sorted(RESERVED_PROPERTIES))
def test_reserved_property(name):
    with pytest.raises(LocalProtocolError, match=f"{name!r} belongs to RocketMQ"):
        Message("T", b"", properties={name: "x"})


def test_sharding_key_is_the_applications_own():
    assert Message("T", b"", properties={PropertyName.SHARDING_KEY: "x"}).properties


def test_queues_sort_as_upstream_sorts_them():
    queues = [
        MessageQueue("b", "a", 0),
        MessageQueue("a", "b", 0),
        MessageQueue("a", "a", 10),
        MessageQueue("a", "a", 9),
    ]
    assert sorted(queues) == [queues[3], queues[2], queues[1], queues[0]]


def received(properties=b"", **fields):
    record = Record(
        topic="T",
        queue_id=3,
        body=b"body",
        properties=properties,
        born_host=pack_host("127.0.0.1", 5000),
        store_host=pack_host("127.0.0.1", 10911),
        physical_offset=255,
        **fields,
    )
    return MessageExt.from_record(record, "broker-a")


def test_received_message():
    message = received(b"TAGS\x01TagA\x02KEYS\x01k1  k2\tx\x02UNIQ_KEY\x01ID\x02", queue_offset=7, reconsume_times=2)
    assert (message.topic, message.body, message.tag, message.keys) == ("T", b"body", "TagA", ("k1", "k2\tx"))
    assert message.queue == MessageQueue("T", "broker-a", 3)
    assert (message.msg_id, message.offset_msg_id) == ("ID", "7F00000100002A9F00000000000000FF")
    assert (message.born_host, message.store_host) == ("127.0.0.1:5000", "127.0.0.1:10911")
    assert (message.queue_offset, message.physical_offset, message.reconsume_times) == (7, 255, 2)
    assert "queue_offset=7" in repr(message)
    assert "body=4 bytes" in repr(message)


def test_received_message_without_properties():
    message = received()
    assert (message.msg_id, message.tag, message.keys) == (message.offset_msg_id, None, ())


def test_received_properties_that_are_not_utf8():
    assert received(b"a\x01\xff\x02").properties == {"a": "\ufffd"}
