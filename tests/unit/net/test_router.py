"""The router: codes to handlers, failures to responses, awaitables, the end of a server."""

import asyncio

import pytest

from protocol.codes import ResponseCode
from protocol.command import request_command
from protocol.errors import InvalidName, RemoteProtocolError
from protocol.flags import RpcFlag
from protocol.headers.offset import GET_MAX_OFFSET, GET_MIN_OFFSET, OffsetReply, QueueHeader
from protocol.request import handles
from rmq_server.core.errors import Reject
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request, Router
from tests.support.wire import FakePeer, request_of


class Processor:
    """Answers the queue id, or does as `problem` says."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.kept: list[Request[QueueHeader]] = []
        self.gate = asyncio.Event()

    @handles(GET_MAX_OFFSET)
    def max_offset(self, request: Request[QueueHeader]) -> Reply | None:
        if self.problem is not None:
            raise self.problem
        if request.header.queue_id < 0:
            self.kept.append(request)
            return None
        return Reply(header=OffsetReply(offset=request.header.queue_id))

    @handles(GET_MIN_OFFSET)
    async def min_offset(self, request: Request[QueueHeader]) -> Reply:
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return Reply(header=OffsetReply(offset=7))


def ask(queue_id: int = 3, spec=GET_MAX_OFFSET, **options):
    return request_of(spec, QueueHeader(topic="T", queue_id=queue_id), **options)


async def test_answers_in_the_codec_and_with_the_opaque_of_the_request() -> None:
    peer = FakePeer(Router([Processor()]).dispatch)
    for codec in (0, 1, 2):
        command = ask(opaque=40 + codec)
        command.serialize_type = codec
        peer.receive(command)
        (answer,) = peer.sent()
        assert (answer.serialize_type, answer.opaque, answer.flag) == (codec, 40 + codec, RpcFlag.RESPONSE)
        assert answer.read_header(OffsetReply).offset == 3


async def test_many_requests_of_one_chunk_are_answered_by_one_write() -> None:
    peer = FakePeer(Router([Processor()]).dispatch)
    peer.receive(*(ask(opaque=n) for n in range(32)))
    assert [answer.opaque for answer in peer.sent()] == list(range(32))
    assert peer.wire.writes == 1


async def test_an_unknown_code_is_named_in_the_remark() -> None:
    peer = FakePeer(Router([Processor()]).dispatch)
    peer.receive(request_command(9999))
    (answer,) = peer.sent()
    assert (answer.code, answer.remark) == (3, " request type 9999 not supported")


@pytest.mark.parametrize(
    ("problem", "code", "part"),
    [
        (Reject(ResponseCode.TOPIC_NOT_EXIST, "topic[T] not exist"), 17, "topic[T]"),
        (InvalidName("the topic 'a b' has the illegal character ' '"), 29, "illegal character"),
        (RemoteProtocolError("the body is cut off"), 1, "the body is cut off"),
        (ZeroDivisionError("oops"), 1, "ZeroDivisionError: oops"),
    ],
)
@pytest.mark.parametrize("spec", [GET_MAX_OFFSET, GET_MIN_OFFSET], ids=["plain", "awaited"])
async def test_what_a_handler_raises_becomes_a_response(problem, code, part, spec) -> None:
    processor = Processor(problem)
    processor.gate.set()
    router = Router([processor])
    peer = FakePeer(router.dispatch)
    async with asyncio.TaskGroup() as tasks:
        router.use_tasks(tasks)
        peer.receive(ask(spec=spec))
    await asyncio.sleep(0)
    (answer,) = peer.sent()
    assert answer.code == code
    assert part in (answer.remark or "")


@pytest.mark.parametrize(
    ("ext", "field"),
    [({"topic": "T"}, "queueId"), ({"topic": "T", "queueId": "four"}, "queueId"), ({"queueId": "1"}, "topic")],
)
async def test_a_bad_header_field_is_named(ext, field) -> None:
    peer = FakePeer(Router([Processor()]).dispatch)
    peer.receive(request_command(GET_MAX_OFFSET.code, ext))
    (answer,) = peer.sent()
    assert answer.code == ResponseCode.SYSTEM_ERROR
    assert f"`{field}`" in (answer.remark or "")


async def test_a_kept_request_is_answered_later_and_only_once_written() -> None:
    processor = Processor()
    peer = FakePeer(Router([processor]).dispatch)
    peer.receive(ask(-1, opaque=5))
    assert peer.sent() == []
    processor.kept[0].respond(Reply(header=OffsetReply(offset=1)))
    await asyncio.sleep(0)
    assert [answer.opaque for answer in peer.sent()] == [5]


async def test_one_way_requests_get_no_answer_even_when_they_fail() -> None:
    for processor in (Processor(), Processor(ValueError("x"))):
        peer = FakePeer(Router([processor]).dispatch)
        command = ask()
        command.flag = RpcFlag.ONEWAY
        peer.receive(command, request_command(9999, oneway=True))
        assert peer.sent() == []


async def test_a_code_handled_twice_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="GET_MAX_OFFSET is handled twice"):
        Router([Processor(), Processor()])


async def test_while_draining_new_clients_are_told_to_go_away_and_old_ones_are_closed() -> None:
    router = Router([Processor()])
    router.start_draining()
    new, old = FakePeer(router.dispatch), FakePeer(router.dispatch)
    new.receive(ask(version=479))
    assert [answer.code for answer in new.sent()] == [ResponseCode.GO_AWAY]
    assert not new.wire.closed
    old.receive(ask(version=409))
    assert old.sent() == []
    assert old.wire.closed
