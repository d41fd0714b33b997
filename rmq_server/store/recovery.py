"""Start: find the end of the CommitLog, and make the queues agree with it.

After a clean stop the queues are complete, so the scan starts at the last message that any queue knows. After a crash
it starts at the position that the checkpoint's mark names, or, when the mark is stale, at the last segment whose first
record is known to be durable (checkpoint); what the queues say about that part is not trusted but rebuilt: a torn page
may have left an entry without its tags code.

Differs: upstream always starts at a segment, does not compare physicalOffset with the position, takes a record for
whole whose properties were lost (only the body has a checksum), does not erase stale bytes after the end, and after
a crash keeps the entries that the queues have.
Source: apache/rocketmq: store/.../CommitLog.java (recoverNormally, recoverAbnormally), DefaultMessageStore.java
"""

from dataclasses import dataclass

from protocol.record import CorruptRecord, RecordFacts, inspect_fast
from rmq_server.store.checkpoint import Checkpoint, ReplayMark
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.consumequeue import ConsumeQueue, ConsumeQueueStore
from rmq_server.store.replay import Replay


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found."""

    crashed: bool
    scanned_from: int
    end: int
    records: int
    last_timestamp_ms: int


def recover(
    log: CommitLog, queues: ConsumeQueueStore, checkpoint: Checkpoint, mark: ReplayMark | None = None, *, crashed: bool
) -> Recovery:
    """Bring log and queues to a common end; syncing is left to the caller."""
    log.segments.load()
    if crashed:
        start = _crash_start(log, checkpoint.min_timestamp_ms, mark)
        queues.load(start, lambda queue, physical, size: _holds(log, queue, physical, size))
    else:
        queues.load(None)
        start = _clean_start(log, queues)
    replay = Replay(log, queues, torn_after_ms=checkpoint.min_timestamp_ms if crashed else None)
    records, timestamp, end = replay.run(start)
    log.reset(end)
    for queue in queues.queues.values():
        if queue.physical_end > end:
            queue.truncate(end)
    queues.settle(log.start, checkpoint.min_timestamp_ms, min(start, end))
    return Recovery(crashed, start, end, records, timestamp)


def _holds(log: CommitLog, queue: ConsumeQueue, physical: int, size: int) -> bool:
    """Whether an entry of a queue points to a record of that queue; of what retention deleted nothing is known."""
    if physical < log.start:
        return physical > 0
    facts = _record_of(log, physical, size)
    return facts is not None and (facts.topic, facts.queue_id, facts.size) == (queue.topic, queue.queue_id, size)


def _crash_start(log: CommitLog, durable_until_ms: int, mark: ReplayMark | None) -> int:
    if mark is not None and mark.is_of(log.segments):
        return mark.position
    for segment in reversed(log.segments.run):
        first = _first_record(log, segment.start)
        if first is not None and 0 < first.store_timestamp_ms <= durable_until_ms:
            return segment.start
    return log.start


def _clean_start(log: CommitLog, queues: ConsumeQueueStore) -> int:
    """The last message of any queue when it is sound, else the segment it should be in, or one before."""
    known = max(queues.queues.values(), key=lambda queue: queue.physical_end, default=None)
    if known is None or not known.physical_end:
        return log.start
    start = known.physical_offset(known.next_offset - 1)
    last = _first_record(log, start)
    if last is not None and start + last.size == known.physical_end:
        return start
    for segment in reversed(log.segments.run):
        if segment.start <= known.physical_end and _first_record(log, segment.start) is not None:
            return segment.start
    return log.start


def _record_of(log: CommitLog, start: int, size: int) -> RecordFacts | None:
    """The record of a size that starts somewhere; its body is not looked at: a damaged one keeps its place."""
    segment = log.segments.find(start)
    if segment is None or not 0 < size <= segment.end - start:
        return None
    try:
        facts = inspect_fast(segment.read(size, start), 0, False)
    except CorruptRecord:
        return None
    return facts if facts.physical_offset == start else None


def _first_record(log: CommitLog, start: int) -> RecordFacts | None:
    first = next(iter(log.scan(start)), None)
    return first if first is not None and first.physical_offset == start else None
