"""Broker: builds the parts, wires them, runs them; decides nothing itself.

open the store ─► load topics, groups, offsets ─► bind ─► register ─► serve
unregister, stop accepting, answer holds ─► close connections ─► stop services ─► write files, close the store
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Barrier

from protocol.address import format_address, pack_host, parse_address_list
from protocol.bodies.subscription_group import ConsumerOffsetTable, SubscriptionGroupTable
from protocol.bodies.topic_config import TopicConfigTable
from protocol.headers.client import NOTIFY_CONSUMER_IDS_CHANGED, ConsumerGroupHeader
from protocol.headers.namesrv import RegisterBrokerHeader
from protocol.message_id import UniqueIdGenerator
from rmq_server.broker.addresses import advertised_host, check_reachable, resolve
from rmq_server.broker.clients import ConsumerGroup, Consumers, Producers
from rmq_server.broker.config import HA_PORT_DISTANCE, VIP_PORT_DISTANCE, BrokerConfig
from rmq_server.broker.groups import SubscriptionGroups
from rmq_server.broker.long_polling import HoldTable
from rmq_server.broker.offsets import ConsumerOffsets
from rmq_server.broker.processors.client import ClientProcessor
from rmq_server.broker.processors.offset import OffsetProcessor
from rmq_server.broker.processors.pull import PullProcessor
from rmq_server.broker.processors.query import QueryProcessor
from rmq_server.broker.processors.send import SendProcessor
from rmq_server.broker.processors.topic import TopicProcessor
from rmq_server.broker.queue_locks import QueueLocks
from rmq_server.broker.registration import Registration
from rmq_server.broker.topics import TopicTable
from rmq_server.core.clock import Clock, SystemClock, month_start_ms
from rmq_server.core.errors import StartupError
from rmq_server.core.json_file import JsonFile
from rmq_server.core.log import get_logger
from rmq_server.net.listener import Listener
from rmq_server.net.router import Router
from rmq_server.store.config import StoreConfig
from rmq_server.store.delay import DelayLevels
from rmq_server.store.files import Files, OsFiles
from rmq_server.store.flush import FlushThread
from rmq_server.store.message_store import MessageStore

_log = get_logger("broker")

NAMESRV_PORT = 9876
_PORT_ATTEMPTS = 50
_COLD_READS = 2  # at a time
_EXPIRY_SCAN_S = 10.0
_SLOWEST_S, _FASTEST_S = 60.0, 10.0  # registerNameServerPeriod is clamped


class Broker:
    """One broker: a store, its topics and groups, and the ports that serve them.

    Raises (start): StartupError in one sentence for what a user can change.
    """

    def __init__(
        self,
        config: BrokerConfig,
        store_config: StoreConfig,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        random: Random | None = None,
    ) -> None:
        self.config = config
        self._store_config = store_config
        self._clock = clock or SystemClock()
        self._files = files or OsFiles()
        self._random = random or Random()
        self._opened = AsyncExitStack()
        self.vip_port = 0

    @property
    def name(self) -> str:
        return f"broker {self.config.broker_name}"

    @property
    def port(self) -> int:
        """The main port, once started."""
        return self.config.listen_port

    @property
    def address(self) -> str:
        """`host:port` that clients are told."""
        return format_address(self._advertised, self.config.advertise_port or self.port)

    async def start(self) -> None:
        """Open the store, bind the ports, register."""
        loop = asyncio.get_running_loop()
        config = self.config
        self._advertised = advertised_host(config)
        self._holds = HoldTable(loop.call_later)
        self._store = MessageStore(
            self._store_config,
            clock=self._clock,
            files=self._files,
            schedule=loop.call_soon,
            worker=FlushThread(loop.call_soon_threadsafe),
            background=FlushThread(loop.call_soon_threadsafe),
            on_arrival=self._holds.notify,
            tags_code_of=DelayLevels(config.delay_levels).tags_code_of,
        )
        self._store.open()
        self._opened.callback(self._store.close)
        self._cold_reads = ThreadPoolExecutor(_COLD_READS, thread_name_prefix="store-cold")
        ready = Barrier(_COLD_READS)  # its threads start now: later the loop would wait for each to start
        for _ in range(_COLD_READS):
            self._cold_reads.submit(ready.wait)
        self._opened.callback(self._cold_reads.shutdown)
        self._load_tables()
        self._opened.push_async_callback(self._save_tables)
        self._consumers = Consumers(self._clock, self._notify_members)
        self._producers = Producers(self._clock)
        self._locks = QueueLocks(self._clock, config.lock_live_ms / 1000)
        await self._bind()
        self._registration = Registration(
            [format_address(*address) for address in self._namesrvs()],
            RegisterBrokerHeader(
                broker_name=config.broker_name,
                broker_addr=self.address,
                cluster_name=config.cluster_name,
                broker_id=config.broker_id,
                ha_server_addr=format_address(
                    self._advertised, (config.advertise_port or self.port) + HA_PORT_DISTANCE
                ),
            ),
            self._topics.registration,
            period_s=max(_FASTEST_S, min(config.register_period_ms / 1000, _SLOWEST_S)),
            timeout_s=config.register_timeout_ms / 1000,
        )
        await self._registration.start()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listener.run())
            tasks.create_task(self._store.run())
            tasks.create_task(self._registration.run())
            tasks.create_task(self._save_changes())
            tasks.create_task(self._forget_silent_clients())
            tasks.create_task(check_reachable(self._advertised, self.config.advertise_port or self.port))

    async def drain(self) -> None:
        """Leave the routes, refuse new work, answer what is held and what waits for the disk."""
        await self._registration.unregister()
        self._router.start_draining()
        self._listener.stop_accepting()
        self._holds.resume_all()
        settled = asyncio.Event()
        self._store.when_durable(self._store.max_physical_offset, lambda result: settled.set())
        await settled.wait()
        await self._listener.close()

    async def close(self) -> None:
        """Write what is left and close the store; the `abort` file goes last."""
        await self._opened.aclose()

    # Parts of the start.

    def _load_tables(self) -> None:
        directory = Path(self._store_config.root) / "config"
        self._topics = TopicTable(self.config, JsonFile(directory / "topics.json", TopicConfigTable), self._clock)
        self._groups = SubscriptionGroups(
            self.config, JsonFile(directory / "subscriptionGroup.json", SubscriptionGroupTable), self._clock
        )
        self._offsets = ConsumerOffsets(JsonFile(directory / "consumerOffset.json", ConsumerOffsetTable), self._clock)
        self._topics.load()
        self._groups.load()
        self._offsets.load()

    async def _bind(self) -> None:
        """Bind the main port and the VIP port below it; records carry the address that is known only then."""
        host, wanted = self.config.bind_address, self.config.listen_port
        port = wanted or _free_pair(host)
        self.config = replace(self.config, listen_port=port)
        self.vip_port = port - VIP_PORT_DISTANCE
        self._router = self._wire(pack_host(resolve(self._advertised), self.config.advertise_port or port))
        self._listener = Listener(self._router, before_write=self._store.write_out)
        self._opened.push_async_callback(self._listener.close)
        for number in (port, self.vip_port):
            try:
                await self._listener.bind(host, number)
            except OSError as error:
                raise StartupError(_bind_failure(host, number, error)) from None

    def _wire(self, store_host: bytes) -> Router:
        unique_ids = UniqueIdGenerator(store_host[:-4], os.getpid(), self._random.getrandbits(31), month_start_ms)
        send = SendProcessor(
            self.config,
            self._store,
            self._topics,
            self._groups,
            store_host=store_host,
            max_message_bytes=self._store_config.max_message_bytes,
            unique_id=lambda: unique_ids.next_id(self._clock.now_ms()),
            random=self._random,
            announce=self._announce,
        )
        pull = PullProcessor(
            self.config,
            self._store,
            self._topics,
            self._groups,
            self._offsets,
            self._consumers,
            self._holds,
            self._run_blocking,
        )
        client = ClientProcessor(
            self._topics, self._groups, self._consumers, self._producers, self._locks, self._announce
        )
        offset = OffsetProcessor(self._store, self._topics, self._groups, self._offsets)
        query = QueryProcessor(self._store)
        return Router((send, pull, client, offset, query, TopicProcessor(self._topics, self._announce)))

    def _namesrvs(self) -> list[tuple[str, int]]:
        if not self.config.namesrv_addr:
            _log.warning("no NameServer is configured: clients cannot find this broker (namesrvAddr, -n)")
            return []
        return parse_address_list(self.config.namesrv_addr, NAMESRV_PORT)

    # What the parts tell each other.

    async def _announce(self) -> None:
        await self._registration.announce()

    def _notify_members(self, group: ConsumerGroup) -> None:
        config = self._groups.get(group.name)
        if group.is_broadcasting or not self.config.notify_members:
            return
        if config is not None and not config.notify_consumer_ids_changed_enable:
            return
        header = ConsumerGroupHeader(consumer_group=group.name)
        for peer in list(group.members):
            peer.send_oneway(NOTIFY_CONSUMER_IDS_CHANGED, header)

    async def _run_blocking(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._cold_reads, work)

    # Services.

    async def _save_tables(self) -> None:
        await self._topics.save()
        await self._groups.save()
        await self._offsets.save()

    async def _save_changes(self) -> None:
        while True:
            await asyncio.sleep(self.config.persist_offsets_ms / 1000)
            try:
                if self._offsets.needs_save:
                    await self._offsets.save()
                if self._groups.needs_save:
                    await self._groups.save()
            except OSError as error:  # a full disk, perhaps: the next round tries again
                _log.error("offsets and groups not saved", reason=error.strerror or str(error))

    async def _forget_silent_clients(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_SCAN_S)
            expiry_ms = self.config.channel_expired_ms
            for peer in {*self._consumers.expired(expiry_ms), *self._producers.expired(expiry_ms)}:
                peer.refuse(f"no heartbeat for {expiry_ms // 1000} s")


def _free_pair(host: str) -> int:
    """A port that is free together with its VIP port.

    Raises: StartupError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_PORT_ATTEMPTS):
        with socket.socket(family) as main, socket.socket(family) as vip:
            main.bind((host, 0))
            port: int = main.getsockname()[1]
            try:
                vip.bind((host, port - VIP_PORT_DISTANCE))
            except OSError:
                continue
            return port
    raise StartupError(f"no two free ports that are {VIP_PORT_DISTANCE} apart were found on {host}")


def _bind_failure(host: str, port: int, error: OSError) -> str:
    address = format_address(host, port)
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use: another broker runs there; choose a listenPort whose number minus 2 is free too"
    return f"{address} cannot be bound: {error.strerror}"
