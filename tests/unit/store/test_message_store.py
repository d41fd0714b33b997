import asyncio
from pathlib import Path

import pytest

from protocol.flags import MessageSysFlag
from protocol.record import unpack
from rmq_server.store.config import FlushDiskType
from rmq_server.store.errors import MessageTooLarge, StoreClosed, StoreInUse, StoreReadOnly
from rmq_server.store.flush import FlushResult
from rmq_server.store.message_store import Arrival
from rmq_server.store.reader import GetStatus
from tests.unit.store.harness import Harness, record
from tests.unit.store.memory_files import MemoryFiles

ABORT = Path("/store/abort")
BOTH = pytest.mark.parametrize("flush", FlushDiskType)


def test_put_says_where_the_message_is() -> None:
    life = Harness().open()
    first, second = life.put(b"a"), life.put(b"bc")
    assert (first.queue_offset, first.physical_offset) == (0, 0)
    assert (second.queue_offset, second.physical_offset) == (1, first.end_offset)
    assert life.put(b"d", queue_id=3).queue_offset == 0
    made = record(b"x")
    life.clock.advance(5)
    put = life.store.put(made, 0)
    assert (made.queue_offset, made.physical_offset) == (put.queue_offset, put.physical_offset)
    assert made.store_timestamp_ms == life.clock.now_ms()


def test_async_flush_shows_a_message_once_the_turn_wrote_it() -> None:
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    life.put(b"a")
    life.put(b"b")
    life.put(b"c", queue_id=1)
    assert life.store.max_offset("T", 0) == 0
    assert life.arrivals == []
    life.end_turn()
    code = 2598919  # hash of TagA
    assert life.arrivals == [Arrival("T", 0, 2, [code, code]), Arrival("T", 1, 1, [code])]
    assert life.bodies() == [b"a", b"b"]
    assert life.bodies(queue_id=1) == [b"c"]


def test_sync_flush_shows_a_message_once_it_is_on_disk() -> None:
    life = Harness().open()
    answers: list[FlushResult] = []
    life.store.when_durable(life.put(b"a").end_offset, answers.append)
    life.end_turn()
    assert (life.store.max_offset("T", 0), life.arrivals, answers) == (0, [], [])
    assert life.store.get("T", 0, 0, 32).status is GetStatus.NO_MESSAGE_IN_QUEUE
    life.worker.step()
    assert (life.store.max_offset("T", 0), answers) == (1, [FlushResult.OK])
    assert life.arrivals == [Arrival("T", 0, 1, [2598919])]


def test_a_producer_hears_of_success_after_readers_can_see_it() -> None:
    life = Harness().open()
    seen: list[int] = []
    life.store.when_durable(life.put().end_offset, lambda _: seen.append(life.store.max_offset("T", 0)))
    life.settle()
    assert seen == [1]


def test_one_flush_covers_the_turns_that_gathered_behind_the_last() -> None:
    life = Harness().open()
    answers: list[str] = []
    for name in "abc":
        life.store.when_durable(life.put(name.encode()).end_offset, lambda _, name=name: answers.append(name))
        life.end_turn()
    assert len(life.worker.jobs) == 1
    life.worker.step()
    assert answers == ["a"]
    life.worker.step()
    assert answers == ["a", "b", "c"]
    assert not life.worker.jobs


def test_waiters_time_out_in_order_and_the_message_stays() -> None:
    life = Harness(sync_flush_timeout_ms=5000).open()
    answers: list[FlushResult] = []
    life.store.when_durable(life.put().end_offset, answers.append)
    life.clock.advance(4.9)
    life.store.tick()
    assert answers == []
    life.clock.advance(0.1)
    life.store.tick()
    assert answers == [FlushResult.TIMEOUT]
    life.settle()
    assert answers == [FlushResult.TIMEOUT]
    assert life.bodies() == [b"hello"]


