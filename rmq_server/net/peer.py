"""A peer: the other end of an accepted connection, with what it told about itself."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from protocol.address import InvalidAddress, pack_host, parse_address
from protocol.codes import ResponseCode
from protocol.command import RemotingCommand, request_command, response_command
from protocol.connection import Connection
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.flags import RpcFlag
from protocol.header import Header, to_ext
from protocol.request import RequestSpec
from protocol.template import ReplyTemplate
from rmq_server.core.log import get_logger
from rmq_server.net.transport import Outbox, Transport

_log = get_logger("net")

_UNKNOWN_HOST = bytes(8)

Waiter = asyncio.Future[RemotingCommand]


class Reply(msgspec.Struct):
    """What a processor answers.

    ext:      ready header fields, instead of a typed header.
    template: with its values, code and header fields of the hot path, instead of code and header.
    pieces:   the body as buffers that are valid until the reply is sent, instead of bytes.
    """

    code: int = ResponseCode.SUCCESS
    header: Header | None = None
    body: bytes = b""
    remark: str | None = None
    ext: dict[str, str] | None = None
    pieces: Sequence[memoryview] = ()
    template: ReplyTemplate | None = None
    values: Sequence[str] = ()


class Dispatch(Protocol):
    """Whoever takes the requests of a peer."""

    def __call__(self, peer: "Peer", command: RemotingCommand) -> None: ...


class Crowd:
    """The peers of a server that are connected now."""

    def __init__(self) -> None:
        self._peers: set[Peer] = set()
        self._gone = asyncio.Event()
        self._gone.set()

    def __iter__(self) -> Iterator["Peer"]:
        return iter(list(self._peers))

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, peer: "Peer") -> None:
        """A peer has connected."""
        self._peers.add(peer)
        self._gone.clear()

    def discard(self, peer: "Peer") -> None:
        """A peer is gone."""
        self._peers.discard(peer)
        if not self._peers:
            self._gone.set()

    async def wait_gone(self) -> None:
        """Wait until nobody is connected."""
        await self._gone.wait()


class Peer(Transport):
    """One accepted connection.

    packed_host: the peer's address as records store it.
    language, version: of its latest request.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        connection: Connection[Waiter],
        crowd: "Crowd",
        outbox: Outbox,
    ) -> None:
        super().__init__(outbox)
        self._dispatch = dispatch
        self._connection = connection
        self._crowd = crowd
        self._close_callbacks: list[Callable[[Peer], None]] = []
        self._stalled: Iterator[RemotingCommand] | None = None
        self.packed_host = _UNKNOWN_HOST
        self.language: str | int | None = None
        self.version = 0

    def __repr__(self) -> str:
        return f"<Peer {self.address} {self.language} v{self.version}>"

    def call_on_close(self, callback: Callable[["Peer"], None]) -> None:
        """Call back once when the connection is gone; a callback that is registered already is not added again."""
        if callback not in self._close_callbacks:
            self._close_callbacks.append(callback)

    def respond(self, request: RemotingCommand, reply: Reply) -> None:
        """Answer a request; a one-way request gets nothing, a peer that is gone neither."""
        if request.flag & RpcFlag.ONEWAY or self._transport is None:
            return
        template = reply.template
        try:
            if template is None or self._connection.owes_echo:
                head = self._encode_head(request, reply)
            else:
                size = sum(map(len, reply.pieces))
                head = template.encode(request.serialize_type, request.opaque, reply.values, size)
        except LocalProtocolError as error:
            _log.error("reply refused", peer=self.address, code=request.code, reason=str(error))
            refusal = response_command(request, ResponseCode.SYSTEM_ERROR, remark=str(error))
            self.write(self._connection.encode_response(refusal))
            return
        self.write(head)
        for piece in reply.pieces:
            self.write(piece)

    def _encode_head(self, request: RemotingCommand, reply: Reply) -> bytes:
        """The response up to its pieces."""
        if reply.template is not None:
            template = reply.template
            command = response_command(request, template.code, template.ext(reply.values), b"", template.remark)
        else:
            ext = reply.ext if reply.header is None else to_ext(reply.header)
            command = response_command(request, reply.code, ext, reply.body, reply.remark)
        if reply.pieces:
            return self._connection.encode_response_head(command, sum(map(len, reply.pieces)))
        return self._connection.encode_response(command)

    def send_oneway(self, spec: RequestSpec[Any, Any], header: Header, body: bytes = b"") -> None:
        """Send a request that has no answer, in the codec that the peer speaks."""
        if self._transport is not None:
            command = request_command(spec.code, to_ext(header), body, oneway=True)
            self.write(self._connection.encode_request(command, None, 0.0))

    def refuse(self, reason: str) -> None:
        """Close the connection because of what came over it, with one log line."""
        _log.warning("connection closed", peer=self.address, reason=reason)
        self.close()

    def on_open(self) -> None:
        self._crowd.add(self)
        try:
            host, port = parse_address(self.address)
            self.packed_host = pack_host(host, port)
        except InvalidAddress:
            _log.debug("peer without an IP address", peer=self.address)

    def on_data(self, data: bytes) -> None:
        self._process(self._connection.receive_data(data))

    def on_resume(self) -> None:
        if self._stalled is not None:
            commands, self._stalled = self._stalled, None
            self._process(commands)

    def on_lost(self, error: Exception | None) -> None:
        self._crowd.discard(self)
        self._stalled = None
        for waiter in self._connection.abandon():
            if not waiter.done():
                waiter.set_exception(ConnectionResetError(f"{self.address} closed the connection"))
        callbacks, self._close_callbacks = self._close_callbacks, []
        for callback in callbacks:
            callback(self)

    def _process(self, commands: Iterator[RemotingCommand]) -> None:
        """Take one command after the other, until there are no more or the peer must read first."""
        dispatch = self._dispatch
        try:
            for command in commands:
                if command.flag & RpcFlag.RESPONSE:
                    self._take_response(command)
                    continue
                dispatch(self, command)
                if self._write_paused:
                    self._stalled = commands
                    return
        except RemoteProtocolError as error:
            self.refuse(str(error))

    def _take_response(self, command: RemotingCommand) -> None:
        waiter = self._connection.take_waiter(command)
        if waiter is not None and not waiter.done():
            waiter.set_result(command)
