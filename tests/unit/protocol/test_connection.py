"""The connection machine, two of them joined without a network: numbers, waiters, and the negotiation of MSGPACK."""

import pytest

from protocol.command import RemotingCommand, SerializeType, encode_command, request_command, response_command
from protocol.connection import ACCEPTED_CODECS, OUR_CODECS, Connection
from protocol.errors import LocalProtocolError, RemoteProtocolError

JSON, BINARY, MSGPACK = SerializeType


class Pair:
    """A client and a server; what one encodes the other reads."""

    def __init__(self, *, client_native=True, server_native=True):
        self.client = Connection(dials=True, native=client_native)
        self.server = Connection(dials=False, native=server_native)

    def ask(self, request=None, waiter="w"):
        """The request as the server reads it."""
        data = self.client.encode_request(request or request_command(105, {"topic": "T"}), waiter, 10)
        return one(self.server, data)

    def answer(self, request, response=None):
        """The response to it as the client reads it."""
        response = response or response_command(request, 0)
        return one(self.client, self.server.encode_response(response))

    def call(self, request=None):
        """Both ways; returns the request and the response as they were read."""
        asked = self.ask(request)
        answered = self.answer(asked)
        assert self.client.take_waiter(answered) == "w"
        return asked, answered


def one(connection, data):
    (command,) = connection.receive_data(data)
    return command


def kinds(commands):
    return [command.serialize_type for command in commands]


def test_negotiates_msgpack_with_the_first_call():
    pair = Pair()
    asked, answered = pair.call()
    assert kinds([asked, answered]) == [JSON, JSON]
    assert asked.ext == {"topic": "T", ACCEPTED_CODECS: OUR_CODECS}
    assert answered.ext == {ACCEPTED_CODECS: OUR_CODECS}
    asked, answered = pair.call()
    assert kinds([asked, answered]) == [MSGPACK, MSGPACK]
    assert asked.ext == {"topic": "T"}
    assert answered.ext == {}
    assert pair.server.codec == MSGPACK


@pytest.mark.parametrize("natives", [(True, False), (False, True), (False, False)])
def test_stays_with_json_when_one_side_does_not_negotiate(natives):
    client_native, server_native = natives
    pair = Pair(client_native=client_native, server_native=server_native)
    first, second = pair.call(), pair.call()
    assert kinds([*first, *second]) == [JSON] * 4
    assert (ACCEPTED_CODECS in first[0].ext) == client_native
    assert ACCEPTED_CODECS not in first[1].ext
    assert ACCEPTED_CODECS not in second[0].ext


@pytest.mark.parametrize("answer", ["", "0", "0,1", "12", "0,1,22"])
def test_stays_with_json_when_the_answer_does_not_name_msgpack(answer):
    pair = Pair(server_native=False)
    asked = pair.ask()
    answered = pair.answer(asked, response_command(asked, 0, {ACCEPTED_CODECS: answer}))
    assert pair.client.take_waiter(answered) == "w"
    assert pair.client.codec == JSON


def test_requests_before_the_answer_stay_with_json_and_do_not_offer_again():
    pair = Pair()
    first, second = pair.ask(), pair.ask()
    assert kinds([first, second]) == [JSON, JSON]
    assert ACCEPTED_CODECS not in second.ext
    pair.client.take_waiter(pair.answer(second))
    assert pair.client.codec == JSON
    pair.client.take_waiter(pair.answer(first))
    assert pair.client.codec == MSGPACK


def test_one_way_first_request_leaves_the_offer_to_the_next():
    pair = Pair()
    oneway = pair.ask(request_command(15, {"topic": "T"}, oneway=True), waiter=None)
    assert ACCEPTED_CODECS not in oneway.ext
    assert pair.client.in_flight == 0
    asked, _ = pair.call()
    assert asked.ext[ACCEPTED_CODECS] == OUR_CODECS
    assert pair.client.codec == MSGPACK


def test_request_that_cannot_be_encoded_leaves_the_offer_and_the_number_to_the_next():
    pair = Pair()
    with pytest.raises(LocalProtocolError):
        pair.client.encode_request(request_command(105, {"topic": "\ud800"}), "lost", 10)
    assert pair.client.in_flight == 0
    asked, _ = pair.call()
    assert asked.opaque == 0
    assert pair.client.codec == MSGPACK


def test_offer_is_answered_even_when_its_caller_gave_up():
    pair = Pair()
    asked = pair.ask()
    assert pair.client.expire(10) == ["w"]
    assert pair.client.take_waiter(pair.answer(asked)) is None
    assert pair.client.codec == MSGPACK


def test_error_answers_negotiate_too():
    pair = Pair()
    asked = pair.ask()
    pair.client.take_waiter(pair.answer(asked, response_command(asked, 3, remark="not supported")))
    assert pair.client.codec == MSGPACK


def test_answer_in_pieces_negotiates_too():
    pair = Pair()
    asked = pair.ask()
    head = pair.server.encode_response_head(response_command(asked, 0), 4)
    answered = one(pair.client, head + b"body")
    assert answered.body == b"body"
    pair.client.take_waiter(answered)
    assert pair.client.codec == MSGPACK


def test_only_the_first_call_can_offer():
    pair = Pair(client_native=False)
    pair.call()
    asked = pair.ask(request_command(105, {ACCEPTED_CODECS: OUR_CODECS}))
    assert pair.answer(asked).ext == {}


