"""One ConsumeQueue as it is on disk, read without trusting it."""

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from rmq_server.store.layout import ENTRY, ENTRY_BYTES, PRE_BLANK_SIZE
from rmq_server.storetools.files import Reader
from rmq_server.storetools.runs import Run, Segment

_BLOCK_ENTRIES = 100
_BLOCK_BYTES = _BLOCK_ENTRIES * ENTRY_BYTES


class Entry(NamedTuple):
    """Where a message is in the CommitLog."""

    physical_offset: int
    size: int
    tags_code: int

    @property
    def is_blank(self) -> bool:
        """Whether it only fills the index before the first message."""
        return self.size == PRE_BLANK_SIZE

    @property
    def is_sound(self) -> bool:
        return self.physical_offset >= 0 and self.size > 0


class Queue:
    """Entries [first, end) of one queue; `end` is one past the last entry that is not all zeros."""

    def __init__(self, topic: str, queue_id: int, run: Run, reader: Reader) -> None:
        self.topic = topic
        self.queue_id = queue_id
        self.run = run
        self._reader = reader
        self._block = b""
        self._block_first = 0

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.queue_id}"

    @property
    def first(self) -> int:
        return self.run.start // ENTRY_BYTES

    @cached_property
    def end(self) -> int:
        for segment in reversed(self.run.segments):
            used = self._used_bytes(segment)
            if used:
                return (segment.start + used + ENTRY_BYTES - 1) // ENTRY_BYTES
        return self.first

    @property
    def physical_end(self) -> int:
        """Where the last message ends in the CommitLog; 0 without one."""
        last = self.entry(self.end - 1) if self.end > self.first else None
        return last.physical_offset + last.size if last and last.is_sound and not last.is_blank else 0

    def entry(self, offset: int) -> Entry | None:
        """None where no file has it; cheap when offsets are asked in order."""
        at = (offset - self._block_first) * ENTRY_BYTES
        if not 0 <= at <= len(self._block) - ENTRY_BYTES:
            segment = self.run.find(offset * ENTRY_BYTES)
            if segment is None:
                return None
            position = offset * ENTRY_BYTES - segment.start
            self._block = self._reader.read(
                segment.path, min(_BLOCK_BYTES, segment.end - segment.start - position), position
            )
            self._block_first, at = offset, 0
            if len(self._block) < ENTRY_BYTES:
                return None
        return Entry._make(ENTRY.unpack_from(self._block, at))

    def min_offset(self, physical_min: int) -> int:
        """The first message that a CommitLog starting at `physical_min` still has; `end` when it has none."""

        def place(offset: int) -> int:
            entry = self.entry(offset)
            return -1 if entry is None or entry.is_blank else entry.physical_offset

        return self.first + bisect_left(range(self.first, self.end), physical_min, key=place)

    def place(self, offset: int) -> tuple[Segment, int] | None:
        """The file that has an entry, and the byte in it."""
        segment = self.run.find(offset * ENTRY_BYTES)
        return None if segment is None else (segment, offset * ENTRY_BYTES - segment.start)

    def forget(self) -> None:
        """Free the memory that fast reading took."""
        self._block = b""

    def _used_bytes(self, segment: Segment) -> int:
        for start, end in reversed(self._reader.data_ranges(segment.path, 0)):
            for at in range(end - (end - start) % _BLOCK_BYTES, start - 1, -_BLOCK_BYTES):
                block = self._reader.read(segment.path, min(_BLOCK_BYTES, end - at), at).rstrip(b"\0")
                if block:
                    return at + len(block)
        return 0


class Ranges:
    """A set of offsets that mostly grows at its end: kept as ranges, so that a whole queue costs one."""

    def __init__(self) -> None:
        self._ranges: list[list[int]] = []

    def add(self, offset: int) -> None:
        ranges = self._ranges
        if ranges and ranges[-1][1] == offset:
            ranges[-1][1] = offset + 1
        elif not ranges or ranges[-1][1] < offset:
            ranges.append([offset, offset + 1])
        else:
            self._insert(offset)

    def missing(self, start: int, end: int) -> Iterator[int]:
        """The offsets of [start, end) that were not added."""
        for low, high in self._ranges:
            yield from range(start, min(low, end))
            start = max(start, high)
        yield from range(start, end)

    def _insert(self, offset: int) -> None:
        at = bisect_left(self._ranges, offset, key=lambda each: each[1])
        if at < len(self._ranges) and self._ranges[at][0] <= offset < self._ranges[at][1]:
            return
        self._ranges.insert(bisect_left(self._ranges, offset, key=lambda each: each[0]), [offset, offset + 1])
