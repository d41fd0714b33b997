"""The three header codecs: upstream's bytes, what Java and Go write, and what no codec can express."""

import json

import msgpack
import msgspec
import pytest

from protocol.command import (
    RemotingCommand,
    SerializeType,
    decode_command,
    encode_command,
    encode_head,
    request_command,
    response_command,
)
from protocol.errors import HeaderError, LocalProtocolError, RemoteProtocolError
from protocol.frame import Frame, FrameDecoder
from protocol.header import Header


class A(Header, kw_only=True):
    a: str


JSON, BINARY, MSGPACK = SerializeType
CODECS = list(SerializeType)


def command(code=105, *, kind=JSON, ext=None, **fields):
    return RemotingCommand(code, language="JAVA", version=479, serialize_type=kind, ext_fields=ext, **fields)


def packed(*fields):
    header = msgpack.packb(fields)
    return (len(header) + 4).to_bytes(4, "big") + b"\x02" + len(header).to_bytes(3, "big") + header


SIMPLE_CASES = [
    (
        command(ext={"topic": "T1"}),
        bytes.fromhex("000000800000007C") + b'{"code":105,"extFields":{"topic":"T1"},"flag":0,"language":"JAVA",'
        b'"opaque":0,"serializeTypeCurrentRPC":"JSON","version":479}',
    ),
    (
        command(17, flag=1, opaque=5, remark="No topic"),
        bytes.fromhex("0000007800000074") + b'{"code":17,"flag":1,"language":"JAVA","opaque":5,"remark":"No topic",'
        b'"serializeTypeCurrentRPC":"JSON","version":479}',
    ),
    (
        command(kind=BINARY, ext={"topic": "T1"}),
        bytes.fromhex(
            "00000026 01000022 0069 00 01DF 00000000 00000000 00000000 0000000D 0005 746F706963 00000002 5431"
        ),
    ),
    (
        command(17, kind=BINARY, flag=1, opaque=-2, remark="Ä", ext={}, body=b"xy"),
        bytes.fromhex("0000001D 01000017 0011 00 01DF FFFFFFFE 00000001 00000002 C384 00000000 7879"),
    ),
    (
        command(200050, kind=MSGPACK, ext={"topic": "T1", "n": 3, "b": True, "x": b"\xff"}),
        packed(200050, 0, 0, 479, 0, None, {"topic": "T1", "n": 3, "b": True, "x": b"\xff"}),
    ),
    (command(0, kind=MSGPACK, flag=1, opaque=9, remark="ok"), packed(0, 1, 9, 479, 0, "ok", None)),
]


def decoded(data):
    (frame,) = FrameDecoder().receive_data(data)
    return decode_command(frame)


def values(command):
    return (*(getattr(command, name) for name in ("code", "flag", "opaque", "version", "language", "remark", "body")),)


@pytest.mark.parametrize(("command", "data"), SIMPLE_CASES)
def test_encode(command, data):
    assert encode_command(command) == data


@pytest.mark.parametrize(("command", "data"), SIMPLE_CASES)
def test_decode(command, data):
    found = decoded(data)
    assert values(found) == values(command)
    assert found.ext == (command.ext_fields or {})
    assert found.serialize_type == command.serialize_type


@pytest.mark.parametrize(("command", "data"), SIMPLE_CASES)
def test_head_leaves_the_body_to_follow(command, data):
    head = encode_head(command, len(command.body))
    assert head + command.body == data


