"""Properties of the whole protocol: headers survive every codec, and any bytes give a value or a protocol error."""

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import protocol.headers
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import HeartbeatData
from protocol.bodies.route import TopicRouteData
from protocol.bodies.subscription_group import ConsumerOffsetTable, SubscriptionGroupTable
from protocol.bodies.topic_config import TopicConfigTable
from protocol.command import (
    RemotingCommand,
    SerializeType,
    decode_command,
    encode_command,
    request_command,
    response_command,
)
from protocol.connection import Connection
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.frame import DEFAULT_MAX_FRAME_BYTES, FrameDecoder, encode_frame
from protocol.header import header_fields, to_ext
from protocol.message import decode_properties, encode_properties
from protocol.request import REQUESTS

assert protocol.headers

CODECS = list(SerializeType)
SPECS = [REQUESTS[code] for code in sorted(REQUESTS)]
HEADERS = sorted({header for spec in SPECS for header in (spec.header, spec.reply)}, key=lambda header: header.__name__)

INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
NON_EMPTY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def values_of(field):
    if field.kind is bool:
        return st.booleans()
    if field.kind is int:
        return st.integers(field.low, field.high)
    return NON_EMPTY  # ROCKETMQ reads an empty text as absent; test_command.py shows it


def headers_of(header):
    """Headers with every required field and any of the others."""
    fields = header_fields(header)
    required = {field.name: values_of(field) for field in fields if field.required}
    optional = {field.name: values_of(field) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: header(**values))


def decoded(data):
    (frame,) = FrameDecoder().receive_data(data)
    return decode_command(frame)


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.__name__)
@settings(max_examples=30)
@given(st.data())
def test_every_header_survives_every_codec(header, data):
    value = data.draw(headers_of(header))
    for kind in CODECS:
        command = RemotingCommand(1, ext_fields=to_ext(value), serialize_type=kind)
        assert decoded(encode_command(command)).read_header(header) == value


COMMANDS = st.builds(
    RemotingCommand,
    st.integers(-(2**15), 2**15 - 1),
    INT32,
    INT32,
    st.sampled_from(["JAVA", "GO", "PYTHON", "NODE_JS"]),
    st.integers(-(2**15), 2**15 - 1),
    st.none() | NON_EMPTY,
    st.none() | st.dictionaries(TEXT, NON_EMPTY, max_size=5),
    st.binary(max_size=40),
    st.sampled_from(CODECS),
)


@given(COMMANDS)
def test_every_command_survives_its_codec(command):
    found = decoded(encode_command(command))
    assert found.ext == (command.ext_fields or {})
    found.ext_fields = command.ext_fields
    assert msgspec.structs.astuple(found) == msgspec.structs.astuple(command)


@given(st.lists(COMMANDS, max_size=5), st.data())
def test_cuts_do_not_matter(commands, data):
    stream = b"".join(map(encode_command, commands))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoder, whole = FrameDecoder(), FrameDecoder()
    assert [frame for chunk in chunks for frame in decoder.receive_data(chunk)] == list(whole.receive_data(stream))
    assert decoder.buffered_bytes == 0


def outcome(chunks):
    """What a connection makes of a stream: its commands, and whether it ended in an error."""
    connection = Connection(dials=False, max_frame_bytes=10_000)
    commands = []
    try:
        for chunk in chunks:
            commands.extend(connection.receive_data(chunk))
    except RemoteProtocolError as error:
        return [*map(use, commands), str(error)]
    return [*map(use, commands), connection.buffered_bytes]


def use(command):
    """Do with a command what a server does; anything but a protocol error escapes and fails the test."""
    results = [command.code, command.flag, command.opaque, command.language, command.version, command.remark]
    try:
        results.append(tuple(command.ext.items()))
    except RemoteProtocolError as error:
        results.append(str(error))
    for spec in SPECS:
        try:
            results.append(command.read_header(spec.header))
        except RemoteProtocolError as error:
            results.append(str(error))
    for kind in CODECS:
        command.serialize_type = kind
        for answer in (command, response_command(command, 0, remark=command.remark)):
            try:
                decoded(encode_command(answer))
            except (LocalProtocolError, RemoteProtocolError) as error:
                results.append(str(error))
    return results


