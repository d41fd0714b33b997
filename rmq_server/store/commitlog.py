"""The CommitLog: the one sequential log of every record. The truth; everything else in the store derives from it.

Positions, in bytes of the log:   start <= written <= end
    end      where the next record goes
    written  up to here the operating system has it, so that a killed process loses nothing
Records between the two were appended `deferred`: one write takes all of a loop turn. Whoever acknowledges a record
before it was flushed must have it written.

Invariants: a record never spans segments; at least 8 bytes stay free for the blank record that closes a segment; blocks
are reserved past `end`, so that the write itself cannot run out of space; a failed append leaves `end` where it was.
Source: apache/rocketmq: store/.../CommitLog.java
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from protocol.record import (
    MAGIC_BLANK,
    PHYSICAL_OFFSET_AT,
    RECORD_MAGICS,
    CorruptRecord,
    Record,
    RecordFacts,
    inspect_fast,
    pack,
    prefix,
    store_timestamp,
)
from rmq_server.store.errors import MessageTooLarge, NoSpace, from_os_error
from rmq_server.store.files import Files
from rmq_server.store.layout import BLANK_BYTES, blank
from rmq_server.store.mapped_file import MappedFile, OpenFiles
from rmq_server.store.mapped_file_queue import MappedFileQueue

_SCAN_CHUNK = 1 << 20
_FIRST_CHUNK = 1 << 14
_NO_ROOM = -1
_PREPARE_PART = 4  # the next segment is created when this part of the present one is left


def _nowhere(data: bytes, offset: int) -> None:
    raise AssertionError("nothing is pending before there is room")


class CommitLog:
    """Append to, read and scan the log."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        segment_bytes: int,
        reserve_bytes: int,
        open_files: OpenFiles | None = None,
    ) -> None:
        self.segments = MappedFileQueue(
            files, directory, segment_bytes, size_key="mappedFileSizeCommitLog", open_files=open_files
        )
        self.end = 0
        self.written = 0
        self._reserve_bytes = min(reserve_bytes, segment_bytes)
        self._pending: list[bytes] = []
        self._pwrite: Callable[[bytes, int], None] = _nowhere
        self._active_start = 0
        self._asked: int | None = None  # start of the segment that the flush thread was asked to create
        self._prepared: int | None = None  # start of the one that it did create
        self._limit = _NO_ROOM  # the last offset at which a record may end without asking for more room

    @property
    def start(self) -> int:
        """The first offset that is still there."""
        return self.segments.start

    def append(self, record: Record) -> int:
        """Take in one record at its final offset, which is stored in it, and say where it ends.

        Raises: MessageTooLarge; NoSpace and other StoreErrors; LocalProtocolError for what cannot be encoded.
        """
        record.physical_offset = self.end
        packed = pack(record)
        end = self.end + len(packed)
        if end > self._limit:
            self._make_room(len(packed))
            if self.end != record.physical_offset:
                return self.append(record)
        self._pending.append(packed)
        self.end = end
        return end

    def append_batch(self, records: Sequence[Record]) -> int:
        """Take in records one after the other in one segment, or none of them."""
        position = self.end
        packed = []
        for record in records:
            record.physical_offset = position
            packed.append(pack(record))
            position += len(packed[-1])
        if position > self._limit:
            start = self.end
            self._make_room(position - start)
            if self.end != start:
                return self.append_batch(records)
        self._pending.append(b"".join(packed))
        self.end = position
        return position

    def write_out(self) -> None:
        """Hand everything appended to the operating system; what fails stays pending."""
        pending = self._pending
        if not pending:
            return
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        try:
            self._pwrite(data, self.written - self._active_start)
        except OSError as error:
            raise from_os_error(error, self.segments.directory, self.written) from error
        self.written += len(data)
        pending.clear()

    def take_back(self, start: int) -> None:
        """Forget the last append, which started at `start` and is still pending."""
        self._pending.pop()
        self.end = start

    def view(self, offset: int, size: int) -> memoryview | None:
        """Bytes of one record; None when they are not, or no longer, in the log."""
        segment = self.segments.find(offset)
        if segment is None or offset + size > self.written:
            return None
        at = offset - segment.start
        return segment.view[at : at + size]

    def is_cached(self, start: int, end: int) -> bool:
        """Whether bytes of one segment are in memory; those that are not there any more cost no waiting either."""
        segment = self.segments.find(start)
        return segment is None or segment.is_cached(start, end - start)

    def fetch(self, start: int, end: int) -> None:
        """Bring bytes of one segment into memory, as far as they are written; for any thread."""
        segment = self.segments.find(start)
        if segment is not None:
            segment.fetch(start, min(end, segment.end, self.written))

    def record_at(self, offset: int) -> memoryview | None:
        """The record that starts at `offset`, for callers that cannot be trusted to know; None when none does."""
        head = self.view(offset, PHYSICAL_OFFSET_AT + 8)
        if head is None or int.from_bytes(head[PHYSICAL_OFFSET_AT:], "big", signed=True) != offset:
            return None
        size, magic = prefix(head)
        return self.view(offset, size) if magic != MAGIC_BLANK and size > len(head) else None

    def store_timestamp(self, offset: int, size: int) -> int | None:
        """When the record at a known place was stored; None when it is gone."""
        record = self.view(offset, size)
        return None if record is None else store_timestamp(record)

    def scan(self, start: int) -> "Scan":
        """The sound records from an offset on."""
        return Scan(self.segments, start)

    def reset(self, end: int) -> bool:
        """Make `end` the append position: what the files hold after it is erased; says whether there was anything.

        Whole segments after it are deleted. A stale record must not reappear behind a shorter new one.
        """
        changed = self.segments.remove_from(end, durable=True)
        segment = self.segments.find(end)
        if segment is not None:
            changed |= segment.erase(end)
        self.end = self.written = end
        self._limit = _NO_ROOM
        return changed

    def begin(self) -> None:
        """Have a first segment."""
        if not self.segments.run:
            self._extend(0)

    def prepare(self) -> Callable[[], None] | None:
        """What creates the next segment, for the flush thread, once this one is nearly full; asked repeatedly."""
        following = self.segments.end
        if following - self.end > self.segments.file_bytes // _PREPARE_PART or self._asked == following:
            return None
        self._asked = following
        return self.segments.prepare_job(following)

    def prepared(self) -> None:
        """The job that `prepare` gave out last is done."""
        self._prepared = self._asked

    def drop_unused(self) -> None:
        """Delete the segments that nothing was appended to."""
        self.segments.remove_from(self.end)
        if self._asked is not None:
            self.segments.drop_prepared(self._asked)

    def close(self) -> None:
        """Let go of the files."""
        self.segments.close()

    def _make_room(self, size: int) -> None:
        """Reserve blocks for `size` more bytes, in the next segment when they do not fit this one."""
        if size + BLANK_BYTES > self.segments.file_bytes:
            raise MessageTooLarge(f"{size} bytes do not fit a segment of {self.segments.file_bytes} bytes")
        segment = self.segments.find(self.end) or self._extend(self.end)
        if self.end + size + BLANK_BYTES > segment.end:
            following = self.segments.find(segment.end) or self._extend(segment.end)
            limit = self._reserve(following, following.start, size)
            self._close_segment(segment)
            segment = following
        else:
            limit = self._reserve(segment, self.end, size)
        self._pwrite, self._active_start = segment.pwrite, segment.start
        self._limit = limit - BLANK_BYTES

    def _extend(self, start: int) -> MappedFile:
        """Add a segment, durably: after a power loss the log may end early but has no gap."""
        return self.segments.extend(start, durable=start != self._prepared)

    def _close_segment(self, full: MappedFile) -> None:
        """Write what is pending and the blank record, and go on after them."""
        if self._limit == _NO_ROOM:
            full.reserve(self.end, BLANK_BYTES)
        full.write(b"".join([*self._pending, blank(full.end - self.end)]), self.written)
        self._pending.clear()
        self.end = self.written = full.end

    def _reserve(self, segment: MappedFile, start: int, size: int) -> int:
        """Reserve a window from `start`, or on a nearly full disk what `size` needs, and say where it ends."""
        needed = start + size + BLANK_BYTES
        wanted = min(segment.end, max(needed, start + self._reserve_bytes))
        try:
            segment.reserve(start, wanted - start)
        except NoSpace:
            wanted = needed
            segment.reserve(start, wanted - start)
        return wanted


