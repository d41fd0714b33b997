"""Connections that a server opens itself: a broker to its NameServers."""

import asyncio
from collections.abc import Callable
from typing import Any

from protocol.address import parse_address
from protocol.command import RemotingCommand, request_command
from protocol.connection import Connection
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.flags import RpcFlag
from protocol.header import Header, to_ext
from protocol.request import RequestSpec
from rmq_server.net.transport import Outbox, Transport

CONNECT_TIMEOUT_S = 3.0


class Link(Transport):
    """One connection that we opened; requests may overlap. `on_close` is called when it is gone."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        super().__init__(Outbox())
        self._on_close = on_close
        self._connection: Connection[asyncio.Future[RemotingCommand]] = Connection(dials=True, native=False)

    async def request(
        self, spec: RequestSpec[Any, Any], header: Header, body: bytes = b"", *, timeout_s: float
    ) -> RemotingCommand:
        """Send a request and wait for its response, whatever its code.

        Raises: TimeoutError; ConnectionError when the connection is or gets lost.
        """
        if self._transport is None:
            raise ConnectionResetError(f"the connection to {self.address} is closed")
        waiter: asyncio.Future[RemotingCommand] = self._loop.create_future()
        command = request_command(spec.code, to_ext(header), body)
        self.write(self._connection.encode_request(command, waiter, 0.0))
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        finally:
            self._connection.forget(waiter)

    def on_data(self, data: bytes) -> None:
        try:
            for command in self._connection.receive_data(data):
                if command.flag & RpcFlag.RESPONSE:
                    waiter = self._connection.take_waiter(command)
                    if waiter is not None and not waiter.done():
                        waiter.set_result(command)
        except (RemoteProtocolError, LocalProtocolError):
            self.abort()

    def on_lost(self, error: Exception | None) -> None:
        for waiter in self._connection.abandon():
            if not waiter.done():
                waiter.set_exception(ConnectionResetError(f"{self.address} closed the connection"))
        self._on_close()


async def dial(address: str, on_close: Callable[[], None] = lambda: None) -> Link:
    """Open a connection to `host:port`.

    Raises: OSError, TimeoutError, InvalidAddress.
    """
    host, port = parse_address(address)
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, link = await asyncio.get_running_loop().create_connection(lambda: Link(on_close), host, port)
    return link
