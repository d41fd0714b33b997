"""Which records a command is about, and the shortest way to them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocol.record import RecordFacts
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.log import Damage, Found, LogReader, LogScan
from rmq_server.storetools.runs import Segment


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Every condition that is not None must hold; both ends of a range are included, times are store times."""

    topic: str | None = None
    queue_id: int | None = None
    min_offset: int | None = None
    max_offset: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, facts: RecordFacts) -> bool:
        return (
            self.topic in (None, facts.topic)
            and self.queue_id in (None, facts.queue_id)
            and (self.min_offset is None or facts.queue_offset >= self.min_offset)
            and (self.max_offset is None or facts.queue_offset <= self.max_offset)
            and (self.since_ms is None or facts.store_timestamp_ms >= self.since_ms)
            and (self.until_ms is None or facts.store_timestamp_ms <= self.until_ms)
        )


def select(
    store: StoreDirectory,
    selection: Selection,
    *,
    on_damage: Callable[[Damage], None],
    progress: Progress = no_progress,
) -> Iterator[Found]:
    """The selected records in the order of the log.

    Segments that were written before or after the wanted time are passed over, by the time of their first record.
    """
    reader = LogReader(store.log, store.reader)
    times: dict[int, int] = {}

    def first_ms(segment: Segment | None) -> int | None:
        if segment is None:
            return None
        if segment.start not in times:
            record = reader.record_at(segment.start)
            times[segment.start] = record.facts.store_timestamp_ms if record else -1
        found = times[segment.start]
        return None if found < 0 else found

    def skip(segment: Segment) -> bool:
        this, following = first_ms(segment), first_ms(store.log.find(segment.end))
        too_new = selection.until_ms is not None and this is not None and this > selection.until_ms
        too_old = selection.since_ms is not None and following is not None and following < selection.since_ms
        return too_new or too_old

    start = _start(store, selection)
    scan = LogScan(store, start=start, on_damage=on_damage, progress=progress, skip=skip)
    return (found for found in scan if selection.takes(found.facts))


def _start(store: StoreDirectory, selection: Selection) -> int:
    """Where the first message of a queue is, when a queue is asked for."""
    if selection.topic is None or selection.queue_id is None:
        return 0
    queue = store.queues.get((selection.topic, selection.queue_id))
    if queue is None or selection.min_offset is None:
        return 0
    entry = queue.entry(max(selection.min_offset, queue.min_offset(store.log.start)))
    if entry is None or not entry.is_sound or entry.is_blank:
        return 0
    record = LogReader(store.log, store.reader).record_at(entry.physical_offset)
    return entry.physical_offset if record is not None else 0
