"""Registering the broker with every NameServer: at start, at every change, every 30 s, and after a lost connection.

The NameServer takes the broker out of the routes when its connection closes: there is one lasting connection for each.
The whole table is sent each time: a subset would be lost for good if one of several changes did not arrive.
Source: apache/rocketmq: broker/.../out/BrokerOuterAPI.java; remoting.md 3.2, code 103
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from protocol.bodies.topic_config import RegisterBrokerBody, TopicConfigTable, encode_register_body
from protocol.codes import VERSION, ResponseCode
from protocol.errors import RocketMQError
from protocol.hashing import crc32
from protocol.headers.namesrv import REGISTER_BROKER, UNREGISTER_BROKER, BrokerHeader, RegisterBrokerHeader
from rmq_server.core.log import get_logger
from rmq_server.net.dialer import Link, dial

_log = get_logger("broker")

FIRST_RETRY_S = 0.2
MAX_RETRY_S = 5.0
_UNREGISTER_TIMEOUT_S = 0.3
_ANNOUNCE_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 1.0


class Registration:
    """Keeps the NameServers informed about one broker.

    broker: who registers; its CRC is set for each registration.
    topics: gives the table to register.
    """

    def __init__(
        self,
        namesrvs: Sequence[str],
        broker: RegisterBrokerHeader,
        topics: Callable[[], TopicConfigTable],
        *,
        period_s: float,
        timeout_s: float,
    ) -> None:
        self._sessions = [_Session(address, broker, topics, period_s, timeout_s) for address in namesrvs]

    async def start(self) -> None:
        """Register once with every NameServer that answers at once; `run` sees to the others."""
        await self._each(_Session.start)

    async def run(self) -> None:
        """Stay registered until cancelled."""
        await self._each(_Session.run)

    async def announce(self) -> None:
        """Register a change now with every NameServer that is connected, and wait for their answers a short time.

        One that does not answer in time gets the change from its own session's retry.
        """
        await self._each(_Session.announce)

    async def unregister(self) -> None:
        """Leave the routes of every NameServer."""
        await self._each(_Session.unregister)

    async def _each(self, action: Callable[["_Session"], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for session in self._sessions:
                tasks.create_task(action(session))


class _Session:
    """The registration with one NameServer."""

    def __init__(
        self,
        address: str,
        broker: RegisterBrokerHeader,
        topics: Callable[[], TopicConfigTable],
        period_s: float,
        timeout_s: float,
    ) -> None:
        self.address = address
        self._broker = broker
        self._topics = topics
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._link: Link | None = None
        self._wake = asyncio.Event()
        self._failing = False
        self._registered = False
        self._leaving = False

    async def start(self) -> None:
        await self._try_register(_START_TIMEOUT_S)

    async def run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._leaving:
            if self._registered:
                await self._wait_for_reason()
                if self._leaving:
                    return
            if await self._try_register(self._timeout_s):
                retry_s = FIRST_RETRY_S
            else:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)

    async def announce(self) -> None:
        if self._registered and not await self._try_register(_ANNOUNCE_TIMEOUT_S):
            self._wake.set()

    async def _wait_for_reason(self) -> None:
        """Until the period is over, the connection is lost, or a registration has failed."""
        try:
            async with asyncio.timeout(self._period_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _try_register(self, timeout_s: float) -> bool:
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect()
                await self._register()
        except (OSError, TimeoutError, RocketMQError) as error:
            if not self._failing:  # the first of a row of failures
                _log.warning("cannot register", namesrv=self.address, reason=str(error) or type(error).__name__)
            self._failing, self._registered = True, False
            self._drop()
            return False
        if self._failing or not self._registered:
            _log.info("registered", namesrv=self.address, broker_addr=self._broker.broker_addr)
        self._failing, self._registered = False, True
        return True

    async def unregister(self) -> None:
        self._leaving = True
        if self._link is None:
            return
        broker = self._broker
        header = BrokerHeader(
            broker_name=broker.broker_name,
            broker_addr=broker.broker_addr,
            cluster_name=broker.cluster_name,
            broker_id=broker.broker_id,
        )
        try:
            await self._link.request(UNREGISTER_BROKER, header, timeout_s=_UNREGISTER_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            _log.warning("could not unregister", namesrv=self.address, reason=str(error) or type(error).__name__)
        self._drop()

    async def _connect(self) -> None:
        if self._link is None or not self._link.is_open:
            self._link = await dial(self.address, on_close=self._wake.set)

    async def _register(self) -> None:
        link = self._link
        if link is None:
            raise ConnectionResetError("not connected")
        body = encode_register_body(
            RegisterBrokerBody(topic_config_serialize_wrapper=self._topics()), compressed=False, version=VERSION
        )
        header = msgspec.structs.replace(self._broker, body_crc32=crc32(body))
        response = await link.request(REGISTER_BROKER, header, body, timeout_s=self._timeout_s)
        if response.code != ResponseCode.SUCCESS:
            raise RocketMQError(f"refused with code {response.code}: {response.remark}")

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
