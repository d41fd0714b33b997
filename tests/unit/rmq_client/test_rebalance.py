"""What a rebalance changes."""

from protocol.allocate import AVERAGELY
from protocol.message import MessageQueue
from rmq_client.consumer.rebalance import allocate, change_of


def queue(number: int, topic: str = "T") -> MessageQueue:
    return MessageQueue(topic, "broker-a", number)


def test_only_queues_of_the_topic_are_touched():
    owned = [queue(0), queue(1), queue(0, "other")]
    change = change_of(owned, "T", [queue(1), queue(2)])
    assert change.drop == [queue(0)]
    assert change.add == [queue(2)]


def test_nothing_changes_when_the_share_is_the_same():
    assert change_of([queue(0)], "T", [queue(0)]) == ([], [])


def test_an_empty_share_gives_everything_up():
    assert change_of([queue(0), queue(1)], "T", []).drop == [queue(0), queue(1)]


def test_members_and_queues_are_sorted_before_they_are_shared():
    queues = [queue(3), queue(1), queue(0), queue(2)]
    shares = [allocate(AVERAGELY, "g", member, queues, ["z", "B"]) for member in ("B", "z")]
    assert shares == [[queue(0), queue(1)], [queue(2), queue(3)]]
