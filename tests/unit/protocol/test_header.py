"""Typed headers: what goes on the wire, and what is made of what others put there."""

from enum import IntEnum, StrEnum

import msgspec
import pytest

from protocol.errors import HeaderError, LocalProtocolError
from protocol.header import Header, Int32, Int64, NoHeader, from_ext, from_json, renamed, to_ext


class Sample(Header, kw_only=True):
    queue_id: Int32
    commit_offset: Int64 = 0
    topic: str = "T"
    order: bool = False
    maybe_number: Int32 | None = None
    maybe_text: str | None = None
    trace_on: bool | None = msgspec.field(default=None, name="TRACE_ON")


Short = renamed(Sample, "Short", dict(zip(Sample.__struct_fields__, "abcdefg", strict=True)))


class Color(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


SIMPLE_CASES = [
    (NoHeader(), {}),
    (Sample(queue_id=3), {"queueId": "3", "commitOffset": "0", "topic": "T", "order": "false"}),
    (
        Sample(
            queue_id=-(2**31),
            commit_offset=2**63 - 1,
            topic="",
            order=True,
            maybe_number=0,
            maybe_text="\x01ä",
            trace_on=True,
        ),
        {
            "queueId": "-2147483648",
            "commitOffset": "9223372036854775807",
            "topic": "",
            "order": "true",
            "maybeNumber": "0",
            "maybeText": "\x01ä",
            "TRACE_ON": "true",
        },
    ),
    (Short(queue_id=1, maybe_text="null"), {"a": "1", "b": "0", "c": "T", "d": "false", "f": "null"}),
]


@pytest.mark.parametrize(("header", "ext"), SIMPLE_CASES)
def test_encode(header, ext):
    assert to_ext(header) == ext


@pytest.mark.parametrize(("header", "ext"), SIMPLE_CASES)
def test_decode(header, ext):
    assert from_ext(type(header), ext) == header
    assert from_json(type(header), msgspec.json.encode(ext)) == header


def test_encode_enums_as_what_they_are():
    assert to_ext(Sample(queue_id=Number.ONE, topic=Color.RED)) == {
        "queueId": "1",
        "commitOffset": "0",
        "topic": "red",
        "order": "false",
    }


def test_encode_refuses_other_kinds():
    with pytest.raises(LocalProtocolError, match="not float"):
        to_ext(Sample(queue_id=1.5))


def both(ext):
    """What comes of a map, and of the same map as JSON."""
    return from_ext(Sample, ext), from_json(Sample, msgspec.json.encode(ext))


@pytest.mark.parametrize(
    ("ext", "field", "value"),
    [
        ({"queueId": 3}, "queue_id", 3),
        ({"queueId": "-3"}, "queue_id", -3),
        ({"queueId": "+3"}, "queue_id", 3),
        ({"queueId": "003"}, "queue_id", 3),
        ({"queueId": 1, "unknown": {"x": [1]}, "AccessKey": None}, "queue_id", 1),
        ({"queueId": 1, "order": True}, "order", True),
        ({"queueId": 1, "order": "true"}, "order", True),
        ({"queueId": 1, "order": "TRUE"}, "order", True),
        ({"queueId": 1, "order": "tRuE"}, "order", True),
        ({"queueId": 1, "order": "false"}, "order", False),
        ({"queueId": 1, "order": "yes"}, "order", False),
        ({"queueId": 1, "order": ""}, "order", False),
        ({"queueId": 1, "topic": None}, "topic", "T"),
        ({"queueId": 1, "topic": 12}, "topic", "12"),
        ({"queueId": 1, "topic": True}, "topic", "true"),
        ({"queueId": 1, "topic": [1, {"a": None}]}, "topic", '[1, {"a": null}]'),
        ({"queueId": 1, "maybeNumber": None}, "maybe_number", None),
        ({"queueId": 1, "maybeText": "null"}, "maybe_text", "null"),
        ({"queueId": 1, "commitOffset": "-9223372036854775808"}, "commit_offset", -(2**63)),
    ],
)
def test_tolerance(ext, field, value):
    assert [getattr(header, field) for header in both(ext)] == [value, value]


@pytest.mark.parametrize(
    ("ext", "field", "complaint"),
    [
        ({}, "queueId", "`queueId` is missing"),
        ({"queueId": None}, "queueId", "`queueId` is missing"),
        ({"queueId": "x"}, "queueId", "`queueId` is not a number: 'x'"),
        ({"queueId": ""}, "queueId", "`queueId` is not a number: ''"),
        ({"queueId": "1.5"}, "queueId", "`queueId` is not a number: '1.5'"),
        ({"queueId": True}, "queueId", "`queueId` is not a number: 'true'"),
        ({"queueId": [1]}, "queueId", "`queueId` is not a number"),
        ({"queueId": 2**31}, "queueId", r"`queueId` is outside -2147483648\.\.2147483647: 2147483648"),
        ({"queueId": "-2147483649"}, "queueId", "`queueId` is outside"),
        ({"queueId": 1, "commitOffset": 2**63}, "commitOffset", "`commitOffset` is outside"),
        ({"queueId": 1, "commitOffset": "9" * 5000}, "commitOffset", "`commitOffset` is outside .*: 9{40}$"),
    ],
)
def test_errors_name_the_field(ext, field, complaint):
    with pytest.raises(HeaderError, match=complaint) as from_map:
        from_ext(Sample, ext)
    with pytest.raises(HeaderError, match=complaint) as from_text:
        from_json(Sample, msgspec.json.encode(ext))
    assert from_map.value.field == from_text.value.field == field


def test_bytes_of_msgpack_read_as_text():
    header = from_ext(Sample, {"queueId": b"7", "topic": b"T\xff"})
    assert (header.queue_id, header.topic) == (7, "T\ufffd")


@pytest.mark.parametrize(
    ("raw", "maybe_text"),
    [
        (b'{"queueId":1,"maybeText":"a\x01b"}', "a\x01b"),
        (b'{"queueId":1,"maybeText":"\\ud800"}', "\ufffd"),
        (b"{'queueId':1,}", None),
    ],
)
def test_json_beyond_the_standard(raw, maybe_text):
    assert from_json(Sample, raw).maybe_text == maybe_text


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"[]", "extFields is a JSON list"),
        (b"1", "extFields is a JSON int"),
        (b'{"queueId":1', "the end at character 12"),
        (b'{"queueId":1,"topic":"\xff"}', "not UTF-8 at byte 22"),
        (b'{"topic":' + b"[" * 100_000, "nested deeper than 64"),
    ],
)
def test_json_that_does_not_read(raw, complaint):
    with pytest.raises(HeaderError, match=complaint):
        from_json(Sample, raw)


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", msgspec.Raw(b"")])
def test_no_ext_at_all(raw):
    assert from_json(NoHeader, raw) == NoHeader()
    with pytest.raises(HeaderError, match="`queueId` is missing"):
        from_json(Sample, raw)


def test_renamed_twin_keeps_attributes_defaults_and_requirements():
    assert Short(queue_id=1).topic == "T"
    assert issubclass(Short, Header)
    assert Short.__doc__ == Sample.__doc__
    with pytest.raises(HeaderError, match="`a` is missing"):
        from_ext(Short, {"queueId": "1"})