def from_json(text):
    header = text if isinstance(text, bytes) else text.encode()
    return decode_command(Frame(0, header, b""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"code":1}', (1, 0, 0, 0, "JAVA", None)),
        (
            '{"code":34,"language":"GO","version":317,"opaque":7,"flag":0,"remark":"","extFields":{}}',
            (34, 0, 7, 317, "GO", ""),
        ),
        (' {\n"flag" : 1 , "code" : 0, "unknown" : [ { } ] }', (0, 1, 0, 0, "JAVA", None)),
        ('{"code":1,"language":3}', (1, 0, 0, 0, "PYTHON", None)),
        ('{"code":1,"language":99}', (1, 0, 0, 0, None, None)),
        ('{"code":1,"language":"KLINGON"}', (1, 0, 0, 0, "KLINGON", None)),
        ('{"code":1,"language":null,"remark":null,"extFields":null}', (1, 0, 0, 0, None, None)),
        ('{"code":"1","opaque":"-7","version":"479"}', (1, 0, -7, 479, "JAVA", None)),
        ('{"code":"1","language":2}', (1, 0, 0, 0, "DOTNET", None)),
        ('{"code":"1","language":[2]}', (1, 0, 0, 0, None, None)),
        ('{"code":1,"flag":null,"opaque":null}', (1, 0, 0, 0, "JAVA", None)),
        ('{"code":1,"remark":"a\x01b"}', (1, 0, 0, 0, "JAVA", "a\x01b")),
        ('{"code":1,"remark":"\\ud800"}', (1, 0, 0, 0, "JAVA", "\ufffd")),
        ('{"code":1,"remark":"\\ud83d\\ude00"}', (1, 0, 0, 0, "JAVA", "😀")),
        ('{"code":1,"remark":12}', (1, 0, 0, 0, "JAVA", "12")),
        ('{"code":2147483647,"opaque":-2147483648}', (2**31 - 1, 0, -(2**31), 0, "JAVA", None)),
    ],
)
def test_json_as_others_write_it(text, expected):
    assert values(from_json(text))[:-1] == expected


@pytest.mark.parametrize(
    ("text", "ext"),
    [
        ('{"code":1}', {}),
        ('{"code":1,"extFields":null}', {}),
        ('{"code":1,"extFields":{"a":"1","b":null}}', {"a": "1"}),
        ('{"code":1,"extFields":{"a":1,"b":true,"c":1.5,"d":[1,{}],"e":{"f":null}}}', None),
        ('{"code":1,"extFields":{"p":"k\\u0001v\\u0002"}}', {"p": "k\x01v\x02"}),
        ('{"code":1,"extFields":{"p":"k\x01v\x02"}}', {"p": "k\x01v\x02"}),
        ('{"code":1,"extFields":{"p":"\\udc00"}}', {"p": "\ufffd"}),
    ],
)
def test_json_ext_is_a_map_of_strings(text, ext):
    assert from_json(text).ext == (
        {"a": "1", "b": "true", "c": "1.5", "d": "[1, {}]", "e": '{"f": null}'} if ext is None else ext
    )


@pytest.mark.parametrize(
    "text", ['{"code":1,"extFields":[1]}', '{"code":1,"extFields":"x"}', '{"code":1,"extFields":1}']
)
def test_ext_of_another_kind_is_an_error_of_the_header_alone(text):
    found = from_json(text)
    with pytest.raises(HeaderError, match="extFields is a JSON"):
        _ = found.ext
    with pytest.raises(HeaderError, match="extFields is a JSON"):
        found.read_header(Header)


def test_ext_that_is_not_utf8_is_an_error_of_the_header_alone():
    found = from_json(b'{"code":1,"opaque":3,"extFields":{"a":"\xff"}}')
    assert found.opaque == 3
    with pytest.raises(HeaderError, match="not UTF-8 at byte 6"):
        _ = found.ext
    with pytest.raises(HeaderError, match="not UTF-8 at byte 6"):
        found.read_header(A)


AROUND = pytest.mark.parametrize(
    "around", ['{"code":1,"extFields":{"a":%s}}', '{"code":1,"x":%s}', '{"code":"1","x":%s}']
)


@AROUND
def test_nesting_is_read(around):
    assert from_json(around % ("[" * 60 + "]" * 60)).ext in ({}, {"a": "[" * 60 + "]" * 60})


