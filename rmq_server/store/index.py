"""IndexFiles: which records have a key, as hash chains on disk. Derived; can be rebuilt from the CommitLog.

A file, named by the local time of its creation (yyyyMMddHHmmssSSS):
    40 bytes header   i64 begin and end store time, i64 first and last physical offset, i32 used slots, i32 next entry
    n slots           i32 number of the newest entry of the chain; 0: none
    m entries         i32 hash, i64 physical offset, i32 seconds since begin, i32 next older entry of the chain; the
                      first is never used
The hash is of `topic#key`; keys are UNIQ_KEY and each word of KEYS. n and m are not in the file: they are configured.

Entries are appended as they come. Slots are kept in memory for the file that is appended to, and written, with the
header, when the file is synced: between two syncs a file on disk is whole as of its header. A sync first marks the
header as unsafe (end time in the far future), so that after a crash in its middle the file is dropped and rebuilt.

Invariant: a file is whole when its end time is not after the checkpoint's index time, or the stop was clean.
Differs: upstream syncs only full files, so a crash costs it the current one, and rebuilds no more than recovery reads.
Source: apache/rocketmq: store/.../index/IndexFile.java, IndexHeader.java, IndexService.java
"""

import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from mmap import mmap
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import NamedTuple

import structlog

from protocol.flags import MessageSysFlag
from protocol.hashing import index_key_hash, index_key_hashes
from protocol.record import RecordFacts
from rmq_server.core.clock import Clock
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.dispatch import encoded_keys_of
from rmq_server.store.errors import NoSpace, StoreError, UnsupportedStore, from_os_error
from rmq_server.store.files import File, Files, make_durable_dirs
from rmq_server.store.flush import Worker

_HEADER = Struct(">qqqqii")
_ENTRY = Struct(">iqii")
_SLOT = Struct(">i")
_pack_entry = _ENTRY.pack
_HEADER_BYTES, _ENTRY_BYTES, _SLOT_BYTES = _HEADER.size, _ENTRY.size, _SLOT.size

_UNSAFE_MS = 2**63 - 1
_MAX_SECONDS = 2**31 - 1
PAGE_SLOTS = 1024
_WRITE_PAGES = 64  # that are written together
_READ_BYTES = 1 << 20
_SYNC_SECONDS = 60.0
_NAME_DIGITS = 17

_ROLLBACK = MessageSysFlag.TRANSACTION_ROLLBACK

logger = structlog.get_logger(__name__)


class IndexSettings(NamedTuple):
    """The two numbers that make the layout of a file."""

    slots: int
    entries: int

    @property
    def file_bytes(self) -> int:
        return _HEADER_BYTES + self.slots * _SLOT_BYTES + self.entries * _ENTRY_BYTES


class NewEntry(NamedTuple):
    """One key of a record."""

    key_hash: int
    offset: int
    store_ms: int


