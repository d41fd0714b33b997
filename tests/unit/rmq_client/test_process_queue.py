"""The window on one queue: what it counts, when it is full, which offset may be committed."""

import pytest

from protocol.message import MessageExt, MessageQueue
from rmq_client.consumer.process_queue import NOTHING_CACHED, ProcessQueue


def message(offset: int, size: int = 10) -> MessageExt:
    made = MessageExt.__new__(MessageExt)
    made.queue_offset = offset
    made.body = bytes(size)
    return made


@pytest.fixture
def queue() -> ProcessQueue:
    return ProcessQueue(MessageQueue("T", "broker-a", 0))


def test_the_offset_never_passes_an_unfinished_message(queue):
    # behaviour.md 4.3
    cached = {offset: message(offset) for offset in range(10, 15)}
    queue.put(cached.values())
    assert queue.remove([cached[12]]) == 10
    assert queue.remove([cached[10]]) == 11
    assert queue.remove([cached[11]]) == 13
    assert queue.remove([cached[13], cached[14]]) == 15
    assert queue.remove([cached[14]]) == NOTHING_CACHED


def test_what_is_cached_already_is_not_counted_twice(queue):
    queue.put([message(1), message(2)])
    queue.put([message(2, 30), message(3)])
    assert (queue.count, queue.cached_bytes, queue.span) == (3, 50, 2)
    assert queue.remove([message(1), message(2), message(3)]) == 4
    assert (queue.count, queue.cached_bytes, queue.span) == (0, 0, 0)


def test_gaps_from_filtered_messages_count_for_the_span_only(queue):
    queue.put([message(0), message(2000)])
    assert not queue.is_full(1000, 1 << 20, 2000)
    assert queue.is_full(1000, 1 << 20, 1999)


def test_limits_may_be_reached_but_not_passed(queue):
    queue.put([message(offset) for offset in range(1000)])
    assert not queue.is_full(1000, 10_000, 2000)
    queue.put([message(1000)])
    assert queue.is_full(1000, 1 << 20, 2000)
    assert queue.is_full(2000, 10_000, 2000)


def test_removal_tells_whoever_waits_for_room(queue):
    told = []
    queue.put([message(0), message(1)])
    queue.on_room = lambda: told.append(queue.count)
    queue.remove([message(1)])
    assert told == [1]


def test_redelivered_messages_out_of_order_keep_the_oldest_offset(queue):
    queue.put([message(5), message(6)])
    assert queue.remove([message(6)]) == 5
    queue.put([message(7)])
    assert queue.remove([message(7)]) == 5
    assert queue.remove([message(5)]) == 8


def test_the_offset_passes_what_a_filter_left_out_behind_the_last_message(queue):
    queue.put([message(5), message(7)])
    queue.pulled_to = 10
    assert queue.remove([message(7)]) == 5
    assert queue.remove([message(5)]) == 10
