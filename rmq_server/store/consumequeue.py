"""ConsumeQueues: for each queue of a topic, where its messages are in the CommitLog. Derived; can be rebuilt.

    min_offset   the first message that is still there
    max_offset   one past the last message that readers may see
    next_offset  the queue offset of the next message; its entry may still be in `buffer`
Entry k of a queue is at byte 20 * k of its files. Entries are gathered in `buffer` during a loop turn and written by
one call at its end.

Invariants: entries are in CommitLog order; an index never shifts: a gap is filled with pre-blank entries.
Differs: upstream appends an entry with a gap at the end of the queue, which shifts all that follow.
Source: apache/rocketmq: store/.../ConsumeQueue.java, queue/ConsumeQueueStore.java
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from protocol.flags import MessageSysFlag
from protocol.record import RecordFacts
from rmq_server.store.errors import CorruptStore, StoreError, UnsupportedStore
from rmq_server.store.files import Files
from rmq_server.store.layout import ENTRY, ENTRY_BYTES, PRE_BLANK, PRE_BLANK_SIZE
from rmq_server.store.mapped_file import MappedFile, OpenFiles
from rmq_server.store.mapped_file_queue import MappedFileQueue

REBUILD_BUFFER = 1 << 16
_MAX_GAP = 1_000_000
_RECENT_ENTRIES = 1 << 15
_FETCH_BYTES = 1 << 17
_BLOCK_ENTRIES = 4096 // ENTRY_BYTES

_ZEROS = bytes(_BLOCK_ENTRIES * ENTRY_BYTES)

_unpack_entry = ENTRY.unpack_from

NOT_QUEUED = frozenset({MessageSysFlag.TRANSACTION_PREPARED, MessageSysFlag.TRANSACTION_ROLLBACK})
"""Transaction bits of records that no queue has an entry for."""

TagsCodeOf = Callable[[RecordFacts], int]


class ConsumeQueue:
    """One queue."""

    __slots__ = (
        "_first",
        "_written",
        "buffer",
        "cached_from",
        "files",
        "max_offset",
        "min_offset",
        "next_offset",
        "physical_end",
        "queue_id",
        "tags_codes",
        "topic",
        "unsynced_bytes",
        "unsynced_from",
        "unsynced_since_ms",
    )

    def __init__(self, topic: str, queue_id: int, files: MappedFileQueue) -> None:
        self.topic = topic
        self.queue_id = queue_id
        self.files = files
        self.buffer = bytearray()
        self.tags_codes: list[int] = []  # of the entries that no reader was told about
        self.min_offset = self.max_offset = self.next_offset = self._written = 0
        self._first = -1  # physical offset of the first entry, as far as known
        self.cached_from = 0  # what was written since the start is taken to be in memory for a while
        self.physical_end = 0  # where the last message ends in the CommitLog; kept during recovery only
        self.unsynced_bytes = 0
        self.unsynced_since_ms: int | None = None  # store time of the first message whose entry may not be on disk
        self.unsynced_from = 0  # an offset of the CommitLog that is not behind that message

    def write(self, since_ms: int, since: int = 0) -> None:
        """Write the buffer; what fails stays there.

        since_ms, since: store time of its first message, and its offset in the CommitLog or one before it.
        """
        start = self._written * ENTRY_BYTES
        buffer = self.buffer
        size = done = len(buffer)
        if size:
            file = self.files.find(start) or self.files.extend(start)
            done = min(size, file.end - start)
            file.write(buffer if done == size else buffer[:done], start)
        while done < size:
            file = self.files.find(start + done) or self.files.extend(start + done)
            piece = buffer[done : done + self.files.file_bytes]
            file.write(piece, start + done)
            done += len(piece)
        buffer.clear()
        self._written = self.next_offset
        self.unsynced_bytes += size
        if self.unsynced_since_ms is None:
            self.unsynced_since_ms = since_ms
            self.unsynced_from = since

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` written entries of the file that holds entry `offset`."""
        file = self.files.find(offset * ENTRY_BYTES)
        if file is None:
            return b""
        at = offset * ENTRY_BYTES
        return file.read(min(count * ENTRY_BYTES, file.end - at), at)

    def is_cached(self, offset: int, count: int) -> bool:
        """Whether reading so many entries waits for no disk."""
        if offset >= self.cached_from and self.next_offset - offset <= _RECENT_ENTRIES:
            return True
        at = offset * ENTRY_BYTES
        file = self.files.find(at)
        return file is None or file.is_cached(at, min(count * ENTRY_BYTES, file.end - at))

    def fetch(self, offset: int) -> None:
        """Bring entries from `offset` on into memory; for any thread."""
        at = offset * ENTRY_BYTES
        file = self.files.find(at)
        if file is not None:
            with suppress(StoreError):  # whoever reads then will say what is wrong
                file.fetch(at, min(file.end, at + _FETCH_BYTES))

    def entry(self, offset: int) -> tuple[int, int, int] | None:
        """Physical offset, size and tags code of a written message; None for a pre-blank entry or none at all."""
        data = self.read(offset, 1)
        if len(data) < ENTRY_BYTES:
            return None
        physical, size, tags_code = _unpack_entry(data)
        return None if size == PRE_BLANK_SIZE or size <= 0 else (physical, size, tags_code)

    def physical_offset(self, offset: int) -> int:
        """Where the message of a written entry starts in the CommitLog; -1 for a pre-blank entry."""
        entry = self.entry(offset)
        return entry[0] if entry else -1

    def load(self, limit: int | None, holds: "Holds | None" = None) -> None:
        """Find the end of the entries on disk, ignoring those that point to `limit` or beyond, and erase what follows.

        Entries are searched by halving, which is right as long as what precedes the end is whole. The last one may be
        torn: a part of an offset is an offset before the limit. `holds` tells.
        """
        self.files.load(repair=limit is not None)
        for file in reversed(self.files.run):
            if self._end_in(file, limit, holds):
                break
        else:
            self._set_end(self.files.start // ENTRY_BYTES)
        if self._first < 0:
            self._first = self._first_physical()

    def truncate(self, limit: int) -> None:
        """Drop the entries that point to `limit` or beyond."""
        entries = range(self.files.start // ENTRY_BYTES, self.next_offset)
        self._set_end(entries.start + bisect_left(entries, limit, key=self.physical_offset))

    def correct_min(self, physical_min: int) -> None:
        """Find the first message that the CommitLog, which starts at `physical_min`, still has."""
        self.min_offset = self.first_kept(physical_min)

    def first_kept(self, physical_min: int) -> int:
        """The first message at `physical_min` or later; changes nothing, and may be called from any thread."""
        entries = range(self.files.start // ENTRY_BYTES, self._written)
        if not entries or (self._first if self._first >= 0 else self.physical_offset(entries[0])) >= physical_min:
            return entries.start
        if self.physical_offset(entries[-1]) < physical_min:
            return entries.stop
        return entries.start + bisect_left(entries, physical_min, key=self.physical_offset)

    def forget_before(self, offset: int) -> list[MappedFile]:
        """Make `offset` the first message; the files that hold only earlier ones, but not the last, are detached."""
        self.min_offset = max(self.min_offset, offset)
        gone = []
        while len(self.files.run) > 1 and self.files.run[0].end <= offset * ENTRY_BYTES:
            self._first = -1
            gone.append(self.files.run[0])
            self.files.detach_first(gone[-1])
        return gone

    def push(self, physical_offset: int, size: int, tags_code: int) -> None:
        """Add the entry of the next message; MessageStore.put has the same lines in place."""
        self.buffer += ENTRY.pack(physical_offset, size, tags_code)
        self.next_offset += 1

    def skip_to(self, offset: int) -> None:
        """Fill the gap before the message at `offset` with pre-blank entries; a queue without any may go anywhere."""
        if self.is_empty:
            file_entries = self.files.file_bytes // ENTRY_BYTES
            start = offset // file_entries * file_entries
            if start * ENTRY_BYTES != self.files.start:
                self.files.remove_from(0)
            self.next_offset = self._written = start
        gap = offset - self.next_offset
        if gap > _MAX_GAP:
            raise CorruptStore(
                f"a record claims queue offset {offset}, but the queue ends at {self.next_offset}",
                path=self.files.directory,
            )
        self.buffer += PRE_BLANK * gap
        self.next_offset = offset

    @property
    def is_empty(self) -> bool:
        """Whether there is no entry, so that nothing but the next message decides where the queue goes on."""
        return not self.buffer and (not self.files.run or self._written * ENTRY_BYTES == self.files.start)

    def clear(self) -> None:
        """Drop every entry and start at 0 again."""
        self.buffer.clear()
        self._first = -1
        self.files.remove_from(0)
        self.min_offset = self.max_offset = self.next_offset = self._written = self.physical_end = 0

    def sync_job(self) -> Callable[[], None]:
        """What makes everything written so far durable; to be called once, from any thread."""
        start = max(0, self._written * ENTRY_BYTES - self.unsynced_bytes)
        self.unsynced_bytes = 0
        return self.files.sync_job(start, self._written * ENTRY_BYTES)

    def _first_physical(self) -> int:
        first = self.files.start // ENTRY_BYTES
        return self.physical_offset(first) if first < self._written else -1

    def _end_in(self, file: MappedFile, limit: int | None, holds: "Holds | None") -> bool:
        """Make the end of the entries the queue's, if it is in this file.

        It usually is in the last block that holds data, so that one read tells.
        """
        first = file.start // ENTRY_BYTES
        data_end = -(-file.data_end() // ENTRY_BYTES)
        start = max(first, data_end - _BLOCK_ENTRIES)
        data = self.read(start, data_end - start) if start < data_end else b""
        kept = _entries_in(data, limit)
        if kept and holds is not None and not self._is_whole(_unpack_entry(data, (kept - 1) * ENTRY_BYTES), holds):
            kept -= 1
        rest = data[kept * ENTRY_BYTES :]
        erase = rest != _ZEROS[: len(rest)]
        if erase and limit is None:
            # After a clean stop nothing follows the entries: a hole is among them, as long as the last one is sound.
            last = -(-len(data.rstrip(b"\0")) // ENTRY_BYTES)
            if _counts(_unpack_entry(data, (last - 1) * ENTRY_BYTES), None):
                kept, erase = last, False
        if kept:
            if start == self.files.start // ENTRY_BYTES:
                physical, size, _ = _unpack_entry(data)
                self._first = -1 if size == PRE_BLANK_SIZE or size <= 0 else physical
            self._set_end(start + kept, erase=erase, last=_unpack_entry(data, (kept - 1) * ENTRY_BYTES))
            return True
        if start == first or not self._counts_at(first, limit):
            return False
        entries = range(first, start)
        end = first + bisect_left(entries, True, key=lambda offset: not self._counts_at(offset, limit))
        if holds is not None and not self._is_whole(_unpack_entry(self.read(end - 1, 1)), holds):
            end -= 1
        self._set_end(end)
        return True

    def _is_whole(self, entry: tuple[int, int, int], holds: "Holds") -> bool:
        physical, size, _ = entry
        return size == PRE_BLANK_SIZE or holds(self, physical, size)

    def _counts_at(self, offset: int, limit: int | None) -> bool:
        data = self.read(offset, 1)
        return len(data) == ENTRY_BYTES and _counts(_unpack_entry(data), limit)

    def _set_end(self, end: int, *, erase: bool = True, last: tuple[int, int, int] | None = None) -> None:
        """Make `end` the next offset; later files are deleted, later entries erased. The first file stays in any case:
        to delete and create it is slow, and most queues that lose all entries to a crash get them back.

        erase: whether there may be any in the file that holds the end; last: the entry before the end, if known.
        """
        changed = self.files.remove_from(max(end * ENTRY_BYTES, self.files.start + 1))
        file = self.files.find(end * ENTRY_BYTES) if erase else None
        if file is not None:
            changed |= file.erase(end * ENTRY_BYTES)
        if changed:
            self.unsynced_since_ms = self.unsynced_from = 0
            self.unsynced_bytes += self.files.file_bytes
        self.next_offset = self._written = end
        if last is None and end * ENTRY_BYTES > self.files.start:
            last = self.entry(end - 1)
        self.physical_end = last[0] + last[1] if last and last[1] != PRE_BLANK_SIZE else 0


def _entries_in(data: bytes, limit: int | None) -> int:
    """How many entries at the beginning of `data` count; written out, because a start asks it of every queue."""
    below = 1 << 63 if limit is None else limit
    low, high = 0, len(data) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        physical, size, _ = _unpack_entry(data, middle * ENTRY_BYTES)
        if 0 <= physical < below and size > 0:
            low = middle + 1
        else:
            high = middle
    return low


def _counts(entry: tuple[int, int, int], limit: int | None) -> bool:
    """Whether it is an entry, pre-blank ones included, of a message before `limit`."""
    physical, size, _ = entry
    return physical >= 0 and size > 0 and (limit is None or physical < limit)


Holds = Callable[[ConsumeQueue, int, int], bool]
"""Whether the log has a record of this queue with this physical offset and size, or had one before its start."""


class ConsumeQueueStore:
    """Every queue of every topic."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        file_bytes: int,
        tags_code_of: TagsCodeOf,
        open_files: OpenFiles | None = None,
    ) -> None:
        self._files = files
        self._open_files = open_files
        self._directory = directory
        self._file_bytes = file_bytes
        self._tags_code_of = tags_code_of
        self.queues: dict[tuple[str, int], ConsumeQueue] = {}

    def load(self, limit: int | None, holds: Holds | None = None) -> None:
        """Find the queues on disk, without their entries that point to `limit` or beyond; see ConsumeQueue.load."""
        for topic in self._files.list(self._directory):
            directory = self._directory / topic.name
            for queue in self._files.list(directory) if topic.is_dir else ():
                if not (queue.is_dir and queue.name.isascii() and queue.name.isdigit()):
                    raise UnsupportedStore(
                        "the name is not a queue id, so it does not belong here: move it away",
                        path=directory / queue.name,
                    )
                self.create(topic.name, int(queue.name), directory / queue.name).load(limit, holds)

    def create(self, topic: str, queue_id: int, directory: Path | None = None) -> ConsumeQueue:
        """A queue that has no entry yet; its directory appears with the first."""
        if directory is None:
            directory = self._directory / topic / str(queue_id)
        files = MappedFileQueue(
            self._files,
            directory,
            self._file_bytes,
            size_key="mappedFileSizeConsumeQueue",
            new_levels=3,
            open_files=self._open_files,
        )
        queue = self.queues[topic, queue_id] = ConsumeQueue(topic, queue_id, files)
        return queue

    def replay(self, facts: RecordFacts) -> None:
        """Add the entry of a record that was found in the CommitLog, unless its queue has it."""
        if facts.sys_flag & MessageSysFlag.TRANSACTION_MASK in NOT_QUEUED:
            return
        key = facts.topic, facts.queue_id
        queue = self.queues.get(key) or self.create(*key)
        end = facts.physical_offset + facts.size
        if end <= queue.physical_end:
            return
        if facts.queue_offset != queue.next_offset:
            if facts.queue_offset > queue.next_offset or queue.is_empty:
                queue.skip_to(facts.queue_offset)
            elif facts.queue_offset == 0:
                queue.clear()  # the topic was deleted and made anew: the later record is the one that counts
            else:
                return
        queue.push(facts.physical_offset, facts.size, self._tags_code_of(facts))
        queue.physical_end = end
        if len(queue.buffer) >= REBUILD_BUFFER:
            queue.write(0)

    def settle(self, physical_min: int, durable_until_ms: int, durable_end: int = 0) -> None:
        """End recovery: write what was rebuilt, and show readers what is there.

        durable_until_ms, durable_end: entries of messages stored until then, or before that offset of the CommitLog,
        were on disk already.
        """
        for queue in self.queues.values():
            if queue.buffer:
                queue.write(0)
            if queue.unsynced_since_ms is not None:
                queue.unsynced_since_ms = durable_until_ms
                queue.unsynced_from = durable_end
            queue.correct_min(physical_min)
            queue.max_offset = queue.cached_from = queue.next_offset

    @property
    def physical_end(self) -> int:
        """The end of the last message that any queue knows."""
        return max((queue.physical_end for queue in self.queues.values()), default=0)

    def unsynced(self) -> Iterator[ConsumeQueue]:
        """The queues with entries that may not be on disk."""
        return (queue for queue in self.queues.values() if queue.unsynced_since_ms is not None)

    def close(self) -> None:
        """Let go of the files."""
        for queue in self.queues.values():
            queue.files.close()
