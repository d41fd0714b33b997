"""kill -9 in the middle of the work: nothing acknowledged is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from protocol.record import unpack_all
from rmq_server.core.clock import SystemClock
from rmq_server.store.config import StoreConfig
from rmq_server.store.files import OsFiles
from rmq_server.store.flush import FlushThread
from rmq_server.store.message_store import MessageStore

CONFIG = {"commitlog_file_bytes": 1 << 18, "consumequeue_file_bytes": 2000, "reserve_bytes": 1 << 16}

SCRIPT = """
import asyncio, os, sys
from rmq_server.core.clock import SystemClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.files import OsFiles
from rmq_server.store.flush import FlushThread
from rmq_server.store.message_store import MessageStore
from tests.unit.store.harness import record

async def main():
    loop = asyncio.get_running_loop()
    flush = FlushDiskType(sys.argv[2])
    store = MessageStore(
        StoreConfig(root=sys.argv[1], flush_disk_type=flush, **eval(sys.argv[3])),
        clock=SystemClock(), files=OsFiles(), schedule=loop.call_soon,
        worker=FlushThread(loop.call_soon_threadsafe), on_arrival=lambda arrivals: None,
    )
    store.open()
    running = asyncio.create_task(store.run())
    number = store.max_offset("T", 0)
    while True:
        for _ in range(8):
            put = store.put(record(b"%d:" % number + bytes(number % 900)), 0, deferred=flush == "SYNC_FLUSH")
            if flush == "SYNC_FLUSH":
                acknowledge = lambda _, number=number: os.write(1, b"%d\\n" % number)
                store.when_durable(put.end_offset, acknowledge)
            else:
                os.write(1, b"%d\\n" % number)
            number += 1
        await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.mark.parametrize("flush", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_nothing_acknowledged_is_lost(tmp_path: Path, flush: str) -> None:
    random = Random(7)
    acknowledged = -1
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), flush, repr(CONFIG)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        until = acknowledged + random.randrange(200, 800)
        while acknowledged < until:
            line = process.stdout.readline()
            assert line, "the writer ended by itself"
            acknowledged = int(line)
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        whole = rest[: rest.rfind(b"\n") + 1].split()
        acknowledged = int(whole[-1]) if whole else acknowledged
        assert count_in(tmp_path) > acknowledged


def count_in(root: Path) -> int:
    """Open what is left, check every message, and stop cleanly."""
    store = MessageStore(
        StoreConfig(root=str(root), **CONFIG),
        clock=SystemClock(),
        files=OsFiles(),
        schedule=lambda callback: None,
        worker=FlushThread(lambda callback: None),
        on_arrival=lambda arrivals: None,
    )
    store.open()
    assert store.recovery is not None
    assert store.recovery.crashed
    count = 0
    while (result := store.get("T", 0, count, 32)).views:
        for record in unpack_all(b"".join(result.views)):
            assert record.body.startswith(b"%d:" % count)
            count += 1
    assert count == store.max_offset("T", 0)
    store.close()
    return count
