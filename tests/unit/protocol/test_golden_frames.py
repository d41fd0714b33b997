"""What Apache's clients and servers said: read, typed, and written again byte for byte."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest

import protocol.headers
from protocol.bodies import fastjson
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import CheckClientConfig, ConsumerList, HeartbeatData
from protocol.bodies.lock import LockBatch, LockedQueues
from protocol.bodies.route import ClusterInfo, KVTable, TopicList, TopicRouteData
from protocol.bodies.subscription_group import SubscriptionGroupConfig, SubscriptionGroupTable
from protocol.bodies.topic_config import decode_register_body
from protocol.codes import LanguageCode, ResponseCode
from protocol.command import SerializeType, decode_command, encode_command
from protocol.frame import FrameDecoder
from protocol.header import to_ext
from protocol.request import REQUESTS

assert protocol.headers

DIRECTORY = Path(__file__).parents[2] / "golden" / "frames"

REQUEST_BODIES = {
    34: HeartbeatData,
    41: LockBatch,
    42: LockBatch,
    46: CheckClientConfig,
    200: SubscriptionGroupConfig,
}
REPLY_BODIES = {
    28: KVTable,
    38: ConsumerList,
    41: LockedQueues,
    103: KVTable,
    105: TopicRouteData,
    106: ClusterInfo,
    201: SubscriptionGroupTable,
    206: TopicList,
}
DROPPED = {"attributes"}
"""Fields that were sent with an empty value in binary, which reads as absent."""


def exchanges(codec):
    with gzip.open(DIRECTORY / f"5.3.3-{codec}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def data_of(text):
    data = bytes.fromhex(text)
    return len(data).to_bytes(4, "big") + data


EXCHANGES = [exchange for codec in ("JSON", "ROCKETMQ") for exchange in exchanges(codec)]
FRAMES = [
    (exchange, side, data_of(exchange[side]))
    for exchange in EXCHANGES
    for side in ("request", "response")
    if exchange[side]
]


def decoded(data):
    (frame,) = FrameDecoder().receive_data(data)
    return decode_command(frame)


def expected_json(data):
    """The envelope as the standard library reads it."""
    return json.loads(data[8 : 8 + int.from_bytes(data[5:8], "big")])


def test_both_codecs_are_there():
    assert {data[4] for _, _, data in FRAMES} == {0, 1}
    assert len(FRAMES) > 400


def test_envelopes():
    for exchange, side, data in FRAMES:
        command = decoded(data)
        assert command.serialize_type == exchange["codec"] == data[4]
        assert command.is_response == (side == "response")
        assert command.is_oneway == exchange["oneway"]
        assert command.code == exchange["code" if side == "request" else "status"]
        assert (command.language, command.version) == ("JAVA", 479)
        assert side == "request" or command.code in set(ResponseCode)
        if command.serialize_type == SerializeType.JSON:
            envelope = expected_json(data)
            assert command.opaque == envelope["opaque"]
            assert command.flag == envelope["flag"]
            assert command.remark == envelope.get("remark")
            assert command.ext == envelope.get("extFields", {})
            assert (command.ext_fields is None) == ("extFields" not in envelope)


def test_responses_repeat_the_opaque():
    for exchange in EXCHANGES:
        if exchange["response"]:
            assert decoded(data_of(exchange["request"])).opaque == decoded(data_of(exchange["response"])).opaque


def test_same_bytes_when_written_again():
    changed = 0
    for exchange, _, data in FRAMES:
        again = encode_command(decoded(data))
        if exchange["code"] == 17 and exchange["codec"] == SerializeType.ROCKETMQ and again != data:
            changed += 1
            assert all(name.encode() + b"\0\0\0\0" in data for name in DROPPED)
        else:
            assert again == data
    assert changed <= 1


@pytest.mark.parametrize("kind", SerializeType)
def test_same_values_in_every_codec(kind):
    for _, _, data in FRAMES:
        command = decoded(data)
        command.serialize_type = kind
        again = decoded(encode_command(command))
        assert again.ext == {name: value for name, value in command.ext.items() if value or kind != 1}
        for name in ("code", "flag", "opaque", "language", "version", "remark", "body"):
            assert getattr(again, name) == getattr(command, name)


def test_byte_by_byte():
    for codec in (0, 1):
        frames = [data for _, _, data in FRAMES if data[4] == codec][:40]
        decoder = FrameDecoder()
        found = [frame for byte in b"".join(frames) for frame in decoder.receive_data(bytes([byte]))]
        assert found == [frame for data in frames for frame in FrameDecoder().receive_data(data)]


def specified(side):
    for exchange, this, data in FRAMES:
        spec = REQUESTS.get(exchange["code"])
        if this == side and spec is not None and (side == "request" or exchange["status"] == ResponseCode.SUCCESS):
            yield exchange, spec, decoded(data)


def test_request_headers_are_typed_and_complete():
    """What we read of them, written again, is what was sent, apart from fields that we do not know."""
    codes = set()
    for exchange, spec, command in specified("request"):
        ext = to_ext(command.read_header(spec.header))
        assert {name: command.ext.get(name) for name in ext if name in command.ext}.items() <= ext.items()
        codes.add(exchange["code"])
    assert codes >= {11, 14, 15, 34, 38, 41, 103, 105, 106, 310, 320, 361}


def test_no_reply_field_is_unknown_to_us():
    for exchange, spec, command in specified("response"):
        known = to_ext(command.read_header(spec.reply))
        unknown = {name: value for name, value in command.ext.items() if known.get(name) != value}
        assert not unknown, exchange["code"]


def agrees(ours, sent):
    """Every member that we know is what was sent."""
    if isinstance(ours, dict):
        assert not ours or ours.keys() & sent.keys()
        for name in ours.keys() & sent.keys():
            agrees(ours[name], sent[name])
    elif isinstance(ours, list):
        for our, their in zip(ours, sent, strict=True):
            agrees(our, their)
    else:
        assert ours == sent


def test_bodies():
    seen = set()
    for exchange, side, data in FRAMES:
        command = decoded(data)
        kind = (REQUEST_BODIES if side == "request" else REPLY_BODIES).get(exchange["code"])
        if kind is not None and command.body and command.code in (exchange["code"], 0):
            body = decode_body(kind, command.body)
            assert decode_body(kind, encode_body(body)) == body
            agrees(msgspec.json.decode(encode_body(body)), fastjson.loads(command.body))
            seen.add((exchange["code"], side))
    assert seen >= {(34, "request"), (41, "request"), (41, "response"), (105, "response"), (106, "response")}


def test_registrations():
    registrations = [
        (exchange, decoded(data)) for exchange, side, data in FRAMES if side == "request" and exchange["code"] == 103
    ]
    assert len(registrations) == 6
    tables = []
    for _, command in registrations:
        header = command.read_header(REQUESTS[103].header)
        body = decode_register_body(command.body, compressed=header.compressed, version=command.version)
        tables.append(set(body.topics.topic_config_table))
        assert body.topics.data_version.timestamp > 0
    assert all("TBW102" in table for table in tables[::3]), "the first has all topics"
    assert {"gold_normal"} in tables, "later ones have those that changed"


def test_route_of_upstream():
    routes = [
        decode_body(TopicRouteData, decoded(data).body)
        for exchange, side, data in FRAMES
        if (exchange["code"], side, exchange["status"]) == (105, "response", 0)
    ]
    for route in routes:
        assert route.broker_datas[0].cluster == "DefaultCluster"
        assert route.broker_datas[0].master_addr.startswith("127.0.0.1:")
        assert route.queue_datas[0].broker_name == "broker-a"


def test_language_names_are_the_numbers():
    for _, _, data in FRAMES:
        if data[4] == SerializeType.ROCKETMQ:
            assert LanguageCode(data[10]).name == decoded(data).language
