"""Delay levels, as far as the store must know them: the queue entry of a delayed message holds when it is due.

Source: apache/rocketmq: store/.../CommitLog.java (checkMessageAndReturnSize), DefaultMessageStore.java
(parseDelayLevel, computeDeliverTimestamp)
"""

from protocol.message import PropertyName, decode_properties
from protocol.names import SCHEDULE_TOPIC
from protocol.record import RecordFacts
from rmq_server.store.dispatch import tags_code_of_record

UPSTREAM_LEVELS = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NO_LEVELS_MS = 1000


class DelayLevels:
    """The delays behind the levels 1, 2, … of `messageDelayLevel`.

    Raises: ValueError for a text that does not read.
    """

    def __init__(self, text: str = UPSTREAM_LEVELS) -> None:
        self.delays_ms = tuple(_milliseconds(part, text) for part in text.split())

    def delay_ms(self, level: int) -> int:
        """How long messages of a level, from 1 on, wait; above the highest level as long as at the highest."""
        return self.delays_ms[min(level, len(self.delays_ms)) - 1] if self.delays_ms else _NO_LEVELS_MS

    def tags_code_of(self, facts: RecordFacts) -> int:
        """What the queue entry of a record says: when a delayed message is due, else the hash of the tag."""
        if facts.topic == SCHEDULE_TOPIC:
            text = decode_properties(str(facts.properties, "utf-8", "replace")).get(PropertyName.DELAY, "")
            if text.isascii() and text.isdecimal() and int(text) > 0:
                return facts.store_timestamp_ms + self.delay_ms(int(text))
        return tags_code_of_record(facts)


def _milliseconds(part: str, text: str) -> int:
    number, unit = part[:-1], _UNITS_MS.get(part[-1])
    if unit is None or not (number.isascii() and number.isdecimal()):
        raise ValueError(f"messageDelayLevel={text}: {part} is not a number followed by s, m, h or d")
    return int(number) * unit
