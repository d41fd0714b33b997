"""Reading a CommitLog that may be damaged: whole records in order, and what lies between them.

A record is whole when its lengths add up, its body matches its checksum, and it says to be where it is. After
something else the scan goes on at the next whole record, if there is one: by the size that the damaged one claims, else
by search.
"""

from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple
from zlib import crc32

from protocol.record import (
    CRC_MASK,
    MAGIC_BLANK,
    MAGIC_V1,
    MAGIC_V2,
    MIN_RECORD_BYTES,
    PHYSICAL_OFFSET_AT,
    RECORD_MAGICS,
    CorruptRecord,
    RecordFacts,
    inspect_fast,
    prefix,
)
from rmq_server.store.layout import BLANK_BYTES
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.files import Reader
from rmq_server.storetools.runs import Run, Segment

_CHUNK = 1 << 20
_MAX_RECORD_BYTES = 64 << 20
_MAGICS = tuple(magic.to_bytes(4, "big", signed=True) for magic in (MAGIC_V1, MAGIC_V2))
_HEAD_BYTES = PHYSICAL_OFFSET_AT + 8
_CRC_PROPERTY = b"__CRC32#\x01"
_CRC_PROPERTY_BYTES = len(_CRC_PROPERTY) + 11


class Found(NamedTuple):
    """A whole record: at `at` in `data`."""

    facts: RecordFacts
    data: bytes
    at: int


class Damage(NamedTuple):
    """Bytes [offset, resumes) of the log are no record; is_tail: no queue knows a message from there on."""

    segment: Segment
    offset: int
    reason: str
    resumes: int | None
    is_tail: bool


class LogReader:
    """Single records, for those who know where; a window of the log is kept, so that reading in order is cheap."""

    def __init__(self, run: Run, reader: Reader) -> None:
        self._run = run
        self._reader = reader
        self._window = b""
        self._window_start = 0

    def record_at(self, offset: int) -> Found | None:
        """The whole record at an offset; None when there is none."""
        head = self._read(offset, _HEAD_BYTES)
        if len(head) < _HEAD_BYTES or not _claims(head, 0, offset):
            return None
        size = prefix(head)[0]
        if not MIN_RECORD_BYTES <= size <= _MAX_RECORD_BYTES:
            return None
        try:
            data = self._read(offset, size)
            return Found(inspect_fast(data), data, 0)
        except CorruptRecord:
            return None

    def _read(self, offset: int, length: int) -> bytes:
        at = offset - self._window_start
        if not (at >= 0 and at + length <= len(self._window)):
            segment = self._run.find(offset)
            if segment is None:
                return b""
            size = min(max(length, 1 << 16), segment.end - offset)
            self._window = self._reader.read(segment.path, size, offset - segment.start)
            self._window_start, at = offset, 0
        return self._window[at : at + length]


