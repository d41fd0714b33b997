"""NameServer: the composition root. Builds, wires, runs; no behaviour."""

import asyncio
import errno
import os

from protocol.address import format_address
from rmq_server.core.clock import Clock, SystemClock
from rmq_server.core.errors import StartupError
from rmq_server.core.log import get_logger
from rmq_server.namesrv.config import NamesrvConfig
from rmq_server.namesrv.kvconfig import KVConfig
from rmq_server.namesrv.processors.kv import KVProcessor
from rmq_server.namesrv.processors.registration import RegistrationProcessor
from rmq_server.namesrv.processors.routes import RouteProcessor
from rmq_server.namesrv.processors.topics import TopicProcessor
from rmq_server.namesrv.routes import RouteInfoManager
from rmq_server.net.listener import Listener
from rmq_server.net.peer import Peer
from rmq_server.net.router import Router

_log = get_logger("namesrv")

_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class NameServer:
    """Tells clients where topics are. Several side by side know nothing of each other; brokers register with all."""

    name = "namesrv"

    def __init__(self, config: NamesrvConfig, *, clock: Clock | None = None) -> None:
        self._config = config
        self._kv = KVConfig(config.kv_config_path)
        self.routes = RouteInfoManager(clock or SystemClock(), prune=config.delete_topic_with_broker_registration)
        self._router = Router(
            [
                RegistrationProcessor(self.routes, self._kv if config.return_order_topic_config_to_broker else None),
                RouteProcessor(self.routes, self._kv, config),
                TopicProcessor(self.routes),
                KVProcessor(self._kv),
            ]
        )
        self._listener = Listener(self._router, idle_timeout_s=config.server_channel_max_idle_time_s)
        self._port = config.listen_port
        self._is_open = False

    @property
    def address(self) -> str:
        """`host:port` that it is bound to."""
        return format_address(self._config.bind_address, self._port)

    @property
    def local_address(self) -> str:
        """`host:port` by which this machine reaches it."""
        return format_address(_LOCAL.get(self._config.bind_address, self._config.bind_address), self._port)

    @property
    def addresses(self) -> dict[str, str]:
        """What `--ports-file` tells."""
        return {"namesrv": self.address}

    async def start(self) -> None:
        """Read the KV configuration and open the port.

        Raises: StartupError.
        """
        self._kv.load()
        try:
            self._port = await self._listener.bind(self._config.bind_address, self._config.listen_port)
        except OSError as error:
            raise StartupError(_bind_failure(self.address, error)) from None
        self._is_open = True
        _log.info("nameserver started", address=self.address)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run(), name="namesrv.listener")
            while True:
                await asyncio.sleep(self._config.scan_not_active_broker_interval_ms / 1000)
                self._forget_silent_brokers()

    async def drain(self) -> None:
        """Refuse new connections, and tell those that ask over open ones to go elsewhere."""
        self._listener.stop_accepting()
        self._router.start_draining()

    async def close(self) -> None:
        """Close all connections."""
        await self._listener.close()
        if self._is_open:
            self._is_open = False
            _log.info("nameserver stopped", address=self.address)

    def _forget_silent_brokers(self) -> None:
        for broker in self.routes.expire():
            if isinstance(broker.channel, Peer):
                broker.channel.close()


def _bind_failure(address: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use: another NameServer runs there; choose another listenPort, 0 takes a free one"
    return f"cannot listen on {address}: {os.strerror(error.errno) if error.errno else error}"
