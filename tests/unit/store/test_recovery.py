"""Where a start after a crash begins to read, and what makes it distrust the mark that says so."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.names import SCHEDULE_TOPIC
from rmq_server.store.background import BackgroundSync
from rmq_server.store.checkpoint import ReplayMark, load_checkpoint, load_mark, save_checkpoint
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.config import StoreConfig
from rmq_server.store.consumequeue import ConsumeQueueStore
from rmq_server.store.delay import DelayLevels
from rmq_server.store.errors import CorruptStore
from rmq_server.store.recovery import Recovery
from rmq_server.store.replay import Replay, Replayed
from tests.unit.store.harness import BORN_HOST, Harness, ManualWorker, record
from tests.unit.store.memory_files import Crashed, MemoryFiles

CHECKPOINT = Path("/store/checkpoint")
LOG = Path(f"/store/commitlog/{0:020d}")
ONE_SEGMENT = 1 << 16


def running(durable: int, more: int) -> tuple[MemoryFiles, int]:
    """The disk of a broker that was killed, and where the messages end that were durable, queues and checkpoint too."""
    life = Harness(commitlog_file_bytes=ONE_SEGMENT).open()
    for number in range(durable):
        end = life.put(b"%d" % number, queue_id=number % 3).end_offset
    life.settle()
    life.store.tick()  # makes the queues durable
    life.settle()
    life.clock.advance(2)
    life.store.tick()  # says so in the checkpoint
    life.settle()
    for number in range(durable, durable + more):
        life.put_flushed(b"%d" % number, queue_id=number % 3)
    assert isinstance(life.files, MemoryFiles)
    return life.files.after_kill(), end


def restarted(files: MemoryFiles, messages: int) -> Recovery:
    life = Harness(files, commitlog_file_bytes=ONE_SEGMENT).open()
    for queue_id in range(3):
        assert life.bodies(queue_id=queue_id) == [b"%d" % number for number in range(queue_id, messages, 3)]
    assert life.store.recovery is not None
    return life.store.recovery


def content(files: MemoryFiles, path: Path) -> bytearray:
    data = files.nodes[path].data
    assert data is not None
    return data


def test_a_crash_start_begins_at_the_mark_in_the_middle_of_a_segment() -> None:
    files, end = running(60, 7)
    found = restarted(files, 67)
    assert (found.crashed, found.scanned_from, found.records) == (True, end, 7)


def a_java_broker_wrote(files: MemoryFiles) -> None:
    marks = load_checkpoint(files, CHECKPOINT)
    marks.logics_timestamp_ms += 1
    content(files, CHECKPOINT)[:40] = marks.encode()


def the_checkpoint_is_new(files: MemoryFiles) -> None:
    content(files, CHECKPOINT)[:] = bytes(4096)


def the_checkpoint_is_gone(files: MemoryFiles) -> None:
    files.remove(CHECKPOINT)


def the_checkpoint_is_cut_off(files: MemoryFiles) -> None:
    del content(files, CHECKPOINT)[265:]


def the_mark_is_torn(files: MemoryFiles) -> None:
    content(files, CHECKPOINT)[264] ^= 1


def the_log_is_another(files: MemoryFiles) -> None:
    mark = load_mark(files, CHECKPOINT)
    assert mark is not None
    save_checkpoint(
        files, CHECKPOINT, load_checkpoint(files, CHECKPOINT).encode(), ReplayMark(mark.position, mark.tail_crc ^ 1)
    )


def the_mark_is_beyond_the_log(files: MemoryFiles) -> None:
    save_checkpoint(files, CHECKPOINT, load_checkpoint(files, CHECKPOINT).encode(), ReplayMark(1 << 40, 0))


@pytest.mark.parametrize(
    "happened",
    [
        a_java_broker_wrote,
        the_checkpoint_is_new,
        the_checkpoint_is_gone,
        the_checkpoint_is_cut_off,
        the_mark_is_torn,
        the_log_is_another,
        the_mark_is_beyond_the_log,
    ],
)
def test_a_mark_that_may_be_stale_costs_time_only(happened: Callable[[MemoryFiles], None]) -> None:
    files, _ = running(60, 7)
    happened(files)
    found = restarted(files, 67)
    assert (found.crashed, found.scanned_from, found.records) == (True, 0, 67)


def test_what_is_damaged_before_the_mark_ends_nothing() -> None:
    files, end = running(60, 7)
    log = content(files, LOG)
    log[log.index(b"30", end // 2 - 100)] ^= 1  # a body
    life = Harness(files, commitlog_file_bytes=ONE_SEGMENT).open()
    assert life.store.recovery is not None
    assert (life.store.recovery.scanned_from, life.store.recovery.records) == (end, 7)
    assert [life.store.max_offset("T", queue_id) for queue_id in range(3)] == [23, 22, 22]


def test_a_torn_entry_that_seems_to_point_before_the_mark_is_rebuilt() -> None:
    files, end = running(60, 3)
    entries = content(files, Path(f"/store/consumequeue/T/0/{400:020d}"))
    entries[0:8] = (end - 1).to_bytes(8, "big")
    found = restarted(files, 63)
    assert (found.scanned_from, found.records) == (end, 3)


def test_after_a_clean_stop_the_mark_is_the_end() -> None:
    life = Harness(commitlog_file_bytes=ONE_SEGMENT).open()
    end = life.put().end_offset
    life.store.close()
    mark = load_mark(life.files, CHECKPOINT)
    assert mark is not None
    assert mark.position == end


@pytest.mark.parametrize("seed", range(3))
def test_a_power_loss_at_any_moment_takes_nothing_acknowledged(seed: int) -> None:
    """Also not a second one, at any moment of the start: then from the mark on which the first start relied."""
    for operation in range(1, 90, 2):
        life = Harness(commitlog_file_bytes=2048, consumequeue_flush_thorough_interval_ms=2000).open()
        files = life.files
        assert isinstance(files, MemoryFiles)
        files.crash_after(operation * 5)
        acknowledged = -1
        try:
            for number in range(60):
                life.put_flushed(b"%d" % number)
                acknowledged = number
                life.clock.advance(1)
                life.store.tick()
                life.settle()
        except Crashed:
            pass
        files = files.after_power_loss(Random(seed))
        files.crash_after(operation)
        with suppress(Crashed):
            Harness(files, commitlog_file_bytes=2048).open()
        again = Harness(files.after_power_loss(Random(seed + 1)), commitlog_file_bytes=2048).open()
        found = again.bodies()
        assert found == [b"%d" % number for number in range(len(found))]
        assert len(found) > acknowledged


def test_the_position_is_not_ahead_of_anything_that_is_not_durable() -> None:
    """Log, entries that are not written, entries that are not synced, entries whose sync runs."""
    queues = ConsumeQueueStore(MemoryFiles(), Path("/cq"), file_bytes=200, tags_code_of=lambda facts: 0)
    worker = ManualWorker()
    saved: list[int] = []
    background = BackgroundSync(
        StoreConfig(consumequeue_flush_least_pages=0),
        queues,
        worker,
        save_job=lambda encoded, position: lambda: saved.append(position),
        on_failed=lambda error: None,
    )
    queue = queues.create("T", 0)

    def position_at(now: float, flushed: int) -> int:
        background.tick(now, 1, flushed)
        while worker.step():
            pass
        return saved[-1]

    background.dispatched_end = 500
    assert position_at(10, 400) == 400
    assert position_at(20, 600) == 500
    background.dispatched_end = 600
    queue.push(500, 100, 0)
    queue.write(1, 500)
    assert position_at(30, 600) == 500  # its sync ran when the checkpoint was made
    assert position_at(40, 600) == 600
    queues.settle(0, 0, 600)
    queue.push(600, 100, 0)
    queue.write(0)
    queues.settle(0, 7, 600)
    background.dispatched_end = 700
    assert position_at(50, 700) == 600


def plainly(log: CommitLog, queues: ConsumeQueueStore, start: int, torn_after_ms: int) -> Replayed:
    """What Replay does, said simply."""
    records, timestamp_ms = 0, 0
    scan = log.scan(start)
    for facts in scan:
        tail = facts.properties or facts.topic.encode()
        torn = tail.endswith(b"\0") or (len(tail) >= 512 and bytes(512) in tail)
        if torn and facts.store_timestamp_ms > torn_after_ms:
            return Replayed(records, timestamp_ms, facts.physical_offset)
        queues.replay(facts)
        records, timestamp_ms = records + 1, facts.store_timestamp_ms
    return Replayed(records, timestamp_ms, scan.end)


PROPERTIES = [
    b"",
    b"TAGS\1TagA\2",
    b"TAGS\1\xe4\xb8\xad\2A\1b\2",
    b"TAGS\1\2",
    b"TAGS\1first\2TAGS\1second\2",
    b"TAGS\1first\2TAGS\1\2",
    b"XTAGS\1no\2",
    b"TAGS\1yes\2XTAGS\1no\2",
    b"A\1TAGS\1",
    b"TAGS\1open",
    b"DELAY\0013\2TAGS\1late\2",
    b"A\1b\0",
    b"A\1" + bytes(600) + b"\2",
    b"A\1" + b"b" * 600 + b"\2TAGS\1TagB\2",
]


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda queue, step, **fields: (queue, step, fields),
            st.sampled_from([*[("T", 0)] * 4, ("T", 1), *[(SCHEDULE_TOPIC, 2)] * 3, ("long" * 40, 0), ("\u4e2d", 0)]),
            st.sampled_from([1] * 12 + [0, 2, -1]),
            body=st.sampled_from([b"", b"x", bytes(100), b"y" * 300, b"z" * 20_000]),
            properties=st.sampled_from(PROPERTIES),
            sys_flag=st.sampled_from([0] * 8 + [4, 8, 12]),
            born_host=st.sampled_from([BORN_HOST] * 5 + [bytes(20)]),
            store_timestamp_ms=st.integers(1, 10),
        ),
        min_size=20,
        max_size=60,
    ),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 120), st.integers(1, 255)), max_size=1),
    st.integers(0, 10),
)
def test_replay_finds_what_a_plain_loop_finds(
    puts: list[tuple[tuple[str, int], int, dict[str, Any]]], flips: list[tuple[int, int, int]], torn_after_ms: int
) -> None:
    files, places = MemoryFiles(), dict.fromkeys([put[0] for put in puts], -1)
    directory = Path("/log")
    files.make_dirs(directory)
    log = CommitLog(files, directory, segment_bytes=1 << 17, reserve_bytes=1024)
    log.begin()
    starts: list[int] = []
    for queue, step, fields in puts:
        places[queue] = max(0, places[queue] + step)
        made = record(topic=queue[0], queue_id=queue[1], queue_offset=places[queue], **fields)
        log.append(made)
        starts.append(made.physical_offset)
    log.write_out()
    for number, at, bits in flips:
        start = starts[number % len(starts)] + at
        segment = log.segments.find(start)
        assert segment is not None
        segment.write(bytes([segment.read(1, start)[0] ^ bits]), start)
    results = []
    for replay in (plainly, lambda *args: Replay(*args[:2], torn_after_ms=args[3]).run(args[2])):
        root = Path("/cq")
        disk = files.after_kill()
        disk.make_dirs(root)
        queues = ConsumeQueueStore(disk, root, file_bytes=2000, tags_code_of=DelayLevels().tags_code_of)
        found: Replayed | None = None
        with suppress(CorruptStore):  # a flip made a queue offset absurd: both must say so
            found = replay(log, queues, 0, torn_after_ms)
            assert replay(log, queues, 0, torn_after_ms) == found  # and adds nothing
        ends = {key: (queue.next_offset, queue.physical_end) for key, queue in queues.queues.items()}
        queues.settle(0, 0)
        entries = {path: bytes(node.data or b"") for path, node in disk.nodes.items() if root in path.parents}
        results.append((found, ends, entries))
    assert results[0] == results[1]