class LogScan:
    """Iterate over the whole records from `start` on; afterwards `end` is one past the last of them.

    on_damage: called for what is skipped, and for a tail that is not whole; then the scan is at its end.
    skip:      says of a segment that nobody wants its records.
    """

    def __init__(
        self,
        store: StoreDirectory,
        *,
        start: int = 0,
        on_damage: Callable[[Damage], None],
        progress: Progress = no_progress,
        skip: Callable[[Segment], bool] = lambda segment: False,
    ) -> None:
        self._run = store.log
        self._reader = store.reader
        self._single = LogReader(store.log, store.reader)
        self._known_end = store.known_end
        self._on_damage = on_damage
        self._progress = progress
        self._skip = skip
        self._position = max(start, self._run.start)
        self.end = self._position

    def __iter__(self) -> Iterator[Found]:
        for segment in self._run.segments:
            if segment.end <= self._position:
                continue
            self._position = max(self._position, segment.start)
            if self._skip(segment):
                self._advance(segment.end)
                continue
            while self._position < segment.end:
                yield from self._records_of(segment)
                if self._position < segment.end and not self._get_over(segment):
                    return

    def _advance(self, position: int) -> None:
        self._progress(position - self._position)
        self._position = position

    def _records_of(self, segment: Segment) -> Iterator[Found]:
        """Until the segment ends or something else than a record comes."""
        length = _CHUNK
        while self._position < segment.end:
            base = self._position
            chunk = self._reader.read(segment.path, min(length, segment.end - base), base - segment.start)
            at = yield from self._records_in(chunk, base, segment)
            if self._position != base + at:  # a blank record took it to the end
                return
            if at:
                length = _CHUNK
                continue
            wanted = self._wanted(chunk, base)
            if not len(chunk) < wanted <= segment.end - base or len(chunk) < length:
                return
            length = wanted

    def _records_in(self, chunk: bytes, base: int, segment: Segment) -> Generator[Found, None, int]:
        at, last = 0, len(chunk) - BLANK_BYTES
        while at <= last:
            size, magic = prefix(chunk, at)
            if magic == MAGIC_BLANK and size == segment.end - base - at:
                self._advance(segment.end)
                return at
            try:
                facts = inspect_fast(chunk, at)
            except CorruptRecord:
                break
            if facts.physical_offset != base + at:
                break
            yield Found(facts, chunk, at)
            at += size
            self.end = base + at
        self._advance(base + at)
        return at

    def _wanted(self, chunk: bytes, base: int) -> int:
        """How many bytes the record that the chunk starts with should have; 0 when it does not look like one."""
        if len(chunk) < _HEAD_BYTES or not _claims(chunk, 0, base):
            return 0
        size = prefix(chunk)[0]
        return size if size <= _MAX_RECORD_BYTES else 0

    def _get_over(self, segment: Segment) -> bool:
        """Go on after what is no record; False at the end of the log."""
        position = self._position
        rest = self._reader.read(segment.path, min(_CHUNK, segment.end - position), position - segment.start)
        resumes = self._next_record(segment, position)
        is_empty = resumes is None and not self._has_data(segment, position)
        if resumes is None:
            resumes = self._later(segment)
        if is_empty and (position >= self._known_end or resumes is None):
            self._advance(self._run.end)
            return False
        is_tail = bool(self._known_end) and position >= self._known_end
        if not is_tail or rest.strip(b"\0"):
            self._on_damage(Damage(segment, position, _reason(rest, position, segment), resumes, is_tail))
        if is_tail or resumes is None:
            self._advance(self._run.end)
            return False
        self._advance(resumes)
        return True

    def _next_record(self, segment: Segment, position: int) -> int | None:
        """The next whole record, or blank record, of the segment."""
        head = self._reader.read(segment.path, _HEAD_BYTES, position - segment.start)
        if len(head) >= BLANK_BYTES:
            following = position + prefix(head)[0]
            if position < following <= segment.end - BLANK_BYTES and self._starts_at(segment, following):
                return following
        for start, end in self._reader.data_ranges(segment.path, position - segment.start):
            at = max(start, position + 1 - segment.start)
            while at < end:
                data = self._reader.read(segment.path, _CHUNK, at)
                for candidate in _candidates(data):
                    if self._starts_at(segment, segment.start + at + candidate):
                        return segment.start + at + candidate
                if len(data) < _CHUNK:
                    break
                at += _CHUNK - BLANK_BYTES
        return None

    def _starts_at(self, segment: Segment, offset: int) -> bool:
        head = self._reader.read(segment.path, BLANK_BYTES, offset - segment.start)
        if len(head) < BLANK_BYTES:
            return False
        size, magic = prefix(head)
        if magic == MAGIC_BLANK:
            return size == segment.end - offset
        return magic in RECORD_MAGICS and self._single.record_at(offset) is not None

    def _later(self, segment: Segment) -> int | None:
        """The start of the next segment that has a record."""
        for later in self._run.segments:
            if later.start >= segment.end:
                if self._starts_at(later, later.start):
                    return later.start
                found = self._next_record(later, later.start)
                if found is not None:
                    return found
        return None

    def _has_data(self, segment: Segment, position: int) -> bool:
        for start, end in self._reader.data_ranges(segment.path, position - segment.start):
            for at in range(start, end, _CHUNK):
                if self._reader.read(segment.path, min(_CHUNK, end - at), at).strip(b"\0"):
                    return True
        return False


def has_its_crc(found: Found) -> bool:
    """Whether a record matches the checksum of all its bytes, which few records have as their last property."""
    tail = found.facts.properties[-_CRC_PROPERTY_BYTES:]
    if not tail.startswith(_CRC_PROPERTY):
        return True
    end = found.at + found.facts.size - _CRC_PROPERTY_BYTES
    stated = tail[len(_CRC_PROPERTY) : -1][::-1]  # its digits are written backwards
    return stated == b"%010d" % (crc32(found.data[found.at : end]) & CRC_MASK)


def without_crc(properties: bytes) -> bytes:
    """Properties without that checksum, for a record that will be another."""
    has_one = properties[-_CRC_PROPERTY_BYTES:].startswith(_CRC_PROPERTY)
    return properties[:-_CRC_PROPERTY_BYTES] if has_one else properties


def _claims(data: bytes, at: int, offset: int) -> bool:
    """Whether a head says that it is a record, and at this offset."""
    stated = int.from_bytes(data[at + PHYSICAL_OFFSET_AT : at + _HEAD_BYTES], "big", signed=True)
    return prefix(data, at)[1] in RECORD_MAGICS and stated == offset


def _candidates(data: bytes) -> Iterator[int]:
    """Where records may start, by their magic; blank records too."""
    blank = MAGIC_BLANK.to_bytes(4, "big", signed=True)
    places = []
    for magic in (*_MAGICS, blank):
        at = data.find(magic, 4)
        while at >= 0:
            places.append(at - 4)
            at = data.find(magic, at + 1)
    yield from sorted(places)


def _reason(data: bytes, offset: int, segment: Segment) -> str:
    """What is wrong with the record that should start here."""
    if len(data) < BLANK_BYTES:
        return "the file ends here"
    size, magic = prefix(data)
    if (size, magic) == (0, 0):
        return "zeros instead of a record"
    if magic == MAGIC_BLANK:
        return f"the blank record claims {size} bytes, {segment.end - offset} are left"
    try:
        facts = inspect_fast(data)
    except CorruptRecord as error:
        return str(error).partition(": ")[2]
    return f"the record says to be at offset {facts.physical_offset}"
