"""Accepting connections on one or several ports, closing the idle ones, and an orderly end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from protocol.connection import Connection
from protocol.frame import DEFAULT_MAX_FRAME_BYTES
from rmq_server.core.log import get_logger
from rmq_server.net.peer import Crowd, Peer, Waiter
from rmq_server.net.router import Router
from rmq_server.net.transport import Outbox

_log = get_logger("net")

IDLE_TIMEOUT_S = 120.0
_IDLE_SCAN_S = 10.0
_BACKLOG = 1024


class Listener:
    """The open ports of one server and the peers that came in by them.

    before_write: what must be done before any answer leaves (transport.py).
    """

    def __init__(
        self,
        router: Router,
        *,
        max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        before_write: Callable[[], None] | None = None,
    ) -> None:
        self._outbox = Outbox(before_write)
        self._router = router
        self._max_frame_bytes = max_frame_bytes
        self._idle_timeout_s = idle_timeout_s
        self._servers: list[asyncio.Server] = []
        self.peers = Crowd()

    async def bind(self, host: str, port: int) -> int:
        """Open a port and accept on it; 0 takes a free one. Returns the port.

        Raises: OSError when it cannot be bound.
        """
        server = await asyncio.get_running_loop().create_server(self._accept, host, port, backlog=_BACKLOG)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def run(self) -> None:
        """Run handlers that wait, and close idle peers, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._router.use_tasks(tasks)
            while True:
                await asyncio.sleep(_IDLE_SCAN_S)
                self.close_idle(asyncio.get_running_loop().time())

    def close_idle(self, now_s: float) -> None:
        """Close peers that neither sent nor were sent anything for the idle time-out."""
        for peer in self.peers:
            if now_s - peer.last_active_s <= self._idle_timeout_s:
                continue
            _log.info("idle connection closed", peer=peer.address, idle_s=round(now_s - peer.last_active_s))
            peer.close()

    def stop_accepting(self) -> None:
        """Refuse new connections; those that are open stay."""
        for server in self._servers:
            server.close()

    async def close(self, grace_s: float = 0.3) -> None:
        """Send what is written and close all connections; those that do not read it within the grace time are cut."""
        self.stop_accepting()
        for peer in self.peers:
            peer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.peers.wait_gone()
        for peer in self.peers:
            peer.abort()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def _accept(self) -> Peer:
        connection: Connection[Waiter] = Connection(dials=False, max_frame_bytes=self._max_frame_bytes)
        return Peer(self._router.dispatch, connection, self.peers, self._outbox)
