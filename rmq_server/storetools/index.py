"""Index files: the sizes that they were written with, and whether their chains are whole and right.

An index file does not say how many slots it has. But its first and last entry say where the first and last record of
the header are, and that holds for one division of the file only.
"""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from protocol.hashing import index_key_hash
from protocol.record import RecordFacts
from rmq_server.store.dispatch import keys_of
from rmq_server.store.index import IndexFile, IndexSettings
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.files import ReadOnlyFiles
from rmq_server.storetools.log import LogReader
from rmq_server.storetools.runs import Problem

UPSTREAM = IndexSettings(slots=5_000_000, entries=20_000_000)
INDEX_ENTRY_BYTES = 20
_HEADER_BYTES, _SLOT_BYTES = 40, 4
_STEP = 1000  # entries between two reports of progress
_USED_SLOTS_AT = 32
_USUAL_RATIOS = (4, 5)
_MOST_GUESSES = 50_000
_ENOUGH_MARKS, _ALL_MARKS = 3, 4
_MAX_SECONDS = 2**31 - 1


def index_settings(store: StoreDirectory, slots: int | None = None) -> IndexSettings | None:
    """The sizes of the index files; None when there are none, or it cannot be told.

    slots: maxHashSlotNum, from someone who knows.
    """
    directory = store.paths.root / "index"
    files = [entry for entry in store.index_files if entry.size > _HEADER_BYTES]
    for entry in files:
        if slots is not None:
            return next(_divisions(entry.size, [slots]), None)
        if entry.size == UPSTREAM.file_bytes:
            return UPSTREAM
    for entry in files:
        found = _guessed(directory / entry.name, entry.size)
        if found is not None:
            return found
    return None


def check_index_file(
    path: Path,
    settings: IndexSettings,
    records: LogReader,
    log_start: int,
    on_problem: Callable[[Problem], None],
    progress: Progress = no_progress,
    *,
    earlier_end_ms: int | None = None,
) -> IndexFile:
    """Follow every chain of one file; says what its header has.

    earlier_end_ms: end time of the file before, from which the first entry counts; 0 when there never was one, None
                    when it is not known.
    Memory: four bytes for each slot, twice.
    """
    file = IndexFile(ReadOnlyFiles(), path, settings)
    try:
        _Check(file, settings, records, log_start, on_problem, earlier_end_ms).run(progress)
    finally:
        file.close()
    return file