def is_the_same_in_pieces(stream):
    """One chunk, and byte by byte."""
    assert outcome([stream]) == outcome([stream[at : at + 1] for at in range(len(stream))])


@given(st.binary(max_size=60))
@example(b"\0\0\0\4\0\0\0\0")
@example(b"\0\0\0\4\3\0\0\0")
def test_any_stream_gives_commands_or_an_error(stream):
    is_the_same_in_pieces(stream)


@given(st.integers(0, 3), st.binary(max_size=60), st.binary(max_size=8))
def test_any_header_bytes_give_a_command_or_an_error(kind, header, body):
    is_the_same_in_pieces(encode_frame(kind, header, body, DEFAULT_MAX_FRAME_BYTES))


PIECES = """{ } [ ] : , " ' "code" "flag" "opaque" "remark" "extFields" "language" "topic" "queueId" 1 -1 1.5 1e999 true
null 99999999999 "1" "x" "\\ud800" "\\u0001" \x01 {} [] {"code":1, "extFields":{ "$ref" "$" {"code":"1","""
JSON_PIECES = st.sampled_from(PIECES.split())


@given(st.lists(JSON_PIECES, max_size=14).map("".join))
def test_any_json_gives_a_command_or_an_error(text):
    is_the_same_in_pieces(encode_frame(0, text.encode(), b"", DEFAULT_MAX_FRAME_BYTES))


@given(COMMANDS, st.data())
def test_any_changed_frame_gives_a_command_or_an_error(command, data):
    stream = bytearray(encode_command(command))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(4, len(stream) - 1))] = data.draw(st.integers(0, 255))
    is_the_same_in_pieces(bytes(stream))


MSGPACK_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.binary(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.tuples(*[INT32 | MSGPACK_VALUES] * 5, st.none() | TEXT | MSGPACK_VALUES)
    .flatmap(lambda numbers: st.tuples(st.just(numbers), st.none() | st.dictionaries(TEXT, MSGPACK_VALUES, max_size=3)))
    .map(lambda pair: [*pair[0], pair[1]])
)
def test_any_msgpack_values_give_a_command_or_an_error(fields):
    is_the_same_in_pieces(encode_frame(2, msgpack.packb(fields), b"", DEFAULT_MAX_FRAME_BYTES))


@given(st.lists(st.tuples(st.sampled_from(SPECS), st.booleans()), max_size=6), st.booleans(), st.booleans())
def test_two_machines_agree_whatever_is_asked(calls, client_native, server_native):
    client, server = Connection(dials=True, native=client_native), Connection(dials=False, native=server_native)
    answered = False
    for number, (spec, oneway) in enumerate(calls):
        waiter = None if oneway else number
        expected = SerializeType.MSGPACK if answered and client_native and server_native else SerializeType.JSON
        request = request_command(spec.code, {}, oneway=oneway)
        (asked,) = server.receive_data(client.encode_request(request, waiter, 0))
        assert (asked.code, asked.is_oneway, asked.serialize_type) == (spec.code, oneway, expected)
        if not oneway:
            (answer,) = client.receive_data(server.encode_response(response_command(asked, 0)))
            assert answer.serialize_type == expected
            assert client.take_waiter(answer) == number
            answered = True
    assert client.in_flight == 0


@pytest.mark.parametrize(
    "kind", [HeartbeatData, TopicRouteData, TopicConfigTable, SubscriptionGroupTable, ConsumerOffsetTable]
)
@given(st.binary(max_size=40) | st.lists(JSON_PIECES, max_size=12).map(lambda pieces: "".join(pieces).encode()))
def test_any_body_bytes_give_a_body_or_an_error(kind, data):
    try:
        body = decode_body(kind, data)
    except RemoteProtocolError:
        return
    assert decode_body(kind, encode_body(body)) == body


PROPERTY = st.text(st.characters(codec="utf-8", exclude_characters="\x01\x02"), min_size=1, max_size=20)


@given(st.dictionaries(PROPERTY, PROPERTY, max_size=10))
def test_properties_survive_their_text(properties):
    assert decode_properties(encode_properties(properties)) == properties


@given(TEXT)
def test_any_properties_text_reads(text):
    properties = decode_properties(text)
    assert all(name and value for name, value in properties.items())
