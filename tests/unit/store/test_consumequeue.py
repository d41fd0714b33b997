from pathlib import Path

import pytest

from protocol.flags import MessageSysFlag
from protocol.record import RecordFacts
from rmq_server.store.consumequeue import ConsumeQueue, ConsumeQueueStore
from rmq_server.store.dispatch import tag_of, tags_code_of_record
from rmq_server.store.errors import CorruptStore, UnsupportedStore
from rmq_server.store.layout import PRE_BLANK
from tests.unit.store.memory_files import MemoryFiles

ROOT = Path("/consumequeue")
SIZE = 100


def facts(queue_offset: int, *, physical: int | None = None, sys_flag: int = 0, queue_id: int = 0) -> RecordFacts:
    at = queue_offset * SIZE if physical is None else physical
    return RecordFacts(at, SIZE, "T", queue_id, queue_offset, sys_flag, 1, b"TAGS\x01TagA\x02")


def queues_on(files: MemoryFiles, limit: int | None = None) -> ConsumeQueueStore:
    files.make_dirs(ROOT)
    queues = ConsumeQueueStore(files, ROOT, file_bytes=200, tags_code_of=tags_code_of_record)
    queues.load(limit)
    return queues


def rebuilt(files: MemoryFiles, *offsets: int, physical_min: int = 0) -> ConsumeQueue:
    queues = queues_on(files)
    for offset in offsets:
        queues.replay(facts(offset))
    queues.settle(physical_min, 0)
    return queues.queues["T", 0]


def content(files: MemoryFiles, start: int = 0) -> bytes:
    data = files.nodes[ROOT / "T/0" / f"{start:020d}"].data
    assert data is not None
    return bytes(data)


