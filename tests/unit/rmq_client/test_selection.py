"""Which queue a message goes to, and which brokers are left out."""

import pytest

from protocol.message import MessageQueue
from rmq_client.latency import FaultTable, not_available_ms
from rmq_client.selection import RoundRobin, queue_of_key

QUEUES = [MessageQueue("T", broker, number) for broker in ("a", "b") for number in range(2)]


def brokers(turns: RoundRobin, count: int, **more) -> str:
    return "".join(turns.select(QUEUES, 0, **more).broker_name for _ in range(count))


def test_queues_take_turns_from_the_start_given():
    turns = RoundRobin(3)
    assert [turns.next(QUEUES) for _ in range(4)] == [QUEUES[3], QUEUES[0], QUEUES[1], QUEUES[2]]


def test_the_counter_stays_positive():
    turns = RoundRobin(0x7FFFFFFF)
    assert turns.next(QUEUES) == QUEUES[0x7FFFFFFF % 4]
    assert turns.next(QUEUES) == QUEUES[0]


def test_a_retry_goes_to_another_broker():
    assert brokers(RoundRobin(0), 4, last_broker="a") == "bbbb"


def test_a_retry_without_another_broker_takes_the_next_queue():
    only = QUEUES[:2]
    assert RoundRobin(0).select(only, 0, "a") in only


@pytest.mark.parametrize(
    ("latency_ms", "left_out_ms"),
    [(3, 0), (50, 0), (100, 0), (549, 0), (600, 2000), (2000, 5000), (4000, 6000), (5000, 10000), (20000, 30000)],
)
def test_slow_brokers_are_left_out(latency_ms, left_out_ms):
    assert not_available_ms(latency_ms) == left_out_ms


def test_a_failed_broker_is_left_out_for_ten_seconds():
    faults = FaultTable()
    faults.update("a", 1, now_ms=0, isolate=True, reachable=False)
    turns = RoundRobin(0, faults)
    assert turns.select(QUEUES, 9_999).broker_name == "b"
    assert "a" in {turns.select(QUEUES, 10_000).broker_name for _ in range(4)}


def test_when_all_are_left_out_a_reachable_one_is_taken():
    faults = FaultTable()
    faults.update("a", 1, now_ms=0, isolate=True, reachable=True)
    faults.update("b", 1, now_ms=0, isolate=True, reachable=False)
    assert RoundRobin(2, faults).select(QUEUES, 1).broker_name == "a"


def test_when_nothing_fits_any_queue_is_taken():
    faults = FaultTable()
    for broker in "ab":
        faults.update(broker, 1, now_ms=0, isolate=True, reachable=False)
    assert RoundRobin(0, faults).select(QUEUES, 1, "a") in QUEUES


def test_a_success_takes_the_fault_back():
    faults = FaultTable()
    faults.update("a", 1, now_ms=0, isolate=True)
    faults.update("a", 3, now_ms=1)
    assert faults.is_available("a", 1)


def test_equal_keys_go_to_one_queue_as_in_java():
    # "order-123".hashCode() is -392797389: Java's remainder by 4 is -1, its absolute value 1
    assert queue_of_key("order-123", QUEUES) == QUEUES[1]
    assert queue_of_key("TagA", QUEUES) == QUEUES[2598919 % 4]
