"""Pulls of what is not in memory: fetched beside the loop, answered later."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from protocol.address import format_address
from protocol.codes import ResponseCode
from protocol.flags import PullSysFlag
from protocol.headers.pull import PULL_MESSAGE, PullMessageHeader
from protocol.headers.send import SEND_MESSAGE_V2, SendMessageHeaderV2
from protocol.record import unpack_all
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.server import Broker
from rmq_server.net.dialer import Link, dial
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.files import Files, OsFile, OsFiles


class ColdFile(OsFile):
    """Not in memory until a thread other than the loop's has read it."""

    __slots__ = ("_files", "_path")

    def __init__(self, fd: int, path: Path, files: "ColdFiles") -> None:
        super().__init__(fd)
        self._path = path
        self._files = files

    def is_cached(self, offset: int, length: int) -> bool:
        return self._path in self._files.fetched

    def pread(self, length: int, offset: int) -> bytes:
        if threading.current_thread() is not self._files.loop_thread:
            self._files.fetched.append(self._path)
        return super().pread(length, offset)


class ColdFiles(OsFiles):
    def __init__(self) -> None:
        self.loop_thread = threading.current_thread()
        self.fetched: list[Path] = []

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        opened = super().open(path, create=create)
        fd, opened._fd = opened._fd, -1
        return ColdFile(fd, path, self)


@asynccontextmanager
async def running(root: Path, files: Files) -> AsyncIterator[Link]:
    config = StoreConfig(root=str(root), flush_disk_type=FlushDiskType.ASYNC_FLUSH)
    broker = Broker(BrokerConfig(listen_port=0, namesrv_addr=""), config, files=files)
    await broker.start()
    run = asyncio.create_task(broker.run())
    link = await dial(format_address("127.0.0.1", broker.port))
    try:
        yield link
    finally:
        link.close()
        await broker.drain()
        run.cancel()
        await asyncio.wait([run])
        await broker.close()


async def test_a_cold_pull_is_answered_after_its_data_was_fetched(tmp_path: Path) -> None:
    send = SendMessageHeaderV2(
        producer_group="PG", topic="T", properties="", queue_id=0, sys_flag=0, born_timestamp=1, flag=0
    )
    pull = PullMessageHeader(
        consumer_group="G", topic="T", queue_id=0, queue_offset=0, max_msg_nums=32, commit_offset=0,
        sys_flag=PullSysFlag.SUBSCRIPTION, suspend_timeout_millis=0, subscription="*", sub_version=0,
    )  # fmt: skip
    async with running(tmp_path, OsFiles()) as link:
        sent = await link.request(SEND_MESSAGE_V2, send, b"old", timeout_s=20)
        assert sent.code == ResponseCode.SUCCESS
    files = ColdFiles()
    async with running(tmp_path, files) as link:
        pulled = await link.request(PULL_MESSAGE, pull, timeout_s=20)
        assert pulled.code == ResponseCode.SUCCESS
        assert [record.body for record in unpack_all(pulled.body)] == [b"old"]
        assert [path.parent.name for path in files.fetched] == ["0", "commitlog"]
