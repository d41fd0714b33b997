"""A peer without a socket: what a server writes to it can be read as commands."""

import asyncio
from typing import Any

from protocol.command import RemotingCommand, decode_command, encode_command, request_command
from protocol.connection import Connection
from protocol.frame import FrameDecoder
from protocol.header import Header, to_ext
from protocol.request import RequestSpec
from rmq_server.net.peer import Crowd, Dispatch, Peer
from rmq_server.net.transport import Outbox


class FakeTransport(asyncio.Transport):
    """Collects what is written; behaves like a socket that takes everything."""

    def __init__(self, peername: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        super().__init__({"peername": peername})
        self.written = bytearray()
        self.writes = 0
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FakePeer(Peer):
    """A connected peer whose other end is the test."""

    def __init__(self, dispatch: Dispatch, peername: tuple[str, int] = ("127.0.0.1", 50000), **limits: Any) -> None:
        self.outbox = Outbox()
        super().__init__(dispatch, Connection(dials=False, **limits), Crowd(), self.outbox)
        self.wire = FakeTransport(peername)
        self.connection_made(self.wire)

    def receive(self, *commands: RemotingCommand) -> None:
        """The peer sends requests, in one chunk."""
        self.data_received(b"".join(map(encode_command, commands)))

    def sent(self) -> list[RemotingCommand]:
        """What was written to the peer since the last call, as if the loop turn had ended."""
        self.outbox.flush()
        frames = list(FrameDecoder().receive_data(bytes(self.wire.written)))
        self.wire.written.clear()
        return [decode_command(frame) for frame in frames]

    def lose(self) -> None:
        """The connection breaks."""
        self.connection_lost(None)


def silent_peer(port: int = 50000) -> FakePeer:
    """A peer that sends nothing."""

    def refuse(peer: Peer, command: RemotingCommand) -> None:
        raise AssertionError(f"unexpected request {command}")

    return FakePeer(refuse, ("127.0.0.1", port))


def request_of(
    spec: RequestSpec[Any, Any], header: Header, body: bytes = b"", *, opaque: int = 0, version: int = 479
) -> RemotingCommand:
    """A request as a client sends it."""
    command = request_command(spec.code, to_ext(header), body)
    command.opaque = opaque
    command.version = version
    return command