@AROUND
def test_deep_nesting_is_refused(around):
    with pytest.raises(RemoteProtocolError, match="nested deeper than 64 at character"):
        _ = from_json(around % ("[" * 200_000 + "]" * 200_000)).ext


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the end at character 0"),
        ("[]", "a JSON list, not an object"),
        ("null", "a JSON NoneType"),
        ("{}", "`code` is not a number: 'None'"),
        ('{"code":"x"}', "`code` is not a number: 'x'"),
        ('{"code":1e999}', "`code` is not a number: 'inf'"),
        ('{"code":2147483648}', "`code` is out of range"),
        ('{"code":1,"opaque":-2147483649}', "`opaque` is out of range"),
        ('{"code":1,"flag":"99999999999"}', "`flag` is out of range"),
        ('{"code":1,"version":%s}' % ("9" * 399), "`version` is out of range"),
        ('{"code":1,"version":%s}' % ("9" * 5000), "number of 5000 characters"),
        ('{"code":1', "the end at character 9"),
        (b'{"code":1,"remark":"\xff"}', "not UTF-8 at byte 20"),
    ],
)
def test_bad_json(text, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        from_json(text)


BINARY_HEADER = SIMPLE_CASES[2][1][8:]


def replaced(position, number, size):
    return BINARY_HEADER[:position] + number.to_bytes(size, "big", signed=True) + BINARY_HEADER[position + size :]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        *((BINARY_HEADER[:cut], "cut off|not fit") for cut in range(len(BINARY_HEADER))),
        (replaced(13, -1, 4), "the remark of -1 bytes"),
        (replaced(13, 14, 4), "the remark of 14 bytes"),
        (replaced(13, 2**31 - 1, 4), "the remark of 2147483647 bytes"),
        (replaced(17, -1, 4), "the ext fields of -1 bytes"),
        (replaced(17, 14, 4), "the ext fields of 14 bytes"),
        (replaced(17, 12, 4), "an ext field does not fit"),
        (replaced(17, 1, 4), "an ext field does not fit"),
        (replaced(21, 6, 2), "an ext field does not fit"),
        (replaced(21, -1, 2), "an ext field does not fit"),
        (replaced(28, 3, 4), "an ext field does not fit"),
        (replaced(28, -1, 4), "an ext field does not fit"),
        (BINARY_HEADER[:-1] + b"\xff", "not UTF-8"),
    ],
)
def test_bad_binary(header, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_command(Frame(1, header, b""))


def test_binary_value_without_bytes_reads_as_absent():
    data = encode_command(command(kind=BINARY, ext={"attributes": "", "topic": "T1"}))
    assert b"attributes\0\0\0\0" in data
    assert decoded(data).ext == {"topic": "T1"}


@pytest.mark.parametrize("code", [0, 310, 0x7FFF, -1])
def test_binary_code_of_16_bits(code):
    assert decoded(encode_command(command(code, kind=BINARY))).code == code


@pytest.mark.parametrize(("code", "wire"), [(200050, 3442), (200151, 3543), (0x8000, -0x8000)])
def test_binary_truncates_longer_codes_as_upstream_does(code, wire):
    assert decoded(encode_command(command(code, kind=BINARY))).code == wire


def test_unknown_language_is_none_and_is_answered():
    assert decode_command(Frame(1, b"\0\1\xc8" + bytes(18), b"")).language is None
    assert decode_command(Frame(2, msgpack.packb([1, 0, 0, 0, 200, None, None]), b"")).language is None
    for kind in CODECS:
        unknown = RemotingCommand(1, language=None, serialize_type=kind)
        assert decoded(encode_command(unknown)).language == "OTHER"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [1, 0, 0, 0, 0, None],
        [1, 0, 0, 0, 0, None, None, None],
        {},
        None,
        [2**31, 0, 0, 0, 0, None, None],
        [1, -(2**31) - 1, 0, 0, 0, None, None],
        [1, 0, 2**64 - 1, 0, 0, None, None],
        [1, 0, 0, 2**40, 0, None, None],
        [1, 0, 0, 0, 2**40, None, None],
        [1.0, 0, 0, 0, 0, None, None],
        [True, 0, 0, 0, 0, None, None],
        ["1", 0, 0, 0, 0, None, None],
        [None, 0, 0, 0, 0, None, None],
        [1, 0, 0, 0, 0, 5, None],
        [1, 0, 0, 0, 0, b"remark", None],
        [1, 0, 0, 0, 0, None, []],
        [1, 0, 0, 0, 0, None, {b"a": "1"}],
        [1, 0, 0, 0, 0, None, {1: "1"}],
        [1, 0, 0, 0, 0, None, {None: "1"}],
        [1, 0, 0, 0, 0, None, {"a": 1.5}],
        [1, 0, 0, 0, 0, None, {"a": [1]}],
        [1, 0, 0, 0, 0, None, {"a": {}}],
        [1, 0, 0, 0, 0, None, {"a": msgpack.ExtType(5, b"x")}],
        [1, 0, 0, 0, 0, None, {"a": msgpack.Timestamp(1)}],
        [1, 0, 0, 0, 0, None, {str(n): "x" for n in range(5000)}],
    ],
)
def test_bad_msgpack_values(fields):
    with pytest.raises(RemoteProtocolError, match=r"MSGPACK|MessagePack"):
        decode_command(Frame(2, msgpack.packb(fields), b""))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"\x97\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x97" + b"\x01" * 8,
        b"\x97" + b"\x01" * 5 + b"\xa1\xff\xc0",
        b"\x97" + b"\x01" * 5 + b"\xc0\x81\xa1\xff\x01",
    ],
)
def test_bad_msgpack_bytes(header):
    with pytest.raises(RemoteProtocolError, match="not readable MessagePack"):
        decode_command(Frame(2, header, b""))