class _Check:
    def __init__(
        self,
        file: IndexFile,
        settings: IndexSettings,
        records: LogReader,
        log_start: int,
        on_problem: Callable[[Problem], None],
        earlier_end_ms: int | None,
    ) -> None:
        self._file = file
        self._earlier_end_ms = earlier_end_ms
        self._slots = settings.slots
        self._entries_at = _HEADER_BYTES + settings.slots * _SLOT_BYTES
        self._records = records
        self._log_start = log_start
        self._on_problem = on_problem
        self._newest = array("i", bytes(settings.slots * _SLOT_BYTES))
        self._record: RecordFacts | None = None
        self._hashes: frozenset[int] = frozenset()
        self._asked = -1

    def run(self, progress: Progress) -> None:
        file = self._file
        file.load()
        if not file.is_sound:
            self._problem(0, "the header cannot be one: its offsets or counts are out of range")
            return
        offset = 0
        for number in range(1, file.count):
            before = offset
            key_hash, offset, seconds, older = file.entry(number)
            for text in self._entry(number, key_hash, offset, seconds, older, before):
                self._problem(self._entries_at + number * INDEX_ENTRY_BYTES, f"entry {number}: {text}")
            if number % _STEP == 0:
                progress(_STEP * INDEX_ENTRY_BYTES)
        self._header(offset)
        self._slot_table()

    def _entry(self, number: int, key_hash: int, offset: int, seconds: int, older: int, previous: int) -> Iterator[str]:
        if key_hash < 0:
            yield f"its hash {key_hash} is negative"
            return
        slot = key_hash % self._slots
        if older != self._newest[slot]:
            yield f"its chain goes on at entry {older}, but the one before in slot {slot} is {self._newest[slot]}"
        self._newest[slot] = number
        if offset < previous:
            yield f"it points to offset {offset}, before that of the entry before it, {previous}"
        if offset < self._log_start:
            return  # its segment was deleted
        facts = self._facts(offset)
        if facts is None:
            yield f"it points to offset {offset}, where no whole record is"
            return
        if key_hash not in self._hashes:
            yield f"no key of the record at offset {offset} has its hash {key_hash}"
        since_ms = self._file.begin_ms if number > 1 else self._earlier_end_ms
        if since_ms is None:
            return
        elapsed_ms = facts.store_timestamp_ms - since_ms if since_ms > 0 else 0
        expected = max(0, min(elapsed_ms // 1000, _MAX_SECONDS))
        if seconds != expected:
            first = "the first" if number > 1 else "the last of the file before"
            yield f"it says {seconds} s after {first}, the record at offset {offset} was stored {expected} s after it"

    def _header(self, last_offset: int) -> None:
        file = self._file
        if file.count == 1:
            return
        first_offset = file.entry(1)[1]
        first, last = self._facts(first_offset), self._facts(last_offset)
        self._compare(16, "first offset", file.begin_offset, first_offset)
        self._compare(24, "last offset", file.end_offset, last_offset)
        if first is not None:
            self._compare(0, "begin time", file.begin_ms, first.store_timestamp_ms)
        if last is not None:
            self._compare(8, "end time", file.end_ms, last.store_timestamp_ms)
        used = sum(1 for newest in self._newest if newest)
        self._compare(_USED_SLOTS_AT, "count of used slots", file.used_slots, used)

    def _slot_table(self) -> None:
        self._file.load_slots()
        assert self._file.slots is not None
        values = self._file.slots.values
        if values == memoryview(self._newest):
            return
        for slot, newest in enumerate(self._newest):
            if values[slot] != newest:
                self._problem(
                    _HEADER_BYTES + slot * _SLOT_BYTES,
                    f"slot {slot}: says that its newest entry is {values[slot]}, it is {newest}",
                )

    def _facts(self, offset: int) -> RecordFacts | None:
        if offset != self._asked:
            self._asked = offset
            found = self._records.record_at(offset)
            self._record = found.facts if found else None
            if found:
                topic = found.facts.topic
                self._hashes = frozenset(index_key_hash(f"{topic}#{key}") for key in keys_of(found.facts.properties))
        return self._record

    def _compare(self, at: int, what: str, stated: int, found: int) -> None:
        if stated != found:
            self._problem(at, f"the header's {what} is {stated}, its entries say {found}")

    def _problem(self, at: int, text: str) -> None:
        self._on_problem(Problem(self._file.path, at, text))


def _divisions(file_bytes: int, slot_counts: list[int] | range) -> Iterator[IndexSettings]:
    for slots in slot_counts:
        entries, rest = divmod(file_bytes - _HEADER_BYTES - slots * _SLOT_BYTES, INDEX_ENTRY_BYTES)
        if not rest and entries > 0 and slots > 0:
            yield IndexSettings(slots, entries)


def _guessed(path: Path, file_bytes: int) -> IndexSettings | None:
    room = file_bytes - _HEADER_BYTES
    usual = [room // (_SLOT_BYTES + ratio * INDEX_ENTRY_BYTES) for ratio in _USUAL_RATIOS]
    best, most = None, _ENOUGH_MARKS - 1
    for slots in (usual, range(1, min(room // _SLOT_BYTES, _MOST_GUESSES * 5))):
        for settings in _divisions(file_bytes, slots):
            marks = _marks(path, settings)
            if marks > most:
                best, most = settings, marks
            if marks == _ALL_MARKS:
                return best
    return best


def _marks(path: Path, settings: IndexSettings) -> int:
    """How many signs there are that a file is divided so."""
    file = IndexFile(ReadOnlyFiles(), path, settings)
    try:
        file.load()
        if not file.is_sound or file.count == 1:
            return 0
        key_hash, first_offset, _, older = file.entry(1)
        return sum(
            (
                first_offset == file.begin_offset,
                older == 0 and key_hash > 0,
                file.entry(file.count - 1)[1] == file.end_offset,
                key_hash >= 0 and 0 < file.newest(key_hash) < file.count,
            )
        )
    finally:
        file.close()
