"""A whole broker without sockets: request bytes in, reply bytes out, as one read event of a connection.

What the loop, the kernel and the network add is what `compare` shows beyond this.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from bench.load.cases import BATCH, PULL, SEND_BINARY, SEND_JSON, Case, Kind
from bench.load.frames import pull_frames, send_frames
from bench.load.replies import ReplyReader
from bench.micro.timing import Cost
from protocol.codes import RequestCode
from protocol.command import RemotingCommand, encode_command
from protocol.header import to_ext
from protocol.headers.topic import CreateTopicHeader
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.server import Broker
from rmq_server.store.config import FlushDiskType, StoreConfig

TOPIC = "BenchTopic"
_QUEUES = 8
_ROUNDS = 60
_READS_PER_ROUND = 6
_LOADED = 12_800
_RUNS_SECONDS = 0.05  # after so long every service of the broker runs


class NullTransport(asyncio.Transport):
    """A connection to nobody: keeps what was written for whoever looks."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000)})
        self._protocol = protocol
        self.written: list[bytes] = []
        self.answered = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        self.answered.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self._protocol.connection_lost(None)

    def abort(self) -> None:
        self.close()


class Client:
    """One such connection, from the other end."""

    def __init__(self, broker: Broker) -> None:
        self.peer = broker._listener._accept()  # private on purpose: exactly what a real connection gets
        self._transport = NullTransport(self.peer)
        self.answered = self._transport.answered
        self.peer.connection_made(self._transport)

    def reply_bytes(self) -> bytes:
        """What was answered since the last call."""
        written, self._transport.written = b"".join(self._transport.written), []
        return written


async def costs(store_root: Path | None) -> list[Cost]:
    """CPU of the loop thread per message; the flush thread is not counted."""
    found = []
    async with running_broker(store_root) as broker:
        for name, case, per_read in (
            ("send JSON, 32 per read", SEND_JSON, 32),
            ("send binary, 32 per read", SEND_BINARY, 32),
            ("send JSON, 1 per read", SEND_JSON, 1),
            ("batch of 32, 4 per read", BATCH, 4),
            ("pull of 32, 4 per read", PULL, 4),
        ):
            client = Client(broker)
            reads = cycle(_reads(case, per_read))
            units = per_read * case.messages
            per_message = [
                await _round(client, islice(reads, _READS_PER_ROUND), per_read) / (_READS_PER_ROUND * units) * 1e6
                for _ in range(_ROUNDS)
            ]
            found.append(Cost(f"broker: {name}", min(per_message), median(per_message), units))
    return found


async def _round(client: Client, reads: Iterable[bytes], replies: int) -> float:
    """CPU seconds of so many read events, each in a loop turn of its own; the answers are checked."""
    used = 0.0
    for data in reads:
        started = time.thread_time()
        client.peer.data_received(data)
        await asyncio.sleep(0)
        used += time.thread_time() - started
        answered = len(ReplyReader().opaques(client.reply_bytes()))
        if answered != replies:
            raise RuntimeError(f"{replies} requests got {answered} answers")
    return used


def _reads(case: Case, per_read: int) -> list[bytes]:
    if case.kind is Kind.PULL:
        frames = pull_frames(case, TOPIC, 0, _LOADED // _QUEUES)
    else:
        frames = send_frames(case, TOPIC, _QUEUES, 0)
    return [b"".join(frames[at : at + per_read]) for at in range(0, len(frames) - per_read + 1, per_read)]


@asynccontextmanager
async def running_broker(store_root: Path | None, **store: Any) -> AsyncIterator[Broker]:
    """Our broker in this process, ASYNC_FLUSH, without nameserver, with a filled topic."""
    directory = tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root)
    settings = {"flush_disk_type": FlushDiskType.ASYNC_FLUSH, **store}
    broker = Broker(
        BrokerConfig(broker_name="broker-a", listen_port=0, namesrv_addr=""),
        StoreConfig(root=directory, **settings),
    )
    try:
        await broker.start()
        running = asyncio.create_task(broker.run())
        await asyncio.sleep(_RUNS_SECONDS)
        try:
            await _fill(broker)
            yield broker
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await broker.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _fill(broker: Broker) -> None:
    client = Client(broker)
    header = CreateTopicHeader(topic=TOPIC, read_queue_nums=_QUEUES, write_queue_nums=_QUEUES, perm=6)
    client.peer.data_received(
        encode_command(RemotingCommand(RequestCode.UPDATE_AND_CREATE_TOPIC, ext_fields=to_ext(header)))
    )
    reader = ReplyReader()
    await client.answered.wait()
    reader.opaques(client.reply_bytes())
    frames = send_frames(BATCH, TOPIC, _QUEUES, 0)
    for index in range(_LOADED // BATCH.messages):
        client.peer.data_received(frames[index % len(frames)])
        await asyncio.sleep(0)
    reader.opaques(client.reply_bytes())
