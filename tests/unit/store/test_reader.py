import pytest

from protocol.record import unpack_all
from rmq_server.store.config import FlushDiskType
from rmq_server.store.reader import GetResult, GetStatus
from tests.unit.store.harness import Harness, joined, record

ASYNC = FlushDiskType.ASYNC_FLUSH


def filled(count: int, size: int = 10, **config: object) -> Harness:
    life = Harness(flush=ASYNC, **config).open()
    for number in range(count):
        life.store.put(record(bytes([number % 256]) * size), number % 3)
        life.clock.advance(1)
    life.end_turn()
    return life


def offsets(result: GetResult) -> list[int]:
    found = [record.queue_offset for record in unpack_all(b"".join(result.views))]
    assert len(found) == result.count
    return found


@pytest.mark.parametrize(
    ("offset", "status", "next_offset"),
    [
        (-1, GetStatus.OFFSET_TOO_SMALL, 0),
        (0, GetStatus.FOUND, 5),
        (4, GetStatus.FOUND, 5),
        (5, GetStatus.OFFSET_OVERFLOW_ONE, 5),
        (6, GetStatus.OFFSET_OVERFLOW_BADLY, 5),
    ],
)
def test_where_a_read_may_start(offset: int, status: GetStatus, next_offset: int) -> None:
    result = filled(5).store.get("T", 0, offset, 32)
    assert (result.status, result.next_offset, result.min_offset, result.max_offset) == (status, next_offset, 0, 5)
    assert offsets(result) == (list(range(offset, 5)) if status is GetStatus.FOUND else [])
    assert result.size == sum(len(view) for view in result.views)


def test_unknown_and_empty_queues() -> None:
    life = Harness().open()
    assert life.store.get("T", 0, 3, 1) == GetResult(GetStatus.NO_MATCHED_LOGIC_QUEUE, 0, 0, 0)
    life.put()
    assert life.store.get("T", 0, 3, 1) == GetResult(GetStatus.NO_MESSAGE_IN_QUEUE, 0, 0, 0)


@pytest.mark.parametrize("wanted", [-1, 0, 1])
def test_one_message_at_least(wanted: int) -> None:
    assert offsets(filled(5).store.get("T", 0, 2, wanted)) == [2]


def test_a_read_stays_in_one_file_of_the_queue() -> None:
    life = filled(25)  # ten entries a file
    assert offsets(life.store.get("T", 0, 7, 32)) == [7, 8, 9]
    assert offsets(life.store.get("T", 0, 10, 32)) == list(range(10, 20))


def test_a_read_goes_over_segments_of_the_log() -> None:
    life = filled(10, size=1000)
    assert life.store.max_physical_offset > 2 * 4096
    assert offsets(life.store.get("T", 0, 0, 32)) == list(range(10))


def test_limits_near_the_end_of_the_log() -> None:
    life = filled(20, max_transfer_count_in_memory=4, consumequeue_file_bytes=2000)
    assert offsets(life.store.get("T", 0, 0, 32)) == [0, 1, 2, 3]
    assert offsets(life.store.get("T", 0, 0, 3)) == [0, 1, 2]
    life = filled(20, max_transfer_bytes_in_memory=350, consumequeue_file_bytes=2000)
    size = len(life.store.get("T", 0, 0, 1).views[0])
    assert offsets(life.store.get("T", 0, 0, 32)) == list(range(350 // size))
    assert offsets(life.store.get("T", 0, 0, 32, max_bytes=2 * size)) == [0, 1]
    assert offsets(life.store.get("T", 0, 0, 32, max_bytes=2 * size - 1)) == [0]
    assert offsets(life.store.get("T", 0, 0, 32, max_bytes=1)) == [0]


def test_limits_far_behind() -> None:
    life = filled(20, in_memory_max_ratio=0, max_transfer_count_in_disk=2, consumequeue_file_bytes=2000)
    assert offsets(life.store.get("T", 0, 0, 32)) == [0, 1]
    life = filled(20, in_memory_max_ratio=0, max_transfer_bytes_in_disk=1, consumequeue_file_bytes=2000)
    assert offsets(life.store.get("T", 0, 0, 32)) == [0]


def test_a_filter_passes_over_what_it_does_not_accept() -> None:
    life = filled(30, consumequeue_file_bytes=2000)
    result = life.store.get("T", 0, 1, 3, lambda code: code == 0)
    assert (offsets(result), result.next_offset) == ([3, 6, 9], 10)
    nothing = life.store.get("T", 0, 1, 3, lambda code: False)
    assert (nothing.status, nothing.next_offset, nothing.views) == (GetStatus.NO_MATCHED_MESSAGE, 30, [])


def test_a_filter_looks_at_a_limited_number_of_entries() -> None:
    life = filled(60, consumequeue_file_bytes=2000, max_filter_message_bytes=200)
    assert life.store.get("T", 0, 5, 1, lambda code: False).next_offset == 15
    assert life.store.get("T", 0, 5, 32, lambda code: False).next_offset == 37


def test_addresses_of_the_extended_queue_match_everything() -> None:
    life = Harness(flush=ASYNC).open()
    life.store.put(record(), -(2**31) - 1)
    life.store.put(record(), -(2**31))
    life.end_turn()
    assert offsets(life.store.get("T", 0, 0, 32, lambda code: False)) == [0]


def test_both_ways_of_selecting_agree() -> None:
    life = filled(100, size=200, consumequeue_file_bytes=2000, max_transfer_bytes_in_memory=3000)
    for start in range(0, 100, 7):
        for most in (1, 5, 32):
            plain, filtered = (life.store.get("T", 0, start, most, accepts) for accepts in (None, lambda code: True))
            assert joined(plain) == joined(filtered)


def test_times() -> None:
    life = filled(25)
    first = life.store.earliest_store_time("T", 0)
    assert [life.store.store_time("T", 0, offset) for offset in (0, 7, 24)] == [first, first + 7000, first + 24_000]
    assert life.store.store_time("T", 0, 25) == life.store.store_time("T", 0, -1) == -1
    assert life.store.store_time("none", 0, 0) == life.store.earliest_store_time("none", 0) == -1


@pytest.mark.parametrize(
    ("after_first_ms", "lower", "upper"),
    [(-1, 0, 0), (0, 0, 0), (1, 1, 0), (7000, 7, 7), (7500, 8, 7), (24_000, 24, 24), (24_001, 25, 24)],
)
def test_offset_by_timestamp(after_first_ms: int, lower: int, upper: int) -> None:
    life = filled(25)
    at = life.store.earliest_store_time("T", 0) + after_first_ms
    assert life.store.offset_by_timestamp("T", 0, at) == lower
    assert life.store.offset_by_timestamp("T", 0, at, upper=True) == upper


def test_equal_timestamps_expand_to_first_and_last() -> None:
    life = Harness(flush=ASYNC).open()
    for pause in (1, 0, 0, 1):
        life.put()
        life.clock.advance(pause)
    life.end_turn()
    at = life.store.store_time("T", 0, 2)
    assert life.store.offset_by_timestamp("T", 0, at) == 1
    assert life.store.offset_by_timestamp("T", 0, at, upper=True) == 3
    assert life.store.offset_by_timestamp("none", 0, at) == 0


def test_queue_ids() -> None:
    life = Harness().open()
    for queue_id in (3, 0, 11):
        life.put(queue_id=queue_id)
    life.put(topic="other", queue_id=5)
    assert life.store.queue_ids("T") == [0, 3, 11]
    assert life.store.queue_ids("none") == []
    assert life.store.max_offset("none", 0) == life.store.min_offset("none", 0) == 0
