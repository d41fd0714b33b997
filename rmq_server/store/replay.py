"""Replay: read the CommitLog to its end, and add to the queues the entries that they do not have.

The usual record, IPv4 and of the first version, next in a queue that is known, is taken without an object for it; all
else goes through Scan and ConsumeQueueStore.replay, which are also the oracle of the tests. At 1 KiB that is 2 µs a
record instead of 4 (CPython 3.11; `python -m bench startup`).
"""

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from protocol.flags import MessageSysFlag
from protocol.hashing import tags_code
from protocol.names import SCHEDULE_TOPIC
from protocol.record import (
    CRC_MASK,
    HEAD_BYTES_V4,
    MAGIC_V1,
    MAX_V1_TOPIC_BYTES,
    CorruptRecord,
    RecordFacts,
    inspect_fast,
)
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.consumequeue import REBUILD_BUFFER, ConsumeQueue, ConsumeQueueStore
from rmq_server.store.dispatch import SEPARATOR, SEPARATOR_BYTE, TAGS
from rmq_server.store.layout import ENTRY

_FIRST_CHUNK = 1 << 14  # a clean start reads no more than that
_CHUNK = 1 << 20
_MOST_TAGS = 1 << 14
_MAX_I16 = 0x7FFF
_SECTOR_BYTES = 512
_LOST_SECTOR = bytes(_SECTOR_BYTES)

# size, magic, body CRC, queue id, queue offset, physical offset, system flag, store timestamp, body length
_unpack_head = Struct(">iiii4xqqi8x8xq8x4x8xi").unpack_from
_pack_entry = ENTRY.pack
_UNUSUAL = MessageSysFlag.BORN_HOST_V6 | MessageSysFlag.STORE_HOST_V6 | MessageSysFlag.TRANSACTION_MASK


class Replayed(NamedTuple):
    """How many records there were, when the last was stored, and where the log ends."""

    records: int
    last_timestamp_ms: int
    end: int


class Replay:
    """Reads on from where `run` starts.

    torn_after_ms: a record stored later whose end, which no checksum covers, was lost ends the log; None: none does.
    """

    def __init__(self, log: CommitLog, queues: ConsumeQueueStore, *, torn_after_ms: int | None) -> None:
        self._log = log
        self._queues = queues
        self._torn_after_ms = torn_after_ms
        self._known: dict[tuple[bytes, int], ConsumeQueue] = {}
        self._codes: dict[bytes, int] = {}
        self._records = self._timestamp_ms = 0

    def run(self, start: int) -> Replayed:
        """Take everything from the record at `start` on."""
        length = _FIRST_CHUNK
        while True:
            segment = self._log.segments.find(start)
            chunk = segment.read(min(length, segment.end - start), start) if segment else b""
            length = _CHUNK
            start += self._take(chunk, start)
            # The end of the chunk or the segment, a large record, or the end of the log: here or a record further.
            scan = self._log.scan(start)
            facts = next(iter(scan), None)
            if facts is None or not self._take_one(facts):
                end = scan.end if facts is None else facts.physical_offset
                return Replayed(self._records, self._timestamp_ms, end)
            start = scan.end

    def _take(self, chunk: bytes, base: int) -> int:
        """Take whole records at the beginning of a chunk that starts at `base`, and say how many bytes they have."""
        at = 0
        while True:
            at = self._take_usual(chunk, at, base)
            try:
                facts = inspect_fast(chunk, at)
            except CorruptRecord:
                return at
            if facts.physical_offset != base + at or not self._take_one(facts):
                return at
            at += facts.size

    def _take_one(self, facts: RecordFacts) -> bool:
        """Take any record; says whether it belongs to the log."""
        if self._torn_after_ms is not None and _looks_torn(facts) and facts.store_timestamp_ms > self._torn_after_ms:
            return False
        self._queues.replay(facts)
        self._records += 1
        self._timestamp_ms = facts.store_timestamp_ms
        queue = self._queues.queues.get((facts.topic, facts.queue_id))
        if queue is not None and facts.topic != SCHEDULE_TOPIC:  # whose entries hold no hash of a tag
            self._known[facts.topic.encode(), facts.queue_id] = queue
        return True

    def _take_usual(self, chunk: bytes, at: int, base: int) -> int:
        """Take records up to the first that is unusual in any way, and say where it starts."""
        known, codes = self._known, self._codes
        size = len(chunk)
        last = size - HEAD_BYTES_V4
        records = 0
        while at <= last:
            total, magic, crc, queue_id, queue_offset, physical, sys_flag, stored_ms, body_bytes = _unpack_head(
                chunk, at
            )
            body_at = at + HEAD_BYTES_V4
            body_end = body_at + body_bytes
            end = at + total
            if magic != MAGIC_V1 or physical != base + at or sys_flag & _UNUSUAL or body_bytes < 0:
                break
            if not body_end + 3 <= end <= size:
                break
            topic_bytes = chunk[body_end]
            properties_at = body_end + 3 + topic_bytes
            properties_bytes = end - properties_at
            if topic_bytes > MAX_V1_TOPIC_BYTES or not 0 <= properties_bytes <= _MAX_I16:
                break
            if chunk[properties_at - 2] << 8 | chunk[properties_at - 1] != properties_bytes:
                break
            queue = known.get((chunk[body_end + 1 : properties_at - 2], queue_id))
            if queue is None or queue_offset != queue.next_offset:
                break
            if crc32(chunk[body_at:body_end]) & CRC_MASK != crc:
                break
            code = 0
            if properties_bytes:
                properties = chunk[properties_at:end]
                if not properties[-1] or (properties_bytes >= _SECTOR_BYTES and _LOST_SECTOR in properties):
                    break
                tag_at = properties.rfind(TAGS)
                if tag_at >= 0:
                    if tag_at and properties[tag_at - 1] != SEPARATOR_BYTE:
                        break
                    tag_at += len(TAGS)
                    tag_end = properties.find(SEPARATOR, tag_at)
                    if tag_end <= tag_at:
                        break
                    tag = properties[tag_at:tag_end]
                    known_code = codes.get(tag)
                    code = self._code_of(tag) if known_code is None else known_code
            if end + base <= queue.physical_end:
                break
            queue.buffer += _pack_entry(physical, total, code)
            queue.next_offset = queue_offset + 1
            queue.physical_end = base + end
            if len(queue.buffer) >= REBUILD_BUFFER:
                queue.write(0)
            records += 1
            self._timestamp_ms = stored_ms
            at = end
        self._records += records
        return at

    def _code_of(self, tag: bytes) -> int:
        codes = self._codes
        if len(codes) >= _MOST_TAGS:
            codes.clear()
        code = codes[tag] = tags_code(str(tag, "utf-8", "replace"))
        return code


def _looks_torn(facts: RecordFacts) -> bool:
    """Whether the end of a record, which no checksum covers, was lost: sectors that never reached the disk are zero."""
    tail = facts.properties or facts.topic.encode()
    return tail.endswith(b"\0") or (len(tail) >= _SECTOR_BYTES and _LOST_SECTOR in tail)