class SlotTable:
    """The slots of one file in memory; what was never touched takes none."""

    def __init__(self, count: int) -> None:
        self.values = memoryview(mmap(-1, count * _SLOT_BYTES)).cast("i")
        self.dirty: set[int] = set()  # pages that differ from the file
        self._snapshot: SlotSnapshot | None = None

    def load(self, file: File) -> None:
        """Read what the file has."""
        stop = _HEADER_BYTES + len(self.values) * _SLOT_BYTES
        for start, end in file.data_ranges(_HEADER_BYTES):
            first = (start - _HEADER_BYTES) // _SLOT_BYTES * _SLOT_BYTES + _HEADER_BYTES
            for at in range(first, min(end, stop), _READ_BYTES):
                data = file.pread(min(_READ_BYTES, stop - at), at)
                slot = (at - _HEADER_BYTES) // _SLOT_BYTES
                self.values[slot : slot + len(data) // _SLOT_BYTES] = memoryview(_swapped(array("i", data)))

    def snapshot(self) -> "SlotSnapshot":
        """What differs from the file as it is now; it counts as written from now on."""
        pages, self.dirty = self.dirty, set()
        self._snapshot = SlotSnapshot(self.values, pages)
        return self._snapshot

    @property
    def uncopied(self) -> "SlotSnapshot | None":
        """The snapshot that must be told before a page changes; None when it has all its pages."""
        return self._snapshot if self._snapshot is not None and self._snapshot.pending else None


class SlotSnapshot:
    """Pages of slots as they were at one moment, to be written by another thread.

    Copying all of them at once would hold the loop up (5 million slots: 20 ms), so a page is copied when it is written,
    or just before it changes, whichever comes first.
    """

    def __init__(self, values: "memoryview[int]", pages: set[int]) -> None:
        self.pending = pages
        self._values = values
        self._runs = _runs(pages)
        self._kept: dict[int, bytes] = {}
        self._lock = Lock()

    def keep(self, page: int) -> None:
        """Copy a page that is about to change."""
        if page in self.pending:
            with self._lock:
                if page in self.pending:
                    self._kept[page] = self._copy(page)
                    self.pending.discard(page)

    def pieces(self) -> Iterator[tuple[int, "array[int]"]]:
        """Offset in the file and content of all pages, neighbours joined; once, from any thread."""
        for first, stop in self._runs:
            yield (
                _HEADER_BYTES + first * PAGE_SLOTS * _SLOT_BYTES,
                array("i", b"".join(map(self._take, range(first, stop)))),
            )

    def _take(self, page: int) -> bytes:
        with self._lock:
            if page in self.pending:
                data = self._copy(page)
                self.pending.discard(page)  # not earlier: `keep` looks without the lock
                return data
            return self._kept.pop(page)

    def _copy(self, page: int) -> bytes:
        return self._values[page * PAGE_SLOTS : (page + 1) * PAGE_SLOTS].cast("B").tobytes()


def _runs(pages: set[int]) -> list[tuple[int, int]]:
    """Neighbours joined, up to what is written at once: first page and the one behind the last."""
    runs: list[tuple[int, int]] = []
    for page in sorted(pages):
        if runs and runs[-1][1] == page and page - runs[-1][0] < _WRITE_PAGES:
            runs[-1] = runs[-1][0], page + 1
        else:
            runs.append((page, page + 1))
    return runs


def _swapped(numbers: "array[int]") -> "array[int]":
    """32-bit numbers turned from the machine's order to that of the file, or back."""
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


class IndexFile:
    """One file. Entries are numbered from 1; `count` is the number of the next.

    Every method raises StoreError for what the system refuses.
    """

    def __init__(self, files: Files, path: Path, settings: IndexSettings) -> None:
        self.path = path
        self.begin_ms = self.end_ms = self.begin_offset = self.end_offset = self.used_slots = 0
        self.count = 1
        self.slots: SlotTable | None = None  # of a file that is appended to, or not yet synced since
        self._files = files
        self._file: File | None = None
        self._slot_count, self._entry_count = settings
        self._entries_at = _HEADER_BYTES + settings.slots * _SLOT_BYTES
        self._bytes = settings.file_bytes
        self._buffer = bytearray()
        self._written = 1  # number of the first entry in the buffer
        self._new = False

    @property
    def is_full(self) -> bool:
        return self.count >= self._entry_count

    @property
    def is_dirty(self) -> bool:
        """Whether a sync has something to do."""
        return self.slots is not None and bool(self.slots.dirty)

    @property
    def is_written(self) -> bool:
        """Whether no entry is left that the disk had no space for."""
        return not self._buffer

    def create(self, previous: "IndexFile | None") -> None:
        """Make the file exist at its full length, going on where another ended."""
        try:
            self._file = self._files.open(self.path, create=True)
            self._file.truncate(self._bytes)
        except OSError as error:
            raise from_os_error(error, self.path) from error
        self._new = True
        self.slots = SlotTable(self._slot_count)
        if previous is not None:
            self.begin_ms = self.end_ms = previous.end_ms
            self.begin_offset = self.end_offset = previous.end_offset

    @property
    def is_sound(self) -> bool:
        """Whether the header can be that of a file with entries."""
        return (
            1 < self.count <= self._entry_count
            and 0 <= self.begin_offset <= self.end_offset
            and 0 < self.used_slots <= min(self.count, self._slot_count)
        )

    def load(self) -> None:
        """Read the header."""
        self.begin_ms, self.end_ms, self.begin_offset, self.end_offset, self.used_slots, count = _HEADER.unpack(
            self._read(_HEADER_BYTES, 0)
        )
        self.count = self._written = max(1, count)

    def load_slots(self) -> None:
        """Get ready for appending."""
        self.slots = SlotTable(self._slot_count)
        try:
            self.slots.load(self._opened())
        except OSError as error:
            raise from_os_error(error, self.path) from error

    def put(self, entries: Sequence[NewEntry]) -> int:
        """Add entries until the file, which has its slots, is full; says how many."""
        assert self.slots is not None
        table, slot_count, buffer = self.slots, self._slot_count, self._buffer
        values, dirty, snapshot = table.values, table.dirty, table.uncopied
        number, begin_ms = self.count, self.begin_ms
        taken = entries[: self._entry_count - number]
        for key_hash, offset, store_ms in taken:
            slot = key_hash % slot_count
            older = values[slot]
            if not 0 < older <= number:
                older = 0
                self.used_slots += 1
            # The first entry of a file counts from the end of the one before, as upstream's does.
            seconds = (store_ms - begin_ms) // 1000 if begin_ms > 0 else 0
            if not 0 <= seconds <= _MAX_SECONDS:
                seconds = 0 if seconds < 0 else _MAX_SECONDS
            buffer += _pack_entry(key_hash, offset, seconds, older)
            if snapshot is not None:
                snapshot.keep(slot // PAGE_SLOTS)
            values[slot] = number
            dirty.add(slot // PAGE_SLOTS)
            if number == 1:
                self.begin_offset, self.begin_ms = offset, store_ms
                begin_ms = store_ms
            number += 1
        if taken:
            _, self.end_offset, self.end_ms = taken[-1]
        self.count = number
        return len(taken)

    def write(self) -> None:
        """Write the buffered entries; what fails stays buffered."""
        buffer = self._buffer
        if not buffer:
            return
        try:
            self._opened().pwrite(buffer, self._entries_at + self._written * _ENTRY_BYTES)
        except OSError as error:
            raise from_os_error(error, self.path) from error
        self._written = self.count
        buffer.clear()

    def entry(self, number: int) -> tuple[int, int, int, int]:
        """Hash, physical offset, seconds since begin, and next older entry."""
        at = (number - self._written) * _ENTRY_BYTES
        if at >= 0:
            return _ENTRY.unpack_from(self._buffer, at)
        return _ENTRY.unpack(self._read(_ENTRY_BYTES, self._entries_at + number * _ENTRY_BYTES))

    def newest(self, key_hash: int) -> int:
        """The number of the newest entry of a chain; 0 for none."""
        slot = key_hash % self._slot_count
        if self.slots is not None:
            return int(self.slots.values[slot])
        (number,) = _SLOT.unpack(self._read(_SLOT_BYTES, _HEADER_BYTES + slot * _SLOT_BYTES))
        return int(number)

    def chain(self, key_hash: int, begin_ms: int, end_ms: int) -> Iterator[int | None]:
        """Walk a chain, the newest entry first: physical offsets that may match by hash and time, None for the others.

        Times are exact to a second, so whoever needs more looks into the record.
        """
        number, limit = self.newest(key_hash), self.count
        while 0 < number < limit:
            found, offset, seconds, older = self.entry(number)
            stored_ms = self.begin_ms + seconds * 1000
            if stored_ms + 999 < begin_ms:
                return
            # What the seconds of the first entry count from was overwritten.
            yield offset if found == key_hash and (stored_ms <= end_ms or number == 1) else None
            number, limit = older, number  # older ones have smaller numbers: anything else is damage

    def entries_of_last(self) -> int:
        """How many of the last entries are of the last record."""
        number = self.count - 1
        while number > 0 and self.entry(number)[1] == self.end_offset:
            number -= 1
        return self.count - 1 - number

    def sync_job(self) -> Callable[[], None]:
        """What makes all of it durable, once entries are written; to be called once, from any thread."""
        assert self.slots is not None
        file, path, files = self._opened(), self.path, self._files
        fields = (self.begin_ms, self.end_ms, self.begin_offset, self.end_offset, self.used_slots, self.count)
        slots = self.slots.snapshot()
        new, self._new = self._new, False

        def sync() -> None:
            try:
                file.pwrite(_HEADER.pack(fields[0], _UNSAFE_MS, *fields[2:]), 0)
                file.sync()
                for at, data in slots.pieces():
                    file.pwrite(memoryview(_swapped(data)).cast("B"), at)
                file.sync()
                file.pwrite(_HEADER.pack(*fields), 0)
                file.sync()
                if new:
                    files.sync_dir(path.parent)
            except OSError as error:
                raise from_os_error(error, path) from error

        return sync

    def sync_again(self) -> None:
        """The last sync job failed, and may be tried again."""
        assert self.slots is not None
        self.slots.dirty.update(range(-(-self._slot_count // PAGE_SLOTS)))

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def remove(self) -> None:
        """Delete the file; searches that still use it may find nothing more."""
        self.close()
        try:
            self._files.remove(self.path)
        except OSError as error:
            raise from_os_error(error, self.path) from error

    def _read(self, length: int, at: int) -> bytes:
        try:
            data = self._opened().pread(length, at)
        except OSError as error:
            raise from_os_error(error, self.path) from error
        return data.ljust(length, b"\0")

    def _opened(self) -> File:
        if self._file is None:
            try:
                self._file = self._files.open(self.path)
            except OSError as error:
                raise from_os_error(error, self.path) from error
        return self._file


class _Sync(NamedTuple):
    """The work that makes a file durable as it was once, when it ended at a record."""

    file: IndexFile
    end_ms: int
    end_offset: int
    job: Callable[[], None]


class Index:
    """Every index file of a store, and the dispatcher that fills them.

    synced_ms: everything until this store time is durable; goes into the checkpoint.
    """

    def __init__(self, files: Files, directory: Path, settings: IndexSettings, *, clock: Clock) -> None:
        self.run: list[IndexFile] = []
        self.synced_ms = 0
        self._files = files
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._last = -1  # the last record whose keys are all in
        self._partial = 0, 0  # a later record of which some keys are in, and how many
        self._sync_due: float | None = None
        self._sync: _Sync | None = None
        self._syncing = False
        self._failed = False

    @property
    def resume_at(self) -> int:
        return self._last + 1

    @property
    def end_ms(self) -> int:
        """Store time of the last record that is in."""
        return self.run[-1].end_ms if self.run else 0

    @property
    def end_offset(self) -> int:
        """Physical offset of the last record that is in."""
        return self.run[-1].end_offset if self.run else 0

    # Life cycle

    def load(self, log: CommitLog, safe_until_ms: int | None) -> None:
        """Find the files that can be trusted, delete the others, and find out which record comes next.

        safe_until_ms: the checkpoint's index time after a crash, None after a clean stop.
        Raises: UnsupportedStore for files of another size than configured.
        """
        make_durable_dirs(self._files, self._directory)
        found = self._found()
        for file in found:
            safe = file.end_ms < _UNSAFE_MS if safe_until_ms is None else file.end_ms <= safe_until_ms
            if not (safe and file.is_sound):
                break
            self.run.append(file)
        while self.run and log.start <= self.run[-1].end_offset and log.record_at(self.run[-1].end_offset) is None:
            self.run.pop()
        for file in found[len(self.run) :]:
            logger.info("index file is rebuilt", path=str(file.path))
            file.remove()
        if self.run:
            self._partial = self.end_offset, self._entries_of_last()
            self._last = self.end_offset - 1
            if not self.run[-1].is_full:
                self.run[-1].load_slots()
        self.synced_ms = self.end_ms

    def dispatch(self, records: Sequence[RecordFacts]) -> None:
        entries = self._entries_of(records)
        try:
            done = 0
            while done < len(entries):
                file = self.run[-1] if self.run else None
                if file is None or file.is_full:
                    file = self._extend(file)
                taken = file.put(entries[done:])
                done += taken
                self._note(entries[done - taken : done])
            if records:
                self._last = max(self._last, records[-1].physical_offset)
            if self.run:
                self.run[-1].write()
        except StoreError as error:
            self._failed = not isinstance(error, NoSpace)
            raise

    def tick(self, now: float, flushed: int, log_start: int, worker: Worker) -> None:
        """Make durable what is due, and delete what has no record any more. flushed: up to where the log is durable."""
        self._drop_expired(log_start, worker)
        if self._sync_due is None:
            self._sync_due = now + _SYNC_SECONDS
        if self._failed or self._syncing:
            return
        if self._sync is None:
            self._sync = self._next_sync(now, self._sync_due)
        if self._sync is not None and self._sync.end_offset < flushed:
            # A file must not be durable before the log that it points into.
            self._syncing = True
            worker.submit(self._sync.job, self._synced)

    def finish(self) -> None:
        """Make everything durable now; the worker has nothing left to do.

        What could not be written before is deleted, so that it will be rebuilt.
        """
        if self._sync is not None and not self._failed:
            self._sync.job()
        for file in [file for file in self.run if file.slots is not None]:
            if self._failed:
                file.remove()
                self.run.remove(file)
            elif file.is_dirty:
                file.write()
                file.sync_job()()
        self.synced_ms = self.end_ms

    def close(self) -> None:
        """Let go of the files."""
        for file in self.run:
            file.close()

    # Reading

    def search(self, topic: str, key: str, begin_ms: int, end_ms: int) -> Iterator[int | None]:
        """Physical offsets of records that may have a key and be of a time, the newest first.

        Yields None for entries of others, so that the caller can pause; what cannot be read is passed over.
        """
        key_hash = index_key_hash(f"{topic}#{key}")
        for file in reversed(self.run.copy()):
            if file.begin_ms <= end_ms and file.end_ms >= begin_ms:
                try:
                    yield from file.chain(key_hash, begin_ms, end_ms)
                except StoreError as error:
                    logger.warning("index file cannot be read", error=str(error))
            if file.begin_ms < begin_ms:
                return

    # Inside

    def _found(self) -> list[IndexFile]:
        """The files there are, in the order of the log."""
        found = []
        for entry in self._files.list(self._directory):
            path = self._directory / entry.name
            if entry.is_dir or not (entry.name.isascii() and entry.name.isdigit()):
                logger.warning("alien name in the index directory", path=str(path))
            elif entry.size not in (0, self._settings.file_bytes):
                raise UnsupportedStore(
                    f"the file has {entry.size} bytes but maxHashSlotNum and maxIndexNum ask for "
                    f"{self._settings.file_bytes}: set them to what the store was written with",
                    path=path,
                )
            else:
                found.append(IndexFile(self._files, path, self._settings))
                found[-1].load()
        sound = sorted((file for file in found if file.is_sound), key=lambda file: (file.begin_offset, file.path))
        if sound != [file for file in found if file.is_sound]:
            # Names follow local time, which went back.
            return sound + [file for file in found if not file.is_sound]
        return found

    def _entries_of_last(self) -> int:
        """How many entries the last record has; they may have begun in the file before."""
        count = self.run[-1].entries_of_last()
        if count == self.run[-1].count - 1 and len(self.run) > 1 and self.run[-2].end_offset == self.end_offset:
            count += self.run[-2].entries_of_last()
        return count

    def _entries_of(self, records: Sequence[RecordFacts]) -> list[NewEntry]:
        """What is to be added for those records that are not in."""
        topics, keys, places = [], [], []
        last = self._last
        for record in records:
            offset = record.physical_offset
            if offset > last and record.sys_flag & _ROLLBACK != _ROLLBACK:
                for key in encoded_keys_of(record.properties):
                    topics.append(record.topic)
                    keys.append(key)
                    places.append((offset, record.store_timestamp_ms))
        entries = [
            NewEntry(key_hash, *place) for key_hash, place in zip(index_key_hashes(topics, keys), places, strict=True)
        ]
        offset, done = self._partial
        return entries[done:] if entries and entries[0].offset == offset else entries

    def _note(self, added: Sequence[NewEntry]) -> None:
        """Remember that some entries are in, the last of which may not be the last of its record."""
        offset = added[-1].offset
        count = sum(1 for entry in added if entry.offset == offset)
        at, done = self._partial
        self._partial = offset, count + (done if at == offset else 0)
        self._last = offset - 1

    def _extend(self, full: IndexFile | None) -> IndexFile:
        if full is not None:
            full.write()
        now_ms = self._clock.now_ms()
        name = time.strftime("%Y%m%d%H%M%S", time.localtime(now_ms // 1000)) + f"{now_ms % 1000:03d}"
        if full is not None and name <= full.path.name:
            name = f"{int(full.path.name) + 1:0{_NAME_DIGITS}d}"
        added = IndexFile(self._files, self._directory / name, self._settings)
        added.create(full)
        self.run.append(added)
        return added

    def _next_sync(self, now: float, due: float) -> "_Sync | None":
        """The oldest file that is not durable: a full one at once, the current one when it is due."""
        file = next((file for file in self.run if file.slots is not None), None)
        if file is None or not (file.is_written and file.is_dirty):
            return None
        if file is self.run[-1]:
            if now < due:
                return None
            self._sync_due = now + _SYNC_SECONDS
        return _Sync(file, file.end_ms, file.end_offset, file.sync_job())

    def _synced(self, error: Exception | None) -> None:
        assert self._sync is not None
        file, end_ms = self._sync.file, self._sync.end_ms
        self._sync, self._syncing = None, False
        if error is None:
            self.synced_ms = end_ms
            if file is not self.run[-1] and not file.is_dirty:
                file.slots = None
        elif isinstance(error, NoSpace):
            file.sync_again()
        else:
            self._failed = True
            logger.error("index cannot be written; it is rebuilt at the next start", error=str(error))

    def _drop_expired(self, log_start: int, worker: Worker) -> None:
        while len(self.run) > 1 and self.run[0].end_offset < log_start and self.run[0].slots is None:
            worker.submit(self.run.pop(0).remove, _logged)


def _logged(error: Exception | None) -> None:
    if error is not None:
        logger.warning("index file is not deleted", error=str(error))