def test_a_waiter_that_raises_does_not_cost_the_others_their_answer() -> None:
    life = Harness().open()
    answers: list[FlushResult] = []

    def broken(_: FlushResult) -> None:
        raise ZeroDivisionError

    life.store.when_durable(life.put().end_offset, broken)
    life.store.when_durable(life.put().end_offset, answers.append)
    with pytest.raises(ZeroDivisionError):
        life.settle()
    assert answers == [FlushResult.OK]


def test_async_flush_reaches_the_disk_within_the_interval() -> None:
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH, flush_interval_ms=500).open()
    life.store.tick()
    end = life.put().end_offset
    life.end_turn()
    life.clock.advance(0.4)
    life.store.tick()
    life.settle()
    assert life.store.flushed_offset == 0
    life.clock.advance(0.1)
    life.store.tick()
    life.settle()
    assert life.store.flushed_offset == end


def test_when_durable_works_with_async_flush_too() -> None:
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    assert life.put_flushed() == [FlushResult.OK]


def test_a_batch_has_consecutive_offsets_and_one_store_time() -> None:
    life = Harness().open()
    life.put()
    records = [record(body) for body in (b"a", b"b", b"c")]
    put = life.store.put_batch(records, [1, 2, 3])
    life.settle()
    assert [each.queue_offset for each in records] == [1, 2, 3]
    assert (put.queue_offset, put.physical_offset) == (1, records[0].physical_offset)
    assert life.bodies() == [b"hello", b"a", b"b", b"c"]
    assert life.arrivals[-1].tags_codes == [2598919, 1, 2, 3]
    assert put.end_offset == life.store.max_physical_offset


def test_a_batch_never_spans_segments() -> None:
    life = Harness().open()
    life.put(bytes(3000))
    records = [record(bytes(500)) for _ in range(2)]
    life.store.put_batch(records, [0, 0])
    life.settle()
    assert records[0].physical_offset == 4096
    assert life.store.max_offset("T", 0) == 3


def test_a_batch_is_of_one_queue() -> None:
    life = Harness().open()
    with pytest.raises(ValueError, match="one queue, not of 2"):
        life.store.put_batch([record(), record(queue_id=1)], [0, 0])
    with pytest.raises(ValueError, match="not of 0"):
        life.store.put_batch([], [])


