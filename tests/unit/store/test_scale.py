"""Many queues: what costs little for one must not cost seconds for 10,000."""

from pathlib import Path

from rmq_server.store.config import FlushDiskType
from tests.unit.store.harness import Harness
from tests.unit.store.memory_files import MemoryFiles


def queue_files(store: Harness) -> dict[Path, tuple[bytes, bytes]]:
    """What is written and what is on disk."""
    assert isinstance(store.files, MemoryFiles)
    return {
        path: (bytes(node.data), node.durable)
        for path, node in store.files.nodes.items()
        if node.data is not None and "consumequeue" in path.parts
    }


def test_a_crash_start_reuses_the_file_of_a_queue_that_is_rebuilt() -> None:
    store = Harness().open()
    for number in range(3):
        store.put_flushed(b"%d" % number)
    assert isinstance(store.files, MemoryFiles)
    removed: list[Path] = []

    def notice(operation: str, path: Path) -> None:
        if operation == "remove" and "consumequeue" in path.parts:
            removed.append(path)

    disk = store.files.after_kill()
    disk.fault = notice
    again = Harness(disk).open()
    assert again.store.recovery is not None
    assert (again.store.recovery.crashed, removed) == (True, [])
    assert again.bodies() == [b"0", b"1", b"2"]


def test_many_queues_become_durable_a_few_at_a_time() -> None:
    store = Harness(flush=FlushDiskType.ASYNC_FLUSH, consumequeue_flush_least_pages=0).open()
    for queue_id in range(100):
        store.put(queue_id=queue_id)
    store.end_turn()
    store.store.tick()
    assert len(store.worker.jobs) < 10
    store.settle()
    assert len(queue_files(store)) == 100
    assert all(written == durable for written, durable in queue_files(store).values())


def test_a_stop_makes_every_queue_durable() -> None:
    store = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    for queue_id in range(20):
        store.put(queue_id=queue_id)
    store.store.close()
    assert all(written == durable for written, durable in queue_files(store).values())
