"""The asyncio shell around `protocol.connection`: bytes in and out, one write per loop turn, deadlines, flow control.

Invariants: a request's future ends exactly once, by its response, its deadline or the loss of the connection; nothing
is created per request but its future.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from protocol.command import RemotingCommand
from protocol.connection import Connection
from protocol.errors import RemoteProtocolError
from rmq_client.errors import ConnectFailed, ConnectionLost, RequestTimeout
from rmq_client.log import logger

_log = logger("transport")

Waiter = asyncio.Future[RemotingCommand]

SCAN_INTERVAL_S = 0.1
"""How often passed deadlines are looked for while requests are under way."""
SILENCE_S = 3.0
"""A connection whose request timed out and which brought nothing for so long is given up."""

_NEVER = float("inf")


class Connector(Protocol):
    """How connections are made: `factory` makes the protocol object that the new transport serves."""

    async def __call__(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Any: ...


async def connect_tcp(factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
    """Dial over TCP."""
    return await asyncio.get_running_loop().create_connection(factory, host, port)


class Link(asyncio.Protocol):
    """One open connection to a broker or nameserver.

    on_request: called with what the peer asks of us; runs inside `data_received` and must not block.
    on_lost:    called once when the connection is gone.
    """

    def __init__(
        self,
        address: str,
        *,
        on_request: Callable[["Link", RemotingCommand], None],
        on_lost: Callable[["Link"], None],
        native: bool = True,
    ) -> None:
        self.address = address
        self.last_used = 0.0
        self._loop = asyncio.get_running_loop()
        self._machine: Connection[Waiter] = Connection(dials=True, native=native)
        self._on_request = on_request
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._resumed: asyncio.Future[None] | None = None
        self._scan_at = _NEVER
        self._scan_timer: asyncio.TimerHandle | None = None
        self._unanswered_since = _NEVER
        self._why: str | None = None

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Link {self.address} {state}, {self._machine.in_flight} in flight>"

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return self._machine.in_flight

    @property
    def is_congested(self) -> bool:
        """Whether the peer does not take what we write; await `writable` before adding to it."""
        return self._resumed is not None

    async def writable(self) -> None:
        """Wait until the peer takes data again.

        Raises: ConnectionLost.
        """
        while self._resumed is not None:
            await asyncio.shield(self._resumed)
        if self._transport is None:
            raise self.lost_error()

    def request(self, command: RemotingCommand, timeout: float, *, held: bool = False) -> Waiter:
        """Send a request; the future brings the response, whatever its code.

        held:   the peer may rightly be silent for long (a pull), so that says nothing about the connection.
        Units:  timeout in seconds, exact to about SCAN_INTERVAL_S.
        Raises: ConnectionLost when it is not open; in the future: RequestTimeout, ConnectionLost.
        """
        if self._transport is None:
            raise self.lost_error()
        waiter: Waiter = self._loop.create_future()
        now = self._loop.time()
        deadline = now + timeout
        self._write(self._machine.encode_request(command, waiter, deadline))
        self.last_used = now
        if not held and now < self._unanswered_since:
            self._unanswered_since = now
        if deadline < self._scan_at:
            self._schedule_scan(deadline)
        return waiter

    def send_oneway(self, command: RemotingCommand) -> None:
        """Send a request that nobody answers.

        Raises: ConnectionLost when the connection is not open.
        """
        if self._transport is None:
            raise self.lost_error()
        self._write(self._machine.encode_request(command, None, 0.0))
        self.last_used = self._loop.time()

    def respond(self, response: RemotingCommand) -> None:
        """Answer a request of the peer; forgotten when the connection is gone."""
        if self._transport is not None:
            self._write(self._machine.encode_response(response))

    def close(self, why: str = "closed by this client") -> None:
        """Write what is buffered and close; requests under way fail with ConnectionLost."""
        if self._transport is None:
            return
        self._why = why
        self._flush()
        self._transport.close()
        self._lose(None)

    def abort(self, why: str) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._why = why
            self._transport.abort()
            self._lose(None)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.last_used = self._loop.time()

    def data_received(self, data: bytes) -> None:
        self._unanswered_since = _NEVER
        self.last_used = self._loop.time()
        take_waiter = self._machine.take_waiter
        try:
            for command in self._machine.receive_data(data):
                if command.flag & 1:
                    waiter = take_waiter(command)
                    if waiter is not None and not waiter.done():
                        waiter.set_result(command)
                else:
                    self._on_request(self, command)
        except RemoteProtocolError as problem:
            _log.error("closing the connection to %s: %s", self.address, problem)
            self.abort(f"the peer broke the protocol: {problem}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)

    def pause_writing(self) -> None:
        if self._resumed is None:
            self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._resumed is not None:
            self._resumed.set_result(None)
            self._resumed = None

    # Private

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out = self._out
        if out and self._transport is not None:
            self._out = []
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _schedule_scan(self, when: float) -> None:
        if self._scan_timer is not None:
            self._scan_timer.cancel()
        self._scan_at = when
        self._scan_timer = self._loop.call_at(when, self._scan)

    def _scan(self) -> None:
        self._scan_timer, self._scan_at = None, _NEVER
        now = self._loop.time()
        late = self._machine.expire(now)
        for waiter in late:
            if not waiter.done():
                waiter.set_exception(RequestTimeout(f"{self.address} did not answer in time"))
        if late and now - self._unanswered_since >= SILENCE_S:
            self.abort(f"silent for {now - self._unanswered_since:.1f} s")
        elif self._machine.in_flight:
            self._schedule_scan(now + SCAN_INTERVAL_S)

    def _lose(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        self._why = self._why or (str(exc) if exc else "closed by the peer")
        self._out.clear()
        if self._scan_timer is not None:
            self._scan_timer.cancel()
        self.resume_writing()
        for waiter in self._machine.abandon():
            if not waiter.done():
                waiter.set_exception(self.lost_error())
        self._on_lost(self)

    def lost_error(self) -> ConnectionLost:
        """Why nothing can be sent any more."""
        return ConnectionLost(f"the connection to {self.address} is lost: {self._why or 'never opened'}")


async def open_link(link: Link, connector: Connector, host: str, port: int, timeout: float) -> None:
    """Connect a link.

    Raises: ConnectFailed.
    """
    try:
        async with asyncio.timeout(timeout):
            await connector(lambda: link, host, port)
    except TimeoutError:
        raise ConnectFailed(f"no connection to {link.address} within {timeout:.1f} s") from None
    except OSError as problem:
        raise ConnectFailed(f"no connection to {link.address}: {problem.strerror or problem}") from None
