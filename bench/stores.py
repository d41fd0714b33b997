"""Stores to measure, filled without a broker, and their way out of memory."""

import asyncio
import os
from pathlib import Path

from protocol.address import pack_host
from protocol.record import Record
from rmq_server.core.clock import SystemClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.files import OsFiles
from rmq_server.store.flush import FlushThread
from rmq_server.store.layout import blank, file_name
from rmq_server.store.message_store import MessageStore

_PER_TURN = 1000
_HOST = pack_host("127.0.0.1", 10911)


def fill(config: StoreConfig, queues: list[tuple[str, int]], messages: int, body_bytes: int) -> None:
    """Put so many messages, one queue after the other in turn, and stop cleanly."""
    asyncio.run(_fill(config, queues, messages, os.urandom(body_bytes)))


async def _fill(config: StoreConfig, queues: list[tuple[str, int]], messages: int, body: bytes) -> None:
    loop = asyncio.get_running_loop()
    store = open_store(config)
    for number in range(messages):
        topic, queue_id = queues[number % len(queues)]
        record = Record(
            topic=topic,
            queue_id=queue_id,
            body=body,
            properties=b"",
            born_timestamp_ms=0,
            born_host=_HOST,
            store_host=_HOST,
        )
        store.put(record, 0, deferred=True)
        if number % _PER_TURN == 0:
            await asyncio.sleep(0)
            store.tick()
    flushed = loop.create_future()
    store.when_durable(store.max_physical_offset, flushed.set_result)
    await flushed
    store.close()


def open_store(config: StoreConfig) -> MessageStore:
    """A store on the running loop, open."""
    loop = asyncio.get_running_loop()
    store = MessageStore(
        config,
        clock=SystemClock(),
        files=OsFiles(),
        schedule=loop.call_soon,
        worker=FlushThread(loop.call_soon_threadsafe),
        on_arrival=lambda arrivals: None,
    )
    store.open()
    return store


def store_config(root: Path, segment_bytes: int = 1 << 30) -> StoreConfig:
    """Where the bench keeps a store."""
    return StoreConfig(root=str(root), flush_disk_type=FlushDiskType.ASYNC_FLUSH, commitlog_file_bytes=segment_bytes)


def forget(root: Path) -> None:
    """Let the page cache drop what it holds of the files there, which nobody has mapped."""
    for path in root.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def grow(config: StoreConfig, queues: list[tuple[str, int]], segments: int) -> None:
    """Put a few messages into each of so many segments, which stay sparse: a log of that length that costs no disk."""
    for number in range(segments):
        fill(config, queues, len(queues), 100)
        if number < segments - 1:
            _end_segment(config)


def _end_segment(config: StoreConfig) -> None:
    """Close the last segment of a stopped store as the broker does when it is full."""
    directory, size = Path(config.root) / "commitlog", config.commitlog_file_bytes
    last = max(directory.iterdir())
    end = asyncio.run(_end_of(config)) - int(last.name)
    with last.open("r+b") as file:
        file.seek(end)
        file.write(blank(size - end))
    with (directory / file_name(int(last.name) + size)).open("xb") as file:
        file.truncate(size)


async def _end_of(config: StoreConfig) -> int:
    store = open_store(config)
    end = store.max_physical_offset
    store.close()
    return end
