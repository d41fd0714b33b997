"""Disks that fill up, fail, or forget: what the property test would meet only by luck."""

from pathlib import Path
from random import Random

import pytest

from protocol.record import pack
from rmq_server.store.config import FlushDiskType
from rmq_server.store.errors import NoSpace, StoreReadOnly
from rmq_server.store.flush import FlushResult
from tests.unit.store.harness import Harness, record
from tests.unit.store.memory_files import Crashed, MemoryFiles

LOG = Path("/store/commitlog/00000000000000000000")
QUEUE = Path("/store/consumequeue/T/0/00000000000000000000")
CHECKPOINT = Path("/store/checkpoint")
ABORT = Path("/store/abort")
BOTH = pytest.mark.parametrize("flush", FlushDiskType)


def memory(life: Harness) -> MemoryFiles:
    assert isinstance(life.files, MemoryFiles)
    return life.files


def used(files: MemoryFiles) -> int:
    return sum(len(node.blocks) for node in files.nodes.values()) * 64


def fill(life: Harness) -> int:
    """Put until the disk is full; says how many."""
    for put in range(1000):
        try:
            life.put(bytes(100))
        except NoSpace as error:
            assert "no space left on device" in str(error)  # noqa: PT017 - the loop needs it caught
            return put
    raise AssertionError("the disk never filled up")


@BOTH
def test_a_full_disk_refuses_puts_serves_reads_and_recovers_by_itself(flush: FlushDiskType) -> None:
    life = Harness(flush=flush).open()
    assert life.put_flushed(b"first") == [FlushResult.OK]
    memory(life).capacity = used(memory(life))
    put = fill(life)
    life.settle()
    assert life.bodies()[:1] == [b"first"]
    with pytest.raises(NoSpace):
        life.put(bytes(100))
    memory(life).capacity = None
    assert life.put(b"again").queue_offset == put + 1
    life.settle()
    assert life.bodies() == [b"first", *[bytes(100)] * put, b"again"]
    life.store.close()
    assert not memory(life).exists(ABORT)


def test_queue_entries_without_space_are_kept_and_written_later() -> None:
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    life.put(b"a")  # the log has its window, the queue has nothing yet
    memory(life).capacity = used(memory(life))
    life.end_turn()
    assert life.arrivals == []
    assert life.bodies() == []
    with pytest.raises(NoSpace, match="consumequeue"):
        life.put(b"b")
    memory(life).capacity = None
    life.store.tick()
    assert life.bodies() == [b"a"]
    assert [arrival.max_offset for arrival in life.arrivals] == [1]
    assert life.put(b"b").queue_offset == 1


def test_stopping_on_a_full_disk_keeps_abort_and_loses_nothing() -> None:
    life = Harness().open()
    life.put(b"a")
    memory(life).capacity = used(memory(life))
    with pytest.raises(NoSpace):
        life.store.close()
    assert memory(life).exists(ABORT)
    memory(life).capacity = None
    again = Harness(life.files).open()
    assert again.bodies() == [b"a"]


def test_a_checkpoint_without_space_is_tried_again() -> None:
    life = Harness().open()
    life.put_flushed()
    memory(life).capacity = used(memory(life))
    life.store.tick()
    life.settle()
    assert life.store.failure is None
    memory(life).capacity = None
    life.clock.advance(1)
    life.store.tick()
    life.settle()
    assert memory(life).exists(CHECKPOINT)


@pytest.mark.parametrize("path", [LOG, QUEUE, CHECKPOINT])
def test_whatever_cannot_be_synced_ends_writing_and_keeps_abort(path: Path) -> None:
    life = Harness().open()

    def fault(operation: str, where: Path) -> None:
        if operation == "sync" and where == path:
            raise OSError(5, "Input/output error")

    memory(life).fault = fault
    life.put_flushed(b"x")
    life.store.tick()
    life.settle()
    with pytest.raises(StoreReadOnly, match=f"{path}: Input/output error"):
        life.put()
    life.store.close()
    assert memory(life).exists(ABORT)


def test_a_write_that_fails_is_taken_back() -> None:
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    life.put(b"a")
    life.end_turn()
    end = life.store.max_physical_offset

    def fault(operation: str, where: Path) -> None:
        if operation == "pwrite":
            raise OSError(5, "Input/output error")

    memory(life).fault = fault
    with pytest.raises(Exception, match="Input/output error"):
        life.put(b"torn" * 50)
    assert life.store.max_physical_offset == end
    memory(life).fault = lambda operation, path: None
    assert Harness(memory(life).after_kill()).open().bodies() == [b"a"]