def test_an_entry_is_java_s() -> None:
    files = MemoryFiles()
    queues = queues_on(files)
    queues.replay(RecordFacts(0, 142, "T", 0, 0, 0, 1, b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02"))
    queues.settle(0, 0)
    assert content(files)[:20].hex() == "00000000000000000000008e000000000027a807"


def test_entries_go_over_files() -> None:
    files = MemoryFiles()
    queue = rebuilt(files, *range(25))
    assert [entry.size for entry in files.list(ROOT / "T/0")] == [200] * 3
    assert queue.entry(13) == (1300, SIZE, 2598919)
    again = rebuilt(files)
    assert (again.min_offset, again.max_offset, again.physical_end) == (0, 25, 2500)


def test_a_queue_that_starts_late_begins_with_pre_blank_entries() -> None:
    files = MemoryFiles()
    queue = rebuilt(files, 13, 14)
    assert content(files, 200)[:60] == PRE_BLANK * 3
    assert (queue.min_offset, queue.max_offset) == (13, 15)
    assert queue.entry(12) is None
    again = rebuilt(files)
    assert (again.min_offset, again.max_offset) == (13, 15)


def test_a_gap_is_filled_so_that_no_index_shifts() -> None:
    files = MemoryFiles()
    queue = rebuilt(files, 0, 1, 4)
    assert content(files)[40:80] == PRE_BLANK * 2
    assert queue.entry(4) == (400, SIZE, 2598919)


def test_a_gap_that_no_broker_would_leave_is_an_error() -> None:
    with pytest.raises(CorruptStore, match="claims queue offset 2000000"):
        rebuilt(MemoryFiles(), 0, 2_000_000)


def test_what_a_queue_has_is_not_added_again() -> None:
    files = MemoryFiles()
    rebuilt(files, 0, 1, 2)
    queue = rebuilt(files, 1, 2, 3)
    assert queue.max_offset == 4


def test_a_topic_made_anew_starts_at_zero_again() -> None:
    files = MemoryFiles()
    queues = queues_on(files)
    for made in (facts(0), facts(1), facts(0, physical=900), facts(1, physical=1000)):
        queues.replay(made)
    queues.settle(0, 0)
    queue = queues.queues["T", 0]
    assert (queue.max_offset, queue.entry(0)) == (2, (900, SIZE, 2598919))


@pytest.mark.parametrize("kind", [MessageSysFlag.TRANSACTION_PREPARED, MessageSysFlag.TRANSACTION_ROLLBACK])
def test_undecided_transactions_have_no_entry(kind: int) -> None:
    queues = queues_on(MemoryFiles())
    queues.replay(facts(0, sys_flag=kind))
    assert queues.queues == {}
    queues.replay(facts(0, sys_flag=MessageSysFlag.TRANSACTION_COMMIT))
    assert list(queues.queues) == [("T", 0)]


def test_entries_beyond_a_limit_are_dropped_and_erased() -> None:
    files = MemoryFiles()
    rebuilt(files, *range(25))
    queue = queues_on(files, limit=1250).queues["T", 0]
    assert (queue.next_offset, queue.physical_end) == (13, 1300)
    assert [entry.name for entry in files.list(ROOT / "T/0")] == [f"{0:020d}", f"{200:020d}"]
    assert content(files, 200)[60:] == bytes(140)


def test_a_queue_without_entries_goes_on_wherever_the_log_says() -> None:
    files = MemoryFiles()
    rebuilt(files, *range(20, 25))
    queues = queues_on(files, limit=0)
    assert queues.queues["T", 0].next_offset == 20
    queues.replay(facts(17))
    queues.settle(0, 0)
    assert (queues.queues["T", 0].min_offset, queues.queues["T", 0].max_offset) == (17, 18)


def test_the_minimum_follows_the_log() -> None:
    files = MemoryFiles()
    rebuilt(files, *range(25))
    for physical_min, expected in ((0, 0), (1, 1), (100, 1), (1550, 16), (2400, 24), (2401, 25)):
        queue = rebuilt(files, physical_min=physical_min)
        assert (queue.min_offset, queue.max_offset) == (expected, 25)


def test_a_failed_write_can_be_repeated() -> None:
    files = MemoryFiles()
    queue = rebuilt(files, *range(8))
    for offset in range(8, 25):
        queue.push(offset * SIZE, SIZE, 0)
    broken = 2

    def fault(operation: str, path: Path) -> None:
        nonlocal broken
        if operation == "pwrite":
            broken -= 1
            if broken == 0:
                raise OSError(28, "full")

    files.fault = fault
    with pytest.raises(Exception, match="full"):
        queue.write(0)
    queue.write(0)
    assert rebuilt(files).max_offset == 25


def test_alien_names_stop_the_start() -> None:
    files = MemoryFiles()
    files.make_dirs(ROOT / "T/abc")
    with pytest.raises(UnsupportedStore, match="not a queue id"):
        queues_on(files)


@pytest.mark.parametrize(
    ("properties", "tag"),
    [
        (b"", None),
        (b"TAGS\x01a\x02", "a"),
        (b"TAGS\x01a", "a"),
        (b"X\x01y\x02TAGS\x01a\x02KEYS\x01k\x02", "a"),
        (b"TAGS\x01a\x02X\x01y\x02TAGS\x01b\x02", "b"),
        (b"TAGS\x01a\x02TAGS\x01\x02", "a"),
        (b"MYTAGS\x01a\x02", None),
        (b"X\x01TAGS\x02", None),
        ("TAGS\x01标签😀\x02".encode(), "标签😀"),
    ],
)
def test_the_tag_of_a_properties_text(properties: bytes, tag: str | None) -> None:
    assert tag_of(properties) == tag


def test_a_torn_last_entry_is_no_entry() -> None:
    files = MemoryFiles()
    rebuilt(files, 0, 1, 2)
    data = files.nodes[ROOT / "T/0" / f"{0:020d}"].data
    assert data is not None
    data[40:48] = bytes(8)  # the sector with the physical offset was lost, that with the size was not
    queues = ConsumeQueueStore(files, ROOT, file_bytes=200, tags_code_of=tags_code_of_record)
    queues.load(1000, lambda queue, physical, size: physical == SIZE)
    queues.settle(0, 0)
    assert queues.queues["T", 0].max_offset == 2
    assert content(files)[40:] == bytes(160)
