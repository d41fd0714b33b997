"""EmbeddedCluster: a nameserver and a broker inside your own event loop, on free ports, for tests and notebooks.

    async with EmbeddedCluster() as cluster:
        async with Producer("group", namesrv=cluster.namesrv) as producer: ...

It is the real thing: the same servers, wire and files as the programs start. Clients reach it over TCP.
"""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.server import Broker
from rmq_server.core.clock import Clock
from rmq_server.core.lifecycle import Server
from rmq_server.namesrv.config import NamesrvConfig
from rmq_server.namesrv.server import NameServer
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.files import Files

SMALL_SEGMENT_BYTES = 64 * 1024 * 1024


class EmbeddedCluster:
    """Servers that live as long as the `async with` block; each can be stopped and started again inside it.

    directory: where the data goes; None takes a temporary one that is removed at the end.
    broker:    settings of the broker; its ports and NameServer are chosen here.
    store:     settings of its store, by default ASYNC_FLUSH, 64 MiB segments, and a disk that is never full by percent;
               its directory is chosen here.
    clock, files: what the broker knows of time and disk, for simulation.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        broker: BrokerConfig | None = None,
        store: StoreConfig | None = None,
        clock: Clock | None = None,
        files: Files | None = None,
    ) -> None:
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="rmq-embedded-"))
        self._broker_config = replace(broker or BrokerConfig(), bind_address="127.0.0.1", listen_port=0)
        self._store_config = replace(
            store
            or StoreConfig(
                flush_disk_type=FlushDiskType.ASYNC_FLUSH,
                commitlog_file_bytes=SMALL_SEGMENT_BYTES,
                disk_enough_bytes=4 * SMALL_SEGMENT_BYTES,
            ),
            root=str(self.directory / "store"),
        )
        self._clock = clock
        self._files = files
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._running: dict[str, tuple[Server, asyncio.Task[None]]] = {}
        self._namesrv_port = 0

    @property
    def namesrv(self) -> str:
        """`host:port` of the nameserver."""
        return f"127.0.0.1:{self._namesrv_port}"

    @property
    def broker(self) -> Broker:
        """The running broker.

        Raises: KeyError while it is stopped.
        """
        server = self._running["broker"][0]
        assert isinstance(server, Broker)
        return server

    async def __aenter__(self) -> Self:
        if self._temporary:
            self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        try:
            await self._stack.enter_async_context(self._tasks)
            self._stack.push_async_callback(self.stop_namesrv)
            self._stack.push_async_callback(self.stop_broker)
            await self.start_namesrv()
            await self.start_broker()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def start_namesrv(self) -> None:
        """Start the nameserver, again on its port when it ran before."""
        config = NamesrvConfig(
            bind_address="127.0.0.1", listen_port=self._namesrv_port, kv_config_path=self.directory / "kvConfig.json"
        )
        server = NameServer(config, clock=self._clock)
        await self._start("namesrv", server)
        self._namesrv_port = int(server.address.rpartition(":")[2])

    async def stop_namesrv(self) -> None:
        """Stop the nameserver; nothing happens when it is stopped."""
        await self._stop("namesrv")

    async def start_broker(self, *, new_port: bool = False) -> None:
        """Start the broker on its directory, on its earlier port unless told otherwise."""
        config = replace(self._broker_config, namesrv_addr=self.namesrv)
        if new_port:
            config = replace(config, listen_port=0)
        broker = Broker(config, self._store_config, clock=self._clock, files=self._files)
        await self._start("broker", broker)
        self._broker_config = replace(config, listen_port=broker.port)

    async def stop_broker(self) -> None:
        """Stop the broker in order; nothing happens when it is stopped."""
        await self._stop("broker")

    async def _start(self, role: str, server: Server) -> None:
        try:
            await server.start()
        except BaseException:
            await server.close()
            raise
        self._running[role] = server, self._tasks.create_task(server.run())

    async def _stop(self, role: str) -> None:
        running = self._running.pop(role, None)
        if running is not None:
            server, task = running
            await server.drain()
            task.cancel()
            await asyncio.wait([task])
            await server.close()
