"""The tags code of a queue entry, also of delayed messages: theirs is the time of delivery, by a table of levels.

That table is the broker's setting and not in the store, so it is learned from the entries that are there.
"""

from protocol.message import PropertyName, decode_properties
from protocol.names import SCHEDULE_TOPIC
from protocol.record import RecordFacts
from rmq_server.store.delay import DelayLevels
from rmq_server.store.dispatch import tags_code_of_record
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.log import LogReader


def delay_level_of(facts: RecordFacts) -> int:
    """The level of a message that waits for its delivery; 0 for any other."""
    if facts.topic != SCHEDULE_TOPIC:
        return 0
    text = decode_properties(facts.properties.decode("utf-8", "replace")).get(PropertyName.DELAY, "")
    return int(text) if text.isascii() and text.isdigit() else 0


class TagsCodes:
    """Computes the tags code that the entry of a record should have.

    levels: the broker's; without them they are learned from the newest entry of each level, others are upstream's.
    """

    def __init__(self, store: StoreDirectory, levels: DelayLevels | None = None) -> None:
        self._levels = levels or DelayLevels()
        self._learned = {} if levels is not None else _learned(store)

    def __call__(self, facts: RecordFacts) -> int:
        delay = self._learned.get(delay_level_of(facts))
        return self._levels.tags_code_of(facts) if delay is None else facts.store_timestamp_ms + delay


def is_right(facts: RecordFacts, tags_code: int) -> bool:
    """Whether an entry may have this tags code; any delay of whole seconds is taken, because tables change."""
    if delay_level_of(facts):
        delay = tags_code - facts.store_timestamp_ms
        return delay >= 0 and delay % 1000 == 0
    return tags_code == tags_code_of_record(facts)


def _learned(store: StoreDirectory) -> dict[int, int]:
    reader = LogReader(store.log, store.reader)
    found = {}
    for (topic, queue_id), queue in store.queues.items():
        entry = queue.entry(queue.end - 1) if topic == SCHEDULE_TOPIC and queue.end > queue.first else None
        record = reader.record_at(entry.physical_offset) if entry and entry.is_sound else None
        if entry and record and is_right(record.facts, entry.tags_code):
            found[queue_id + 1] = entry.tags_code - record.facts.store_timestamp_ms
    return found