def test_a_record_that_outlived_its_predecessor_does_not_come_back() -> None:
    """B and C were written, C reached the disk and B did not; a new record of B's size must not revive C."""
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    first = life.put(b"A")
    second = life.put(b"B")
    life.put(b"C")
    life.end_turn()
    disk = memory(life).after_kill()
    data = disk.nodes[LOG].data
    assert data is not None
    data[first.end_offset : second.end_offset] = bytes(second.end_offset - first.end_offset)
    life = Harness(disk, flush=FlushDiskType.ASYNC_FLUSH).open()
    assert life.bodies() == [b"A"]
    life.put(b"D")
    again = Harness(memory(life).after_kill()).open()
    assert again.bodies() == [b"A", b"D"]


@pytest.mark.parametrize("tail", ["garbage", "half a record", "a record of another place", "a blank of another place"])
def test_what_follows_the_last_record_is_not_taken_for_one(tail: str) -> None:
    life = Harness().open()
    for _ in range(3):
        life.put_flushed(b"kept")
    end = life.store.max_physical_offset
    stale = pack(record(b"stale", queue_offset=3, physical_offset=end))
    bytes_after = {
        "garbage": b"\xde\xad\xbe\xef" * 100,
        "half a record": stale[: len(stale) // 2],
        "a record of another place": pack(record(b"stale", queue_offset=3, physical_offset=end + 1)),
        "a blank of another place": bytes.fromhex("000005a4cbd43194"),
    }[tail]
    disk = memory(life).after_kill()
    data = disk.nodes[LOG].data
    assert data is not None
    data[end : end + len(bytes_after)] = bytes_after
    again = Harness(disk).open()
    assert again.bodies() == [b"kept"] * 3
    assert again.store.max_physical_offset == end
    assert bytes(data[end:]).strip(b"\0") == b""


@pytest.mark.parametrize(
    ("length", "lost"),
    [(20, slice(-15, None)), (20, slice(-1, None)), (2000, slice(-600, None)), (2000, slice(-1200, -600))],
)
def test_a_record_whose_properties_were_lost_is_none(length: int, lost: slice) -> None:
    life = Harness().open()
    kept = life.put(b"kept")
    torn = life.put(b"torn", properties=b"TAGS\x01" + b"a" * length + b"\x02")
    life.end_turn()
    disk = memory(life).after_kill()
    data = disk.nodes[LOG].data
    assert data is not None
    record_bytes = bytearray(data[torn.physical_offset : torn.end_offset])
    record_bytes[lost] = bytes(len(record_bytes[lost]))
    data[torn.physical_offset : torn.end_offset] = record_bytes
    again = Harness(disk).open()
    assert again.bodies() == [b"kept"]
    assert again.store.max_physical_offset == kept.end_offset


def test_an_entry_that_was_torn_is_rebuilt() -> None:
    life = Harness().open()
    life.put_flushed(b"a")
    disk = memory(life).after_kill()
    data = disk.nodes[QUEUE].data
    assert data is not None
    data[12:20] = bytes(8)
    again = Harness(disk).open()
    assert again.store.get("T", 0, 0, 1, lambda code: code == 2598919).count == 1


def test_a_crash_start_reads_no_more_than_the_checkpoint_asks() -> None:
    life = Harness(consumequeue_flush_thorough_interval_ms=2000).open()
    for _ in range(40):
        life.put_flushed(bytes(1000))
        life.clock.advance(1)
        life.store.tick()
        life.settle()
    again = Harness(memory(life).after_kill()).open()
    assert again.store.recovery is not None
    assert again.store.max_offset("T", 0) == 40
    assert 0 < again.store.recovery.records <= 10
    assert again.bodies() == [bytes(1000)] * 40


def test_queues_that_are_gone_are_rebuilt_from_the_log() -> None:
    life = Harness().open()
    for number in range(30):
        life.put(str(number).encode(), queue_id=number % 3)
    life.store.close()
    disk = memory(life)
    for path in [path for path in disk.nodes if "consumequeue" in path.parts]:
        del disk.nodes[path]
    again = Harness(disk).open()
    for queue_id in range(3):
        assert again.bodies(queue_id=queue_id) == [str(number).encode() for number in range(queue_id, 30, 3)]


@pytest.mark.parametrize("seed", range(4))
def test_segments_that_recovery_drops_do_not_come_back_alone(seed: int) -> None:
    """The first record is lost, so everything is dropped; then the power goes again, at any moment of that."""
    for operation in range(1, 60):
        life = Harness().open()
        for _ in range(9):
            life.put_flushed(bytes(1000))
        files = memory(life).after_kill()
        first = files.nodes[LOG]
        assert first.data is not None
        first.data[:200] = bytes(200)
        first.durable = bytes(first.data)
        files.crash_after(operation)
        try:
            Harness(files).open()
        except Crashed:
            files = files.after_power_loss(Random(seed))
            again = Harness(files).open()
            assert (again.store.min_physical_offset, again.store.max_offset("T", 0)) == (0, 0)
        else:
            return
    raise AssertionError("a start has not so many operations")
