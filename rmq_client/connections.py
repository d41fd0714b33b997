"""Address -> live connection: dial once for all who ask, greet, wait after failures, close when idle.

Source: remoting.md 1.11, behaviour.md 2.8
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from protocol.codes import ResponseCode
from protocol.command import RemotingCommand
from rmq_client.background import Background
from rmq_client.backoff import Backoff
from rmq_client.config import ClientConfig
from rmq_client.errors import ConnectFailed, ConnectionLost, Misuse, RequestTimeout
from rmq_client.log import logger
from rmq_client.transport import Link, open_link

_log = logger("connections")

Greeting = Callable[[Link], Awaitable[None]]


@dataclass(slots=True)
class _Endpoint:
    """One address: its connection, the dial under way, and when the next background attempt may start."""

    backoff: Backoff
    link: Link | None = None
    dialling: "asyncio.Future[Link] | None" = None
    not_before: float = 0.0
    failure: str = ""


@dataclass(slots=True)
class Connections:
    """The connections of one client object.

    background: runs the dials, so that one caller's cancellation does not end another's wait.
    on_request: what a server asks of us.
    on_open, on_lost: told after a greeted connection is there, and after any is gone.
    """

    config: ClientConfig
    background: Background
    on_request: Callable[[Link, RemotingCommand], None]
    on_open: Callable[[str], None]
    on_lost: Callable[[str], None]
    _endpoints: dict[str, _Endpoint] = field(default_factory=dict)

    def opened(self, address: str) -> Link | None:
        """The open connection to an address; the short way, without waiting."""
        endpoint = self._endpoints.get(address)
        return endpoint.link if endpoint is not None else None

    async def get(self, address: str, greet: Greeting | None = None, *, patient: bool = False) -> Link:
        """The open connection to an address, dialled when there is none.

        greet:   run on a new connection before anybody else may use it.
        patient: a background attempt, which fails at once while the wait after an earlier failure lasts.
        Raises:  ConnectFailed.
        """
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            endpoint = self._endpoints[address] = _Endpoint(Backoff(self.config.reconnect))
        if endpoint.link is not None:
            return endpoint.link
        if endpoint.dialling is None:
            loop = asyncio.get_running_loop()
            if patient and loop.time() < endpoint.not_before:
                raise ConnectFailed(f"{endpoint.failure} (next attempt in {endpoint.not_before - loop.time():.1f} s)")
            endpoint.dialling = loop.create_future()
            self.background.start(self._dial(address, endpoint, greet), f"dial {address}")
        return await asyncio.shield(endpoint.dialling)

    def forgive(self, address: str) -> None:
        """Forget earlier failures of an address, because it was announced anew."""
        endpoint = self._endpoints.get(address)
        if endpoint is not None:
            endpoint.backoff.reset()
            endpoint.not_before = 0.0

    def open_links(self) -> list[Link]:
        """All open connections."""
        return [endpoint.link for endpoint in self._endpoints.values() if endpoint.link is not None]

    def tidy(self, wanted: Collection[str]) -> None:
        """Close connections that were idle too long; forget addresses that nobody announces any more."""
        now = asyncio.get_running_loop().time()
        for address, endpoint in list(self._endpoints.items()):
            link = endpoint.link
            if link is not None:
                if not link.in_flight and now - link.last_used >= self.config.idle_close_s:
                    link.close("idle")
            elif endpoint.dialling is None and address not in wanted:
                del self._endpoints[address]

    def close(self) -> None:
        """Close all connections."""
        for link in self.open_links():
            link.close()

    async def _dial(self, address: str, endpoint: _Endpoint, greet: Greeting | None) -> None:
        future = endpoint.dialling
        assert future is not None
        try:
            link = await self._open(address, greet)
        except (ConnectionLost, RequestTimeout) as problem:
            endpoint.dialling = None
            endpoint.failure = str(problem)
            now = asyncio.get_running_loop().time()
            if (
                now >= endpoint.not_before
            ):  # sends dial whenever they need to, which must not prolong the wait of others
                wait_s = endpoint.backoff.next_s()
                endpoint.not_before = now + wait_s
                _log.warning("%s; background attempts go on in %.1f s", problem, wait_s)
            _fail(future, problem if isinstance(problem, ConnectFailed) else ConnectFailed(str(problem)))
        except BaseException:
            endpoint.dialling = None
            _fail(future, ConnectFailed(f"no connection to {address}: the client is closing"))
            raise
        else:
            endpoint.backoff.reset()
            endpoint.link, endpoint.dialling = link, None
            _log.debug("connected to %s", address)
            future.set_result(link)
            self.on_open(address)

    async def _open(self, address: str, greet: Greeting | None) -> Link:
        try:
            host, port = self.config.dial_address(address)
        except Misuse as problem:
            raise ConnectFailed(str(problem)) from None
        link = Link(address, on_request=self.on_request, on_lost=self._lost, native=self.config.native_codec)
        await open_link(link, self.config.connector, host, port, self.config.connect_timeout_s)
        if greet is not None:
            try:
                await greet(link)
            except BaseException:
                link.close("not greeted")
                raise
        if not link.is_open:
            raise ConnectionLost(f"{address} closed the connection at once")
        return link

    def _lost(self, link: Link) -> None:
        endpoint = self._endpoints.get(link.address)
        if endpoint is not None and endpoint.link is link:
            endpoint.link = None
            _log.info("%s", link.lost_error())
            self.on_lost(link.address)


def _fail(future: "asyncio.Future[Link]", problem: Exception) -> None:
    future.set_exception(problem)
    future.exception()  # whoever waited may have been cancelled meanwhile


class NameServers:
    """Several nameservers that know the same: random start, then the one that works, the next when it fails."""

    def __init__(self, addresses: list[str], connections: Connections) -> None:
        self.addresses = addresses
        self._connections = connections
        self._current = random.randrange(len(addresses))

    async def request(self, command: Callable[[], RemotingCommand], timeout: float) -> tuple[RemotingCommand, str]:
        """Ask one of them; each gets its share of the time-out. Returns the answer and who gave it.

        command: makes the request, once per attempt.
        Raises:  RequestTimeout or ConnectionLost of the last one tried.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        count = len(self.addresses)
        problem: ConnectionLost | RequestTimeout | None = None
        for attempt in range(count):
            address = self.addresses[self._current]
            share = max(deadline - loop.time(), 0.0) / (count - attempt)
            try:
                async with asyncio.timeout(share):
                    link = await self._connections.get(address)
                    response = await link.request(command(), share)
                if response.code != ResponseCode.GO_AWAY:
                    return response, address
                problem = ConnectionLost(f"the nameserver {address} is shutting down")
            except (ConnectionLost, RequestTimeout) as failure:
                problem = failure
            except TimeoutError:
                problem = RequestTimeout(f"the nameserver {address} did not answer within {share:.1f} s")
            self._current = (self._current + 1) % count
        assert problem is not None
        raise problem