@pytest.mark.parametrize("kind", [3, 255])
def test_unknown_codec(kind):
    with pytest.raises(RemoteProtocolError, match=f"{kind} is not a known serialize type"):
        decode_command(Frame(kind, b"{}", b""))
    with pytest.raises(LocalProtocolError, match=f"{kind} is not a known serialize type"):
        encode_command(command(kind=kind))


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("field", ["code", "flag", "opaque", "version"])
@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**64])
def test_number_out_of_range_is_not_written(kind, field, number):
    bad = command(kind=kind)
    setattr(bad, field, number)
    with pytest.raises(LocalProtocolError, match="out of range"):
        encode_command(bad)


def test_version_beyond_16_bits_is_not_written_in_binary():
    bad = command(kind=BINARY)
    bad.version = 0x8000
    with pytest.raises(LocalProtocolError, match="out of range"):
        encode_command(bad)


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("fields", [{"remark": "\ud800"}, {"ext": {"a": "\ud800"}}, {"ext": {"\ud800": "a"}}])
def test_unpaired_surrogate_is_not_written(kind, fields):
    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        encode_command(command(kind=kind, **fields))


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("value", [1.5, [1], {}, object()])
def test_ext_value_of_another_kind_is_not_written(kind, value):
    with pytest.raises(LocalProtocolError, match="string, integer"):
        encode_command(command(kind=kind, ext={"a": value}))


def test_msgpack_integer_too_large_is_not_written():
    with pytest.raises(LocalProtocolError, match="out of range"):
        encode_command(command(kind=MSGPACK, ext={"a": 2**64}))


def test_binary_name_too_long_is_not_written():
    with pytest.raises(LocalProtocolError, match="header name of 32768 bytes"):
        encode_command(command(kind=BINARY, ext={"a" * 32768: "x"}))


@pytest.mark.parametrize("kind", [JSON, BINARY])
def test_values_that_came_in_msgpack_leave_as_strings(kind):
    ext = {"n": 3, "yes": True, "no": False, "none": None, "s": "x"}
    assert decoded(encode_command(command(kind=kind, ext=ext))).ext == {
        "n": "3",
        "yes": "true",
        "no": "false",
        "s": "x",
    }
    if kind == JSON:
        header = encode_command(command(kind=kind, ext=ext))[8:]
        assert json.loads(header)["extFields"] == {"n": "3", "yes": "true", "no": "false", "s": "x"}
    with pytest.raises(LocalProtocolError, match="not bytes"):
        encode_command(command(kind=kind, ext={"b": b"x"}))


@pytest.mark.parametrize("kind", CODECS)
def test_frame_over_the_limit_is_not_written(kind):
    whole = len(encode_command(command(kind=kind, body=b"x" * 1000)))
    encode_command(command(kind=kind, body=b"x" * 1000), whole - 4)
    with pytest.raises(LocalProtocolError, match="exceeds the limit"):
        encode_command(command(kind=kind, body=b"x" * 1000), whole - 5)


@pytest.mark.parametrize("kind", CODECS)
def test_response_answers_in_the_codec_and_with_the_opaque_of_its_request(kind):
    response = response_command(command(kind=kind, opaque=7), 17, {"a": "b"}, b"body", "remark")
    assert response.is_response
    assert not response.is_oneway
    assert (response.opaque, response.serialize_type, response.language) == (7, kind, "PYTHON")
    assert values(decoded(encode_command(response))) == values(response)


def test_request_flags():
    assert not request_command(1).is_oneway
    assert request_command(1, oneway=True).is_oneway
    assert not request_command(1, oneway=True).is_response


@pytest.mark.parametrize("text", ['{"code":1}', '{"code":"1"}', '{"code":"1","extFields":null}'])
def test_absent_ext_stays_absent(text):
    found = from_json(text)
    assert found.ext_fields is None
    assert b"extFields" not in encode_command(found)


def test_ext_fields_of_a_json_frame_are_not_read_until_asked_for():
    found = from_json('{"code":1,"extFields":{"topic":"T1"}}')
    assert isinstance(found.ext_fields, msgspec.Raw)
    assert decoded(encode_command(found)).ext == {"topic": "T1"}
