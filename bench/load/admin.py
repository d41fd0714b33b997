"""The few requests beside the load: create a topic, ask how much is in its queues. Blocking, one connection."""

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.load.replies import RefusedError
from protocol.address import parse_address
from protocol.codes import VERSION, RequestCode
from protocol.command import RemotingCommand, decode_command, encode_command
from protocol.frame import FrameDecoder
from protocol.header import to_ext
from protocol.headers.topic import CreateTopicHeader

_READ_WRITE = 6
_SECONDS = 30


class Admin:
    """One connection to a broker. Every method raises RefusedError when it answers anything but success."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection(parse_address(address), timeout=_SECONDS)
        self._frames = FrameDecoder()

    def create_topic(self, topic: str, queues: int) -> None:
        """Create a topic at this broker only."""
        header = CreateTopicHeader(topic=topic, read_queue_nums=queues, write_queue_nums=queues, perm=_READ_WRITE)
        self._ask(RequestCode.UPDATE_AND_CREATE_TOPIC, [to_ext(header)])

    def max_offsets(self, topic: str, queues: int) -> list[int]:
        """How many messages each queue has had."""
        asked = [{"topic": topic, "queueId": str(queue_id)} for queue_id in range(queues)]
        return [int(answer.ext["offset"]) for answer in self._ask(RequestCode.GET_MAX_OFFSET, asked)]

    def _ask(self, code: int, headers: Sequence[dict[str, str]]) -> list[RemotingCommand]:
        requests = [
            RemotingCommand(code, opaque=opaque, version=VERSION, ext_fields=ext) for opaque, ext in enumerate(headers)
        ]
        self._socket.sendall(b"".join(map(encode_command, requests)))
        answers: dict[int, RemotingCommand] = {}
        while len(answers) < len(requests):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            for frame in self._frames.receive_data(data):
                answer = decode_command(frame)
                if answer.code != 0:
                    raise RefusedError(answer.code, answer.remark, answer.opaque)
                answers[answer.opaque] = answer
        return [answers[opaque] for opaque in range(len(requests))]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