@pytest.mark.parametrize("size", [4000, 5001])
def test_what_is_too_large_is_refused_and_changes_nothing(size: int) -> None:
    life = Harness(max_message_bytes=5000).open()
    life.put(b"a")
    end = life.store.max_physical_offset
    with pytest.raises(MessageTooLarge):
        life.put(bytes(size))
    with pytest.raises(MessageTooLarge):
        life.store.put_batch([record(bytes(size // 2 + 1)), record(bytes(size // 2 + 1))], [0, 0])
    assert life.store.max_physical_offset == end
    assert life.put(b"b").queue_offset == 1


@pytest.mark.parametrize("kind", [MessageSysFlag.TRANSACTION_PREPARED, MessageSysFlag.TRANSACTION_ROLLBACK])
def test_prepared_and_rolled_back_records_are_in_no_queue(kind: int) -> None:
    life = Harness().open()
    put = life.put(b"half", sys_flag=kind, queue_offset=7)
    life.settle()
    assert (put.queue_offset, life.store.max_offset("T", 0)) == (0, 0)
    assert life.store.flushed_offset == put.end_offset
    assert life.put(b"next").queue_offset == 0
    committed = life.put(b"done", sys_flag=MessageSysFlag.TRANSACTION_COMMIT)
    assert committed.queue_offset == 1


@BOTH
def test_a_clean_stop_is_seen_by_the_next_start(flush: FlushDiskType) -> None:
    life = Harness(flush=flush).open()
    assert life.files.exists(ABORT)
    bodies = [bytes([65 + number]) * 700 for number in range(20)]
    for body in bodies:
        life.put(body)
    answers: list[FlushResult] = []
    life.store.when_durable(life.store.max_physical_offset, answers.append)
    life.store.close()
    assert answers == [FlushResult.OK]
    assert not life.files.exists(ABORT)
    again = Harness(life.files, flush=flush).open()
    assert again.store.recovery is not None
    assert (again.store.recovery.crashed, again.store.recovery.records) == (False, 1)
    assert again.bodies() == bodies
    assert again.put().queue_offset == 20


def test_an_empty_store_can_be_stopped_and_started() -> None:
    life = Harness().open()
    life.store.close()
    assert life.files.list(Path("/store/commitlog")) == []
    assert Harness(life.files).open().put().physical_offset == 0


def test_a_closed_store_refuses_puts_and_fails_late_waiters() -> None:
    life = Harness()
    with pytest.raises(StoreClosed):
        life.put()
    life.open().store.close()
    with pytest.raises(StoreClosed):
        life.put()
    answers: list[FlushResult] = []
    life.store.when_durable(0, answers.append)
    assert answers == [FlushResult.FAILED]
    life.store.close()


def test_two_stores_cannot_share_a_directory() -> None:
    life = Harness().open()
    with pytest.raises(StoreInUse):
        Harness(life.files).open()
    life.put()
    life.store.close()
    Harness(life.files).open()


def test_views_outlive_the_store() -> None:
    life = Harness().open()
    life.put_flushed(b"kept")
    result = life.store.get("T", 0, 0, 1)
    life.store.close()
    assert unpack(result.views[0]).body == b"kept"


def test_a_record_is_found_by_its_physical_offset_once_it_is_readable() -> None:
    life = Harness().open()
    life.put(b"a")
    put = life.put(b"b")
    assert life.store.record_at(put.physical_offset) is None
    life.settle()
    view = life.store.record_at(put.physical_offset)
    assert view is not None
    assert unpack(view).body == b"b"
    for wrong in (-1, 1, put.physical_offset + 1, put.end_offset, 10**12):
        assert life.store.record_at(wrong) is None


def test_deferred_puts_are_written_by_the_turn_or_on_demand() -> None:
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
    assert isinstance(life.files, MemoryFiles)
    first = life.put(b"a", deferred=True)
    assert life.store.readable_offset == 0
    life.store.write_out()
    assert life.store.readable_offset == first.end_offset
    second = life.put(b"b", deferred=True)
    life.end_turn()
    assert life.store.readable_offset == second.end_offset
    life.put(b"c", deferred=True)
    assert Harness(life.files.after_kill()).open().bodies() == [b"a", b"b"]


def test_a_failed_sync_makes_the_store_read_only() -> None:
    life = Harness().open()
    assert isinstance(life.files, MemoryFiles)
    life.put_flushed(b"good")

    def fault(operation: str, path: Path) -> None:
        if operation == "sync":
            raise OSError(5, "Input/output error")

    life.files.fault = fault
    assert life.put_flushed(b"lost") == [FlushResult.FAILED]
    with pytest.raises(StoreReadOnly, match="Input/output error"):
        life.put()
    life.files.fault = lambda operation, path: None
    with pytest.raises(StoreReadOnly):
        life.put()
    assert life.bodies() == [b"good"]
    assert isinstance(life.store.failure, StoreReadOnly)
    assert life.store.failure.path == Path("/store/commitlog/00000000000000000000")
    life.store.close()
    assert life.files.exists(ABORT)


def test_what_run_does_and_that_it_ends() -> None:
    async def scenario() -> None:
        life = Harness(flush=FlushDiskType.ASYNC_FLUSH).open()
        life.put()
        running = asyncio.create_task(life.store.run())
        while life.store.flushed_offset == 0:
            await asyncio.sleep(0)
            life.clock.advance(0.01)
            life.settle()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        life.store.close()

    asyncio.run(scenario())


def test_a_defect_in_the_flush_thread_ends_run() -> None:
    async def scenario() -> None:
        life = Harness().open()
        assert isinstance(life.files, MemoryFiles)

        def fault(operation: str, path: Path) -> None:
            if operation == "sync":
                raise ZeroDivisionError

        life.files.fault = fault
        assert life.put_flushed() == [FlushResult.FAILED]
        with pytest.raises(ZeroDivisionError):
            await life.store.run()

    asyncio.run(scenario())