class Scan:
    """Iterates over the sound records from an offset on, through blanks, up to the first thing that is none.

    A record is sound when its lengths add up, its body matches the CRC and it says that it belongs where it is.
    end: after the last record, or blank, that was met so far.
    """

    def __init__(self, segments: MappedFileQueue, start: int) -> None:
        self._segments = segments
        self.end = start

    def __iter__(self) -> Iterator[RecordFacts]:
        while (segment := self._segments.find(self.end)) is not None:
            yield from self._records_of(segment)
            if self.end != segment.end:
                return

    def _records_of(self, segment: MappedFile) -> Iterator[RecordFacts]:
        length = _FIRST_CHUNK  # a clean start reads no more than that
        while True:
            base = self.end
            chunk = segment.read(min(length, segment.end - base), base)
            yield from self._records_in(chunk, base, segment.end)
            if self.end == segment.end:
                return
            if self.end != base:
                length = _SCAN_CHUNK
                continue
            if len(chunk) < BLANK_BYTES:
                return
            size, magic = prefix(chunk)
            if magic not in RECORD_MAGICS or not len(chunk) < size <= segment.end - base:
                return
            length = size  # a record larger than the chunk

    def _records_in(self, chunk: bytes, base: int, segment_end: int) -> Iterator[RecordFacts]:
        at, last = 0, len(chunk) - BLANK_BYTES
        while at <= last:
            size, magic = prefix(chunk, at)
            if magic == MAGIC_BLANK:
                if size == segment_end - base - at:
                    self.end = segment_end
                return
            try:
                facts = inspect_fast(chunk, at)
            except CorruptRecord:
                return
            if facts.physical_offset != base + at:
                return
            at += size
            self.end = base + at
            yield facts
