"""`verify`: every record, every queue entry, and whether they agree; then the checkpoint and the JSON files.

One pass over the log asks each record's queue for its entry; what was found is a range per queue. A second pass asks
the log about the entries that are left, which in a sound store are those of deleted segments. So memory grows with
queues and problems. What a start of the broker would mend by itself after a crash is a note, no problem.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from protocol.bodies.codec import decode_body
from protocol.bodies.topic_config import TopicConfigTable
from protocol.errors import RemoteProtocolError
from protocol.flags import MessageSysFlag
from protocol.message import PropertyName, decode_properties
from protocol.record import RecordFacts
from rmq_server.store.checkpoint import load_checkpoint
from rmq_server.store.consumequeue import NOT_QUEUED
from rmq_server.store.errors import StoreError
from rmq_server.store.index import IndexFile, IndexSettings
from rmq_server.store.layout import ENTRY_BYTES, MAX_EXT_ADDRESS
from rmq_server.storetools.delay import is_right
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.files import ReadOnlyFiles
from rmq_server.storetools.index import INDEX_ENTRY_BYTES, check_index_file, index_settings
from rmq_server.storetools.log import Damage, Found, LogReader, LogScan, has_its_crc
from rmq_server.storetools.queues import Entry, Queue, Ranges
from rmq_server.storetools.runs import Problem

_CHECKPOINT_BYTES = 4096
_ODD_INDEX = "cannot be an index file of {size} bytes: other sizes (give maxHashSlotNum), cut off, or damaged"
_WRONG_CODE = "its tags code is {}, which does not fit its record"
LMQ_PREFIX = "%LMQ%"

OnProblem = Callable[[Problem], None]


class Report(msgspec.Struct, kw_only=True):
    """What was checked, and how it went; the problems themselves went to `on_problem`."""

    problems: int = 0
    records: int = 0
    log_bytes: int = 0
    queues: int = 0
    queue_entries: int = 0
    index_files: int = 0
    index_entries: int = 0
    notes: list[str] = []


def verify(
    store: StoreDirectory,
    on_problem: OnProblem,
    progress: Progress = no_progress,
    index_slots: int | None = None,
) -> Report:
    """Check everything; raises StoreError only for what the system does not let us read.

    index_slots: maxHashSlotNum, where it cannot be told from the index files.
    """
    check = _Check(store, on_problem)
    for problem in store.problems:
        check.problem(problem)
    check.log(progress)
    check.queues()
    check.index(index_slots, progress)
    check.checkpoint()
    check.config()
    return check.report


def verify_bytes(store: StoreDirectory, index_slots: int | None = None) -> int:
    """What the progress of `verify` adds up to, roughly: bytes of the log's files and of index entries."""
    settings = index_settings(store, index_slots)
    files = [entry for entry in store.index_files if settings is not None and entry.size == settings.file_bytes]
    entries = sum(_header(store.paths.root / "index" / entry.name, settings).count for entry in files if settings)
    return sum(segment.end - segment.start for segment in store.log.segments) + entries * INDEX_ENTRY_BYTES


