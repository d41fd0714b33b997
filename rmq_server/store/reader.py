"""Reading a queue: from a queue offset through ConsumeQueue entries to views of CommitLog records.

Source: apache/rocketmq: store/.../DefaultMessageStore.java (getMessage, isTheBatchFull), ConsumeQueue.java
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from struct import Struct

import msgspec

from rmq_server.store.commitlog import CommitLog
from rmq_server.store.config import StoreConfig
from rmq_server.store.consumequeue import ConsumeQueue
from rmq_server.store.errors import StoreError
from rmq_server.store.files import physical_memory_bytes
from rmq_server.store.layout import ENTRY, ENTRY_BYTES, MAX_EXT_ADDRESS, PRE_BLANK_SIZE

_iter_entries = ENTRY.iter_unpack

_RECENT_BYTES = 64 << 20  # of the log: what this process wrote lately is taken to be in memory, without asking
_AHEAD_BYTES = 1 << 20  # that a fetch goes beyond what was asked for
_GAP_BYTES = 1 << 17
_BLOCK_BYTES = 1 << 20  # of the log, asked about at once
_TRUST_S = 1.0  # for so long the answer about a block holds
_MAX_BLOCKS = 4096  # whose answers are remembered
_MAX_SPAN_BYTES = 4 * _BLOCK_BYTES

Accepts = Callable[[int], bool]


class GetStatus(StrEnum):
    """How a read ended; the value is the remark of the response."""

    FOUND = "FOUND"
    NO_MATCHED_MESSAGE = "NO_MATCHED_MESSAGE"
    MESSAGE_WAS_REMOVING = "MESSAGE_WAS_REMOVING"
    OFFSET_FOUND_NULL = "OFFSET_FOUND_NULL"
    OFFSET_OVERFLOW_BADLY = "OFFSET_OVERFLOW_BADLY"
    OFFSET_OVERFLOW_ONE = "OFFSET_OVERFLOW_ONE"
    OFFSET_TOO_SMALL = "OFFSET_TOO_SMALL"
    NO_MATCHED_LOGIC_QUEUE = "NO_MATCHED_LOGIC_QUEUE"
    NO_MESSAGE_IN_QUEUE = "NO_MESSAGE_IN_QUEUE"


class GetResult(msgspec.Struct, gc=False):
    """What a read found.

    views: runs of whole records, in queue order, as slices of the CommitLog; valid for as long as they are held.
    size:  bytes of all views together.
    count: messages in them.
    """

    status: GetStatus
    next_offset: int
    min_offset: int
    max_offset: int
    views: list[memoryview] = []
    size: int = 0
    count: int = 0


class ColdRead(Exception):
    """What was to be read is on disk and not in memory. `fetch` brings it there, from any thread; then try again."""

    def __init__(self, fetch: Callable[[], None]) -> None:
        super().__init__("the data is not in memory")
        self.fetch = fetch


class QueueReader:
    """Reads queues of one store within the configured limits.

    opened_at: where the log ended when the store was opened; what was written since is in memory for a while.
    monotonic: seconds, for how long an answer about the page cache is trusted.
    """

    def __init__(self, log: CommitLog, config: StoreConfig, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._blocks: dict[int, tuple[float, bool]] = {}  # number -> trusted until, is whole in memory
        self.opened_at = 0
        self._scan_entries = config.max_filter_message_bytes // ENTRY_BYTES
        self._in_memory = config.max_transfer_count_in_memory, config.max_transfer_bytes_in_memory
        self._in_disk = config.max_transfer_count_in_disk, config.max_transfer_bytes_in_disk
        self._memory_bytes = physical_memory_bytes() * config.in_memory_max_ratio // 100

    def get(
        self,
        queue: ConsumeQueue,
        offset: int,
        max_messages: int,
        accepts: Accepts | None,
        max_bytes: int | None,
        *,
        may_block: bool = True,
    ) -> GetResult:
        """Read from `offset` on; see MessageStore.get."""
        low, high = queue.min_offset, queue.max_offset
        if not low <= offset < high:
            status, next_offset = _outside(offset, low, high)
            return GetResult(status, next_offset, low, high)
        entries = max(self._scan_entries, max_messages) if accepts is not None else max(1, max_messages)
        entries = min(high - offset, entries)
        if not may_block and not queue.is_cached(offset, entries):
            raise ColdRead(lambda: queue.fetch(offset))
        data = queue.read(offset, entries)
        if not data:
            file_entries = queue.files.file_bytes // ENTRY_BYTES
            return GetResult(GetStatus.OFFSET_FOUND_NULL, offset - offset % file_entries + file_entries, low, high)
        result = self._select(
            data, offset, max_messages, accepts, max_bytes, GetResult(GetStatus.FOUND, 0, low, high, [])
        )
        first = int.from_bytes(data[:8], "big")
        if first < self.opened_at or self._log.written - first > _RECENT_BYTES:
            count = result.next_offset - offset
            last, size, _ = ENTRY.unpack_from(data, (count - 1) * ENTRY_BYTES)
            if not self._are_blocks_cached(first, last + size):
                fetch = self._missing(islice(_iter_entries(data), count), accepts)
                if fetch is not None and not may_block:
                    raise ColdRead(fetch)
                if fetch is not None:
                    fetch()
        return result

    def _missing(self, entries: Iterable[tuple[int, int, int]], accepts: Accepts | None) -> Callable[[], None] | None:
        """What brings the records of all accepted entries into memory; None when they are there."""
        log = self._log
        places = _runs(
            (physical, physical + size)
            for physical, size, tags_code in entries
            if size != PRE_BLANK_SIZE and (accepts is None or tags_code <= MAX_EXT_ADDRESS or accepts(tags_code))
        )
        if all(log.is_cached(start, end) for start, end in places):
            return None
        start, end = places[-1]
        places[-1] = start, max(end, start + _AHEAD_BYTES)

        def fetch() -> None:
            with suppress(StoreError):  # whoever reads then will say what is wrong
                for start, end in _runs(places, gap=_GAP_BYTES):
                    log.fetch(start, end)

        return fetch

    def _are_blocks_cached(self, start: int, end: int) -> bool:
        """Whether a short stretch of the log is in memory as a whole.

        Asked once a second for each MiB: records of one queue lie scattered between those of others, and a question for
        each of them costs 2 µs a message. False may also mean that it is not known.
        """
        if end - start > _MAX_SPAN_BYTES:
            return False
        now = self._monotonic()
        for number in range(start // _BLOCK_BYTES, (end - 1) // _BLOCK_BYTES + 1):
            until, is_cached = self._blocks.get(number, (0.0, False))
            if until <= now:
                if len(self._blocks) >= _MAX_BLOCKS:
                    self._blocks.clear()
                at = number * _BLOCK_BYTES
                is_cached = self._log.is_cached(at, min(at + _BLOCK_BYTES, self._log.written))
                self._blocks[number] = now + _TRUST_S, is_cached
            if not is_cached:
                return False
        return True

    def _select(
        self,
        data: bytes,
        offset: int,
        max_messages: int,
        accepts: Accepts | None,
        max_bytes: int | None,
        result: GetResult,
    ) -> GetResult:
        log = self._log
        most, room = self._in_memory
        if not self.is_near_end(int.from_bytes(data[:8], "big")):
            most, room = self._in_disk
        most = max(1, min(most, max_messages))
        if max_bytes is not None and max_bytes < room:
            room = max_bytes
        if accepts is None:
            whole = self._whole_run(data, most, room)
            if whole is not None:
                result.views, result.size, result.count = whole
                result.next_offset = offset + result.count
                return result
        views = result.views
        total = start = end = 0
        view = memoryview(b"")
        removed = False
        for physical, size, tags_code in _iter_entries(data):
            if total + size > room:
                if size == PRE_BLANK_SIZE:
                    offset += 1
                    continue
                if total:
                    break
            if accepts is not None and tags_code > MAX_EXT_ADDRESS and not accepts(tags_code):
                offset += 1
                continue
            if not start <= physical < end:
                segment = log.segments.find(physical)
                if segment is None:
                    removed = True
                    offset += 1
                    continue
                view, start, end = segment.view, segment.start, segment.end
            views.append(view[physical - start : physical - start + size])
            total += size
            offset += 1
            most -= 1
            if not most:
                break
        result.next_offset = offset
        result.size = total
        result.count = len(views)
        if not total:
            result.status = GetStatus.MESSAGE_WAS_REMOVING if removed else GetStatus.NO_MATCHED_MESSAGE
        return result

    def is_near_end(self, physical_offset: int) -> bool:
        """Whether a record is so near the end of the log that it counts as being in memory."""
        return self._log.written - physical_offset <= self._memory_bytes

    def _whole_run(self, data: bytes, most: int, room: int) -> tuple[list[memoryview], int, int] | None:
        """The usual case in one go, 32 messages in 8 instead of 12 µs: all entries, one segment, within the limits.

        Records that follow one another in the log are one view, which also spares whoever sends them.
        None when it is not that case; the loop in _select is the definition.
        """
        count = min(most, len(data) // ENTRY_BYTES)
        fields = _unpacker(count)(data)
        offsets, sizes = fields[::3], fields[1::3]
        total = sum(sizes)
        segment = self._log.segments.find(offsets[0])
        if total > room or segment is None or offsets[-1] >= segment.end:
            return None
        view, start = segment.view, segment.start
        first = offsets[0] - start
        if offsets[-1] + sizes[-1] - offsets[0] == total:
            return [view[first : first + total]], total, count
        views = [view[(at := offset - start) : at + size] for offset, size in zip(offsets, sizes, strict=True)]
        return views, total, count

    def store_timestamp(self, queue: ConsumeQueue, offset: int) -> int:
        """When the message at a queue offset was stored; -1 when there is none."""
        entry = queue.entry(offset) if queue.min_offset <= offset < queue.max_offset else None
        timestamp = self._log.store_timestamp(entry[0], entry[1]) if entry else None
        return -1 if timestamp is None else timestamp

    def offset_by_timestamp(self, queue: ConsumeQueue, timestamp_ms: int, *, upper: bool) -> int:
        """The first message stored at or after a time; upper: the last one stored at or before it."""
        offsets = range(queue.min_offset, queue.max_offset)
        if upper:
            after = bisect_right(offsets, timestamp_ms, key=lambda offset: self.store_timestamp(queue, offset))
            return offsets.start + max(0, after - 1)
        return offsets.start + bisect_left(
            offsets, timestamp_ms, key=lambda offset: self.store_timestamp(queue, offset)
        )


@lru_cache(maxsize=256)
def _unpacker(count: int) -> Callable[[bytes], tuple[int, ...]]:
    """Takes the fields of the first `count` entries in one call."""
    entries = Struct(">" + "qiq" * count)
    return entries.unpack_from


def _runs(places: Iterable[tuple[int, int]], gap: int = 0) -> list[tuple[int, int]]:
    """Ascending ranges, those joined that are no further apart than `gap`."""
    runs: list[tuple[int, int]] = []
    for start, end in places:
        if runs and 0 <= start - runs[-1][1] <= gap:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((start, end))
    return runs


def _outside(offset: int, low: int, high: int) -> tuple[GetStatus, int]:
    if high == 0:
        return GetStatus.NO_MESSAGE_IN_QUEUE, 0
    if offset < low:
        return GetStatus.OFFSET_TOO_SMALL, low
    if offset == high:
        return GetStatus.OFFSET_OVERFLOW_ONE, offset
    return GetStatus.OFFSET_OVERFLOW_BADLY, high