def test_offer_without_readable_ext_is_no_offer():
    server = Connection(dials=False)
    header = b'{"code":1,"opaque":4,"extFields":["accSer"]}'
    data = (len(header) + 4).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header
    asked = one(server, data)
    assert b"accSer" not in server.encode_response(response_command(asked, 1))


@pytest.mark.parametrize("kind", [JSON, BINARY])
def test_server_speaks_the_codec_that_its_client_speaks(kind):
    server = Connection(dials=False)
    one(server, encode_command(RemotingCommand(34, serialize_type=kind)))
    assert server.codec == kind
    pushed = server.encode_request(request_command(40, {"consumerGroup": "G"}, oneway=True), None, 0)
    assert pushed[4] == kind


def test_responses_do_not_change_the_codec():
    server = Connection(dials=False)
    data = server.encode_request(request_command(307), "w", 10)
    asked = one(Connection(dials=True), data)
    asked.serialize_type = BINARY
    assert server.take_waiter(one(server, encode_command(response_command(asked, 0)))) == "w"
    assert server.codec == JSON


def test_numbers_are_of_one_direction():
    pair = Pair()
    from_client = pair.ask(waiter="client")
    from_server = one(pair.client, pair.server.encode_request(request_command(307), "server", 10))
    assert from_client.opaque == from_server.opaque == 0
    to_server = one(pair.server, pair.client.encode_response(response_command(from_server, 0)))
    to_client = pair.answer(from_client)
    assert pair.server.take_waiter(to_server) == "server"
    assert pair.client.take_waiter(to_client) == "client"


def test_responses_may_overtake_each_other():
    pair = Pair()
    asked = [pair.ask(waiter=name) for name in "abc"]
    assert [request.opaque for request in asked] == [0, 1, 2]
    assert [pair.client.take_waiter(pair.answer(asked[n])) for n in (2, 0, 1)] == ["c", "a", "b"]
    assert pair.client.in_flight == 0


def test_waiter_is_handed_out_once():
    pair = Pair()
    answered = pair.answer(pair.ask())
    assert pair.client.take_waiter(answered) == "w"
    assert pair.client.take_waiter(answered) is None


def test_response_that_nobody_asked_for():
    client = Connection(dials=True)
    assert client.take_waiter(RemotingCommand(0, flag=1, opaque=99)) is None


def test_expire_takes_out_the_late_ones():
    client = Connection(dials=True)
    for waiter, deadline in (("a", 5.0), ("b", 3.0), ("c", 4.0)):
        client.encode_request(request_command(11), waiter, deadline)
    assert client.expire(2.9) == []
    assert client.expire(4.0) == ["b", "c"]
    assert client.expire(4.0) == []
    assert client.in_flight == 1
    assert client.take_waiter(RemotingCommand(0, flag=1, opaque=1)) is None


def test_forget_drops_one_waiter():
    client = Connection(dials=True)
    waiters = [object(), object()]
    for waiter in waiters:
        client.encode_request(request_command(11), waiter, 1)
    client.forget(waiters[0])
    client.forget(object())
    assert client.abandon() == [waiters[1]]


def test_abandon_takes_out_all():
    client = Connection(dials=True)
    for waiter in "abc":
        client.encode_request(request_command(11), waiter, 1)
    assert client.abandon() == ["a", "b", "c"]
    assert client.abandon() == []
    assert client.in_flight == 0


def test_numbers_wrap_and_pass_over_those_in_use():
    client = Connection(dials=True)
    client.encode_request(request_command(11), "long poll", 1)
    client._next_opaque = 2**31 - 1
    numbers = []
    for waiter in ("last", "first again"):
        request = request_command(11)
        client.encode_request(request, waiter, 1)
        numbers.append(request.opaque)
    assert numbers == [2**31 - 1, 1]
    assert client.abandon() == ["long poll", "last", "first again"]


def test_commands_cut_anywhere():
    pair = Pair()
    data = b"".join(pair.client.encode_request(request_command(11, body=b"x" * n), "w", 1) for n in range(4))
    commands = [command for byte in data for command in pair.server.receive_data(bytes([byte]))]
    assert [command.body for command in commands] == [b"", b"x", b"xx", b"xxx"]
    assert list(pair.server.receive_data(data[:9])) == []
    assert pair.server.buffered_bytes == 9


def test_commands_before_a_bad_frame_are_yielded():
    pair = Pair()
    data = pair.client.encode_request(request_command(11), "w", 1)
    commands = pair.server.receive_data(data + b"\0\0\0\x04\x09\0\0\0")
    assert next(commands).code == 11
    with pytest.raises(RemoteProtocolError, match="9 is not a known serialize type"):
        next(commands)


def test_limit_holds_both_ways():
    small = Connection(dials=True, max_frame_bytes=200)
    with pytest.raises(LocalProtocolError, match="limit of 200"):
        small.encode_request(request_command(10, body=b"x" * 200), "w", 1)
    assert small.in_flight == 0
    with pytest.raises(LocalProtocolError, match="limit of 200"):
        small.encode_response(RemotingCommand(0, flag=1, body=b"x" * 200))
    with pytest.raises(LocalProtocolError, match="limit of 200"):
        small.encode_response_head(RemotingCommand(0, flag=1), 200)
    with pytest.raises(RemoteProtocolError, match=r"201 is outside 4\.\.200"):
        list(small.receive_data(b"\0\0\0\xc9"))
