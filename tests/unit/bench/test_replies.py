"""Counting replies without decoding them gives what decoding gives."""

from collections.abc import Callable, Iterator

import pytest

from bench.load.replies import RefusedError, ReplyReader
from protocol.command import RemotingCommand, SerializeType, encode_command
from protocol.errors import RemoteProtocolError

CODECS = [SerializeType.JSON, SerializeType.ROCKETMQ]


def reply(opaque: int, codec: int, *, code: int = 0, body: bytes = b"") -> bytes:
    ext = {"msgId": "7F000001", "queueOffset": str(opaque), "transactionId": 'no "opaque":9 of mine'}
    remark = None if code == 0 else "sorry"
    return encode_command(
        RemotingCommand(code, 1, opaque, remark=remark, ext_fields=ext, body=body, serialize_type=codec)
    )


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def in_sevens(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 7):
        yield data[at : at + 7]


@pytest.mark.parametrize("cut", [whole, bytewise, in_sevens])
@pytest.mark.parametrize("codec", CODECS)
def test_every_reply_is_counted_once_however_the_stream_is_cut(
    cut: Callable[[bytes], Iterator[bytes]], codec: int
) -> None:
    reader = ReplyReader()
    numbers = [7, 0, 2_000_000_000, 31]
    stream = b"".join([reply(number, codec, body=b"b" * (index * 50)) for index, number in enumerate(numbers)])

    assert [opaque for piece in cut(stream) for opaque in reader.opaques(piece)] == numbers


def test_codecs_may_mix() -> None:
    stream = reply(1, SerializeType.JSON) + reply(2, SerializeType.ROCKETMQ) + reply(3, SerializeType.MSGPACK)

    assert ReplyReader().opaques(stream) == [1, 2, 3]


def test_a_reply_counts_before_its_body_is_there() -> None:
    reader = ReplyReader()
    data = reply(5, SerializeType.JSON, body=b"x" * 100_000)

    assert reader.opaques(data[:5_000]) == [5]
    assert reader.opaques(data[5_000:] + reply(6, SerializeType.JSON)) == [6]


def test_headers_are_given_as_they_came() -> None:
    (found,) = ReplyReader().replies(reply(5, SerializeType.JSON, body=b"body"))

    assert found.opaque == 5
    assert found.header.startswith(b'{"code":0,')
    assert found.header.endswith(b"}")


@pytest.mark.parametrize("codec", [*CODECS, SerializeType.MSGPACK])
def test_anything_but_success_is_refused_with_its_remark(codec: int) -> None:
    with pytest.raises(RefusedError, match=r"code 14 \(sorry\) for request 3") as refused:
        ReplyReader().opaques(reply(3, codec, code=14))

    assert (refused.value.code, refused.value.opaque) == (14, 3)


def test_members_in_another_order_are_read_too() -> None:
    header = b'{"opaque":12,"flag":1,"code":0}'
    frame = (4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header

    assert ReplyReader().opaques(frame) == [12]


def test_an_opaque_may_be_the_last_member() -> None:
    header = b'{"code":0,"flag":1,"opaque":12}'
    frame = (4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header

    assert ReplyReader().opaques(frame) == [12]


def test_a_header_that_does_not_read_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError):
        ReplyReader().opaques(b"\0\0\0\x06\0\0\0\x02{]")