class _Check:
    def __init__(self, store: StoreDirectory, on_problem: OnProblem) -> None:
        self.report = Report()
        self._store = store
        self._on_problem = on_problem
        self._records = LogReader(store.log, store.reader)
        self._seen = {key: Ranges() for key in store.queues}
        self._ahead: dict[tuple[str, int], tuple[RecordFacts, int]] = {}
        self._deleted: Counter[str] = Counter()
        self._superseded = 0
        self._last_ms = 0
        self._end = 0
        self._damaged_until = -1
        self._has_ext = (store.paths.root / "consumequeue_ext").exists()
        self._marks = load_checkpoint(ReadOnlyFiles(), store.paths.checkpoint)

    def problem(self, problem: Problem) -> None:
        self.report.problems += 1
        self._on_problem(problem)

    # The log, and from there the queues

    def log(self, progress: Progress) -> None:
        scan = LogScan(self._store, on_damage=self._damage, progress=progress)
        for found in scan:
            self._record(found)
        self._end = scan.end
        self.report.log_bytes = scan.end - self._store.log.start
        known = self._store.known_end
        if known > scan.end and self._damaged_until < scan.end:
            self._log_problem(scan.end, f"the log ends here, but the queues know messages up to {known}")
        for (topic, queue_id), (first, count) in self._ahead.items():
            self._missing(topic, queue_id, first, count)
        for topic, count in self._deleted.items():
            self._note(f"{count} records of {topic}, which is neither defined nor has any queue: it was deleted")
        if self._superseded:
            self._note(f"{self._superseded} records whose place in the queue a later record has: topics made anew")

    def _damage(self, damage: Damage) -> None:
        self._damaged_until = damage.offset
        at = damage.offset - damage.segment.start
        follows = (
            "nothing whole follows" if damage.resumes is None else f"the next record is at offset {damage.resumes}"
        )
        if damage.is_tail:
            self._note(
                f"{damage.segment.path} at byte {at}: the log ends, what follows is left over from a crash "
                f"({damage.reason}; {follows})"
            )
        else:
            self._log_problem(damage.offset, f"{damage.reason}; {follows}")

    def _record(self, found: Found) -> None:
        facts = found.facts
        self.report.records += 1
        self._last_ms = max(self._last_ms, facts.store_timestamp_ms)
        if not has_its_crc(found):
            self._log_problem(facts.physical_offset, "the record does not match its __CRC32# property")
        if facts.sys_flag & MessageSysFlag.TRANSACTION_MASK in NOT_QUEUED:
            return
        key = facts.topic, facts.queue_id
        queue = self._store.queues.get(key)
        entry = queue.entry(facts.queue_offset) if queue and facts.queue_offset < queue.end else None
        if queue is None or entry is None:
            first, count = self._ahead.get(key, (facts, 0))
            self._ahead[key] = first, count + 1
        elif entry[:2] == (facts.physical_offset, facts.size) and self._fits(facts, entry.tags_code):
            self._seen[key].add(facts.queue_offset)
        elif self._is_superseded(facts, entry):
            self._superseded += 1
        else:
            self._seen[key].add(facts.queue_offset)
            self._entry_problem(
                queue, facts.queue_offset, _difference(facts, entry) or _WRONG_CODE.format(entry.tags_code)
            )

    def _fits(self, facts: RecordFacts, tags_code: int) -> bool:
        return (self._has_ext and tags_code <= MAX_EXT_ADDRESS) or is_right(facts, tags_code)

    def _is_superseded(self, facts: RecordFacts, entry: Entry) -> bool:
        later = (
            self._records.record_at(entry.physical_offset) if entry.physical_offset > facts.physical_offset else None
        )
        return later is not None and _place(later.facts) == _place(facts)

    def _missing(self, topic: str, queue_id: int, first: RecordFacts, count: int) -> None:
        queue = self._store.queues.get((topic, queue_id))
        if queue is None and self._store.is_topic_deleted(topic):
            self._deleted[topic] += count
            return
        what = f"{topic}/{queue_id} has no entry for {count} records, the first is {first.queue_offset}"
        if self._store.crashed and (queue is None or first.queue_offset >= queue.end):
            self._note(f"{what}: the next start adds them")
        else:
            self._log_problem(first.physical_offset, what)

    # The queues, and from there the log

    def queues(self) -> None:
        for key, queue in self._store.queues.items():
            self.report.queues += 1
            self.report.queue_entries += queue.end - queue.first
            for offset in self._seen[key].missing(queue.first, queue.end):
                text = self._entry(queue, offset)
                if text:
                    self._entry_problem(queue, offset, text)
            queue.forget()

    def _entry(self, queue: Queue, offset: int) -> str | None:
        """What is wrong with an entry that no record asked for."""
        entry = queue.entry(offset)
        if entry is None:
            return "the file ends before it"
        if entry.is_blank and entry.physical_offset == 0:
            return None
        if not entry.is_sound:
            return f"it is no entry: offset {entry.physical_offset}, size {entry.size}"
        if entry.physical_offset < self._store.log.start:
            return None  # its segment was deleted
        if entry.physical_offset >= self._end:
            return f"it points to offset {entry.physical_offset}, where the log, which ends at {self._end}, has nothing"
        record = self._records.record_at(entry.physical_offset)
        if record is None:
            return f"it points to offset {entry.physical_offset}, where no whole record is"
        if queue.topic.startswith(LMQ_PREFIX) and _is_dispatched_to(record.facts, queue.topic):
            return None
        return _difference(record.facts, entry, (queue.topic, queue.queue_id, offset))

    # The rest

    def index(self, slots: int | None, progress: Progress) -> None:
        files = self._store.index_files
        settings = index_settings(self._store, slots)
        earlier_end_ms = 0 if self._store.log.start == 0 else None  # else there may have been files before
        for entry in files:
            path = self._store.paths.root / "index" / entry.name
            self.report.index_files += 1
            if settings is None or entry.size != settings.file_bytes:
                self.problem(Problem(path, None, _ODD_INDEX.format(size=entry.size)))
                earlier_end_ms = None
                continue
            earlier_end_ms = self._index_file(path, settings, progress, earlier_end_ms)

    def _index_file(
        self, path: Path, settings: IndexSettings, progress: Progress, earlier_end_ms: int | None
    ) -> int | None:
        """After a crash, a start throws away the files that are younger than the checkpoint's index time."""
        held: list[Problem] = []
        count = 0

        def hold(problem: Problem) -> None:
            nonlocal count
            count += 1
            if count == 1:
                held.append(problem)

        is_kept = not self._store.crashed or 0 < _header(path, settings).end_ms <= self._marks.index_timestamp_ms
        on_problem = self.problem if is_kept else hold
        file = check_index_file(
            path, settings, self._records, self._store.log.start, on_problem, progress, earlier_end_ms=earlier_end_ms
        )
        self.report.index_entries += file.count - 1
        if held:
            _, at, text = held[0]
            more = f" (the first of {count} problems)" if count > 1 else ""
            self._note(f"{path} at byte {at}: {text}{more}; a start after a crash makes this file anew")
        return file.end_ms if file.is_sound else None

    def checkpoint(self) -> None:
        path = self._store.paths.checkpoint
        if not path.exists():
            self._note("there is no checkpoint: a start after a crash reads the whole log")
            return
        size = path.stat().st_size
        if size != _CHECKPOINT_BYTES:
            self.problem(Problem(path, size, f"has {size} bytes instead of {_CHECKPOINT_BYTES}"))
            return
        marks = self._marks
        times = (marks.physic_timestamp_ms, marks.logics_timestamp_ms, marks.index_timestamp_ms)
        for number, (name, time) in enumerate(zip(("physic", "logics", "index"), times, strict=True)):
            if time < 0 or (self.report.records and time > self._last_ms):
                text = f"the {name} time {time} is after the last record's, {self._last_ms}"
                self.problem(Problem(path, 8 * number, text))

    def config(self) -> None:
        directory = self._store.paths.root / "config"
        for file in self._store.config_files():
            path = directory / file.name
            kind = TopicConfigTable if file.name == "topics.json" else dict
            try:
                data = path.read_bytes()
                if not data.strip():
                    self.problem(Problem(path, 0, "is empty"))
                    continue
                decode_body(kind, data)
            except OSError as error:
                self.problem(Problem(path, None, error.strerror or str(error)))
            except (RemoteProtocolError, StoreError) as error:
                self.problem(Problem(path, None, str(error)))

    def _note(self, text: str) -> None:
        self.report.notes.append(text)

    def _log_problem(self, offset: int, text: str) -> None:
        run = self._store.log
        segment = run.find(offset) or next(reversed(run.segments), None)
        if segment is None:
            self.problem(Problem(run.directory, None, text))
        else:
            self.problem(Problem(segment.path, offset - segment.start, text))

    def _entry_problem(self, queue: Queue, offset: int, text: str) -> None:
        place = queue.place(offset)
        path, at = (queue.run.directory, offset * ENTRY_BYTES) if place is None else (place[0].path, place[1])
        self.problem(Problem(path, at, f"entry {offset} of {queue.name}: {text}"))


def _header(path: Path, settings: IndexSettings) -> IndexFile:
    file = IndexFile(ReadOnlyFiles(), path, settings)
    try:
        file.load()
    finally:
        file.close()
    return file


def _place(facts: RecordFacts) -> tuple[str, int, int]:
    return facts.topic, facts.queue_id, facts.queue_offset


def _difference(facts: RecordFacts, entry: Entry, expected: tuple[str, int, int] | None = None) -> str | None:
    """How a record and an entry disagree; expected: the place of the entry, when it may not be the record's."""
    if expected is not None and _place(facts) != expected:
        topic, queue_id, offset = _place(facts)
        return f"it points to offset {entry.physical_offset}, where message {offset} of {topic}/{queue_id} is"
    if entry.physical_offset != facts.physical_offset:
        return f"it points to offset {entry.physical_offset}, its record is at {facts.physical_offset}"
    if entry.size != facts.size:
        return f"it says {entry.size} bytes, the record at {facts.physical_offset} has {facts.size}"
    return None


def _is_dispatched_to(facts: RecordFacts, topic: str) -> bool:
    properties = decode_properties(facts.properties.decode("utf-8", "replace"))
    return topic in properties.get(PropertyName.INNER_MULTI_DISPATCH, "").split(",")
