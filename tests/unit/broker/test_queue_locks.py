"""Queue locks: one owner at a time."""

from protocol.message import MessageQueue
from rmq_server.broker.queue_locks import QueueLocks
from rmq_server.core.clock import ManualClock

Q0, Q1 = MessageQueue("T", "broker-a", 0), MessageQueue("T", "broker-a", 1)


def test_a_lock_excludes_others_until_it_is_released() -> None:
    locks = QueueLocks(ManualClock(), 60)
    assert locks.lock("G", "a", [Q0, Q1]) == [Q0, Q1]
    assert locks.lock("G", "b", [Q0, Q1]) == []
    assert locks.lock("H", "b", [Q0]) == [Q0]
    locks.unlock("G", "b", [Q0])
    assert locks.lock("G", "b", [Q0]) == []
    locks.unlock("G", "a", [Q0])
    assert locks.lock("G", "b", [Q0, Q1]) == [Q0]


def test_a_lock_expires_unless_it_is_renewed() -> None:
    clock = ManualClock()
    locks = QueueLocks(clock, 60)
    locks.lock("G", "a", [Q0, Q1])
    clock.advance(40)
    locks.lock("G", "a", [Q0])
    clock.advance(30)
    assert locks.lock("G", "b", [Q0, Q1]) == [Q1]
    assert locks.is_locked("G")
    clock.advance(61)
    assert not locks.is_locked("G")
