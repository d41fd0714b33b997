"""Registrations: plain, and packed and compressed as brokers of 3.0.11 to 5.3 send them."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.topic_config import (
    MAX_INFLATED_BYTES,
    DataVersion,
    RegisterBrokerBody,
    TopicConfig,
    TopicConfigTable,
    decode_register_body,
    encode_register_body,
)
from protocol.errors import RemoteProtocolError

V4, V5 = 399, 479

BODY = RegisterBrokerBody(
    filter_server_list=["127.0.0.1:1"],
    topic_config_serialize_wrapper=TopicConfigTable(
        data_version=DataVersion(counter=2, timestamp=1700000000000),
        topic_config_table={
            "T1": TopicConfig(topic_name="T1", read_queue_nums=4, write_queue_nums=8, attributes={"+k": "v w"}),
            "T2": TopicConfig(topic_name="T2", perm=4),
        },
    ),
)


def block(text):
    return len(text).to_bytes(4, "big", signed=True) + text


VERSION_BLOCK = block(b'{"counter":2,"stateVersion":0,"timestamp":1700000000000}')
TOPIC_BLOCKS = block(b'T1 4 8 6 SINGLE_TAG {"+k":"v w"}') + block(b"T2 16 16 4 SINGLE_TAG {}")
PACKED_V4 = VERSION_BLOCK + b"\0\0\0\2" + TOPIC_BLOCKS + block(b'["127.0.0.1:1"]')

SIMPLE_CASES = [(V4, PACKED_V4), (V5, PACKED_V4 + bytes(4))]


@pytest.mark.parametrize(("version", "packed"), SIMPLE_CASES)
def test_encode_packed(version, packed):
    assert zlib.decompress(encode_register_body(BODY, compressed=True, version=version)) == packed


@pytest.mark.parametrize(("version", "packed"), SIMPLE_CASES)
def test_decode_packed(version, packed):
    assert decode_register_body(zlib.compress(packed), compressed=True, version=version) == BODY


def test_plain():
    data = encode_register_body(BODY, compressed=False, version=V5)
    assert decode_register_body(data, compressed=False, version=V5) == BODY
    assert decode_body(RegisterBrokerBody, data) == BODY


@pytest.mark.parametrize("compressed", [False, True])
def test_empty_body(compressed):
    found = decode_register_body(b"", compressed=compressed, version=V5)
    assert found.topics == TopicConfigTable()


def test_body_without_topics():
    assert decode_body(RegisterBrokerBody, b"{}").topics == TopicConfigTable()


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (b"T 1 2 6 SINGLE_TAG", TopicConfig(topic_name="T", read_queue_nums=1, write_queue_nums=2)),
        (b"T 1 2 6 SINGLE_TAG ", TopicConfig(topic_name="T", read_queue_nums=1, write_queue_nums=2)),
    ],
)
def test_topic_without_attributes_as_before_5_0(topic, expected):
    packed = VERSION_BLOCK + b"\0\0\0\1" + block(topic) + block(b"[]")
    found = decode_register_body(zlib.compress(packed), compressed=True, version=V4)
    assert found.topics.topic_config_table == {"T": expected}


def packed_topic(text):
    return VERSION_BLOCK + b"\0\0\0\1" + block(text) + block(b"[]")


@pytest.mark.parametrize(
    ("packed", "complaint"),
    [
        (b"", "packed registration does not read"),
        (VERSION_BLOCK, "packed registration does not read"),
        (VERSION_BLOCK[:-1], "a block of 56 bytes at 0 does not fit"),
        (block(b"")[:3], "packed registration does not read"),
        (b"\xff\xff\xff\xff", "a block of -1 bytes at 0"),
        (VERSION_BLOCK + b"\x7f\xff\xff\xff", "packed registration does not read"),
        (block(b"x") + bytes(8), "unreadable|expected"),
        (packed_topic(b"T 1 2 6"), "does not read: not enough values"),
        (packed_topic(b"T x 2 6 SINGLE_TAG {}"), r"Expected `int`, got `str` - at `\$.readQueueNums`"),
        (packed_topic(b"T 99999999999 2 6 SINGLE_TAG {}"), "2147483647"),
        (packed_topic(b"T 1 2 6 SINGLE_TAG {"), "the end at character 1"),
        (packed_topic(b"T 1 2 6 SINGLE_TAG \xff"), "does not read"),
        (VERSION_BLOCK + bytes(4) + block(b'["a"]') + b"\0\0\0\1", "static topic mappings"),
        (VERSION_BLOCK + bytes(4) + block(b"[]") + b"\0", "packed registration does not read"),
    ],
)
def test_bad_packed_body(packed, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_register_body(zlib.compress(packed), compressed=True, version=V5)


def test_bad_compression():
    whole = encode_register_body(BODY, compressed=True, version=V5)
    with pytest.raises(RemoteProtocolError, match="does not inflate"):
        decode_register_body(b"not zlib", compressed=True, version=V5)
    with pytest.raises(RemoteProtocolError, match="cut off"):
        decode_register_body(whole[:-1], compressed=True, version=V5)
    with pytest.raises(RemoteProtocolError, match="more than 64 MiB"):
        decode_register_body(zlib.compress(bytes(MAX_INFLATED_BYTES + 1), 1), compressed=True, version=V5)


@given(st.binary(max_size=60), st.booleans(), st.sampled_from([V4, V5]))
def test_any_bytes_give_a_body_or_an_error(data, valid_start, version):
    packed = VERSION_BLOCK + data if valid_start else data
    for body, compressed in ((packed, False), (packed, True), (zlib.compress(packed), True)):
        try:
            encode_body(decode_register_body(body, compressed=compressed, version=version))
        except RemoteProtocolError:
            continue


def test_data_version_counts_and_does_not_go_back():
    version = DataVersion(counter=1, state_version=3, timestamp=100)
    assert version.next(200) == DataVersion(counter=2, state_version=3, timestamp=200)
    assert version.next(50) == DataVersion(counter=2, state_version=3, timestamp=100)
    assert version == DataVersion(counter=1, state_version=3, timestamp=100)
    with pytest.raises(AttributeError):
        version.counter = 5
