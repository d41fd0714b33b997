"""Real broker processes, killed or out of disk: what was acknowledged stays, what cannot be done is said."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rmq_client import AdminClient, BrokerError, Message, MessageQueue, Producer, ProducerConfig, PullConsumer
from rmq_client.errors import ClientError
from rmq_server.cli.server_process import ServerProcess

TOPIC = "Ledger"
QUEUES = 4
KILLS = 10
SENDERS = 16

Ledger = dict[tuple[int, int], bytes]


@pytest.fixture
async def namesrv(tmp_path: Path) -> AsyncIterator[str]:
    async with ServerProcess("mqnamesrv", tmp_path) as process:
        yield process.address("namesrv")


class Load:
    """Producers that write down what was acknowledged."""

    def __init__(self, namesrv: str) -> None:
        self._namesrv = namesrv
        self._next = 0
        self.acknowledged: Ledger = {}

    async def run_until(self, count: int, killed: asyncio.Event) -> None:
        """Send from several tasks; `killed` is awaited once `count` more messages were acknowledged."""
        target = len(self.acknowledged) + count
        reached = asyncio.Event()

        async def send(producer: Producer) -> None:
            while not killed.is_set():
                self._next += 1
                body = b"%d " % self._next + bytes(self._next % 3000)
                try:
                    sent = await producer.send(TOPIC, body)
                except ClientError:
                    if reached.is_set():
                        return  # the broker is being killed
                    raise
                key = sent.queue.queue_id, sent.offset
                assert key not in self.acknowledged, "two acknowledged messages have one place"
                self.acknowledged[key] = body
                if len(self.acknowledged) >= target:
                    reached.set()

        config = ProducerConfig(retries=0)
        async with Producer("ledger", namesrv=self._namesrv, config=config) as producer, asyncio.TaskGroup() as tasks:
            for _ in range(SENDERS):
                tasks.create_task(send(producer))
            await reached.wait()
            await self.kill()
            killed.set()

    async def kill(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("mode", ["SYNC_FLUSH", "ASYNC_FLUSH"])
async def test_kill_9_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path, namesrv: str, mode: str) -> None:
    config = tmp_path / "broker.conf"
    config.write_text(f"flushDiskType={mode}\nmappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=4000\n")
    arguments = ["-n", namesrv, "-c", str(config), "--store", str(tmp_path / "store")]
    load = Load(namesrv)
    for round_ in range(KILLS // 2):
        async with ServerProcess("mqbroker", tmp_path, *arguments) as broker:
            if not round_:
                arguments += ["--port", broker.address("broker").rpartition(":")[2]]
                async with AdminClient(namesrv=namesrv) as admin:
                    await admin.create_topic(TOPIC, queues=QUEUES)
            load.kill = broker.kill  # type: ignore[method-assign]
            await load.run_until(150, asyncio.Event())
    async with ServerProcess("mqbroker", tmp_path, *arguments):
        await check_ledger(namesrv, load.acknowledged)
        async with Producer("after", namesrv=namesrv) as producer:
            await producer.send(TOPIC, b"goes on")


async def check_ledger(namesrv: str, ledger: Ledger) -> None:
    """Every acknowledged message is at its place, and the queues have no holes."""
    async with PullConsumer("reader", namesrv=namesrv) as consumer:
        for queue in await consumer.queues(TOPIC):
            stored = await read_all(consumer, queue)
            assert sorted(stored) == list(range(len(stored)))
            expected = {offset: body for (queue_id, offset), body in ledger.items() if queue_id == queue.queue_id}
            assert {offset: stored.get(offset) for offset in expected} == expected


async def read_all(consumer: PullConsumer, queue: MessageQueue) -> dict[int, bytes]:
    """All messages of a queue by their offsets."""
    stored: dict[int, bytes] = {}
    offset, end = await consumer.min_offset(queue), await consumer.max_offset(queue)
    while offset < end:
        result = await consumer.pull(queue, offset)
        stored.update({message.queue_offset: message.body for message in result.messages})
        assert result.next_offset > offset
        offset = result.next_offset
    return stored


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(mount_point)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here: that takes root")
    yield mount_point
    subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


async def fill(producer: Producer, queue: MessageQueue, acknowledged: list[bytes]) -> BrokerError:
    """Send until the broker refuses."""
    while True:
        body = b"%d " % len(acknowledged) + bytes(60_000)
        try:
            await producer.send(Message(TOPIC, body), queue=queue)
        except BrokerError as error:
            return error
        acknowledged.append(body)


async def test_a_full_disk_is_an_error_and_ends_when_there_is_space(
    tmp_path: Path, namesrv: str, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 * 1024 * 1024))
    arguments = ("-n", namesrv, "--store", str(small_disk / "store"))
    async with ServerProcess("mqbroker", tmp_path, *arguments) as broker:
        async with AdminClient(namesrv=namesrv) as admin:
            await admin.create_topic(TOPIC, queues=1)
        async with Producer("filler", namesrv=namesrv, config=ProducerConfig(retries=0)) as producer:
            (queue,) = await producer.queues(TOPIC)
            acknowledged: list[bytes] = []
            refusal = await fill(producer, queue, acknowledged)
            assert refusal.code == 14
            assert "No space left" in str(refusal)
            assert len(acknowledged) > 100
            for _ in range(20):
                with pytest.raises(BrokerError):
                    await producer.send(Message(TOPIC, bytes(60_000)), queue=queue)
            async with PullConsumer("reader", namesrv=namesrv) as consumer:
                assert list((await read_all(consumer, queue)).values()) == acknowledged
            ballast.unlink()
            acknowledged.append(b"again " + bytes(60_000))
            await producer.send(Message(TOPIC, acknowledged[-1]), queue=queue)
            async with PullConsumer("reader", namesrv=namesrv) as consumer:
                assert list((await read_all(consumer, queue)).values()) == acknowledged
        assert "Traceback" not in broker.said
