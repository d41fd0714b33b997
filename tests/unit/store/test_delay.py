"""The tags codes of delayed messages."""

import pytest

from protocol.hashing import tags_code
from protocol.names import SCHEDULE_TOPIC
from protocol.record import RecordFacts
from rmq_server.store.delay import DelayLevels

STORED_MS = 1_795_216_825_867


def facts(topic: str, properties: str) -> RecordFacts:
    return RecordFacts(0, 100, topic, 0, 0, 0, STORED_MS, properties.encode())


@pytest.mark.parametrize(
    ("level", "delay_ms"), [(1, 1000), (3, 10_000), (18, 7_200_000), (19, 7_200_000), (1000, 7_200_000)]
)
def test_a_delayed_message_is_due_after_its_level(level: int, delay_ms: int) -> None:
    stored = facts(SCHEDULE_TOPIC, f"TAGS\x01TagD\x02DELAY\x01{level}\x02")
    assert DelayLevels().tags_code_of(stored) == STORED_MS + delay_ms


@pytest.mark.parametrize(
    ("topic", "properties"),
    [
        ("TopicTest", "TAGS\x01TagD\x02DELAY\x013\x02"),  # delivered: the property stays
        (SCHEDULE_TOPIC, "TAGS\x01TagD\x02"),
        (SCHEDULE_TOPIC, "TAGS\x01TagD\x02DELAY\x010\x02"),
        (SCHEDULE_TOPIC, "TAGS\x01TagD\x02DELAY\x01soon\x02"),
    ],
)
def test_other_messages_have_the_hash_of_their_tag(topic: str, properties: str) -> None:
    assert DelayLevels().tags_code_of(facts(topic, properties)) == tags_code("TagD")


def test_levels_are_configured() -> None:
    assert DelayLevels("2s 3m 4h 5d").delays_ms == (2000, 180_000, 14_400_000, 432_000_000)
    assert DelayLevels("").delay_ms(1) == 1000


@pytest.mark.parametrize("text", ["1s 5", "1s m", "1s -1s", "1w"])
def test_levels_that_do_not_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="messageDelayLevel"):
        DelayLevels(text)
