"""A real file system that is really full."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = """
import sys
from collections import deque
from rmq_server.core.clock import SystemClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.errors import NoSpace
from rmq_server.store.files import OsFiles
from rmq_server.store.message_store import MessageStore
from tests.unit.store.harness import ManualWorker, record

root, flush, deferred = sys.argv[1], FlushDiskType(sys.argv[2]), sys.argv[3] == "deferred"
turn, worker = deque(), ManualWorker()
store = MessageStore(
    StoreConfig(root=root + "/store", commitlog_file_bytes=1 << 20, reserve_bytes=256 << 10, flush_disk_type=flush),
    clock=SystemClock(), files=OsFiles(), schedule=turn.append, worker=worker, on_arrival=lambda arrivals: None,
)

def settle():
    while turn:
        turn.popleft()()
    worker.close()

store.open()
ballast = open(root + "/ballast", "wb")
ballast.write(bytes(2 << 20))
ballast.flush()
put = 0

def fill():
    global put
    try:
        while True:
            store.put(record(b"x" * 1000, queue_id=put % 7), put, deferred=deferred)
            put += 1
            if put % 5 == 0:
                settle()
    except NoSpace:
        settle()

fill()
full = put
assert 1000 < full, full
for _ in range(3):
    fill()
assert store.failure is None
seen = sum(store.get("T", queue_id, 0, 32).count for queue_id in range(7))
assert seen == 7 * 32, seen
ballast.truncate(0)
fill()
assert put > full + 1000, (full, put)
settle()
store.tick()
settle()
print(put, sum(store.max_offset("T", queue_id) for queue_id in range(7)))
"""


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(tmp_path)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("flush", ["SYNC_FLUSH", "ASYNC_FLUSH"])
@pytest.mark.parametrize("written", ["through", "deferred"])
def test_a_full_file_system_is_an_error_and_not_a_signal(tmpfs: Path, flush: str, written: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmpfs), flush, written],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    put, readable = map(int, done.stdout.split()[-2:])
    assert put - 5 <= readable <= put
