"""Real broker processes, killed or out of disk: what was acknowledged stays, what cannot be done is said."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rmq_client import AdminClient, BrokerError, Message, MessageQueue, Producer, ProducerConfig, PullConsumer
from rmq_server.cli.server_process import ServerProcess
from tests.support.ledger import Load, check_ledger, read_all

TOPIC = "Ledger"
QUEUES = 4
KILLS = 10
LONGEST_LOAD_S = 0.4
CHECK_EVERY = 10


@pytest.fixture
async def namesrv(tmp_path: Path) -> AsyncIterator[str]:
    async with ServerProcess("mqnamesrv", tmp_path) as process:
        yield process.address("namesrv")


@pytest.mark.parametrize("mode", ["SYNC_FLUSH", "ASYNC_FLUSH"])
async def test_kill_9_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path, namesrv: str, mode: str) -> None:
    """`make chaos` asks for more: CHAOS_KILLS in both modes together; CHAOS_SEED gives the same moments again."""
    kills = int(os.environ.get("CHAOS_KILLS", KILLS)) // 2
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    print(f"{mode}: {kills} kills, CHAOS_SEED={seed}")
    moments = random.Random(f"{seed} {mode}")
    config = tmp_path / "broker.conf"
    config.write_text(f"flushDiskType={mode}\nmappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=4000\n")
    arguments = ["-n", namesrv, "-c", str(config), "--store", str(tmp_path / "store")]
    load = Load(namesrv, TOPIC)
    for kill in range(kills):
        async with ServerProcess("mqbroker", tmp_path, *arguments) as broker:
            if not kill:
                arguments += ["--port", broker.address("broker").rpartition(":")[2]]
                async with AdminClient(namesrv=namesrv) as admin:
                    await admin.create_topic(TOPIC, queues=QUEUES)
            elif kill % CHECK_EVERY == 0:
                await check_ledger(namesrv, TOPIC, load.acknowledged)
            await load.run(broker.kill, seconds=moments.uniform(0, LONGEST_LOAD_S))
    async with ServerProcess("mqbroker", tmp_path, *arguments):
        stored = await check_ledger(namesrv, TOPIC, load.acknowledged)
        print(f"{mode}: {len(load.acknowledged)} acknowledged, none missing; {stored} stored")
        async with Producer("after", namesrv=namesrv) as producer:
            await producer.send(TOPIC, b"goes on")


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
