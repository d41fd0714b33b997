"""MessageStore: the store as the broker sees it. Put, get, offsets; open, run, close.

One event loop owns it; nothing here is locked. A put builds the record and its ConsumeQueue entry at once; at the end
of the loop turn everything gathered is written, and what readers may see advances to the *readable* offset: written
with ASYNC_FLUSH, on disk with SYNC_FLUSH. So nobody consumes what a crash can take back.

    put ─► CommitLog ─► queue buffers ─(end of turn)─► ConsumeQueue files ─(readable)─► max_offset, on_arrival
                                                   └─► flush thread ─► when_durable callbacks

It is one module because one turn of state runs through it: what was put, written, flushed, shown.
What else derives from the log (the index) follows it from its own mark up to `readable_offset`: see dispatch.
Source: apache/rocketmq: store/.../DefaultMessageStore.java
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from protocol.flags import MessageSysFlag
from protocol.record import CorruptRecord, Record, inspect
from rmq_server.core.clock import Clock
from rmq_server.store.background import BackgroundSync
from rmq_server.store.checkpoint import ReplayMark, load_checkpoint, load_mark, save_checkpoint
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.consumequeue import NOT_QUEUED, ConsumeQueue, ConsumeQueueStore, TagsCodeOf
from rmq_server.store.dispatch import LogTail, keys_of, tags_code_of_record, unique_key_of
from rmq_server.store.errors import (
    DiskNearlyFull,
    MessageTooLarge,
    NoSpace,
    StoreClosed,
    StoreError,
    StoreReadOnly,
    from_os_error,
)
from rmq_server.store.files import Closeable, Files, make_durable_dirs
from rmq_server.store.flush import FlushResult, GroupCommit, Worker
from rmq_server.store.index import Index, IndexSettings
from rmq_server.store.layout import ENTRY, StorePaths, refuse_other_engines
from rmq_server.store.mapped_file import OpenFiles
from rmq_server.store.reader import Accepts, GetResult, GetStatus, QueueReader
from rmq_server.store.recovery import Recovery, recover
from rmq_server.store.retention import Retention, local_hour

_pack_entry = ENTRY.pack
_TRANSACTION = MessageSysFlag.TRANSACTION_MASK
_TICK_SECONDS = 0.1
_FOREVER_MS = 2**63 - 1
_SEARCH_STEPS = 128  # index entries
_SEARCH_LAG_BYTES = 1 << 29  # a search waits for the index when it is no further behind

logger = structlog.get_logger(__name__)


class PutResult(msgspec.Struct, frozen=True, gc=False):
    """Where a message is now. queue_offset: its place in the queue; the others: its bytes in the CommitLog."""

    queue_offset: int
    physical_offset: int
    end_offset: int


class Arrival(NamedTuple):
    """Messages of one queue that became readable together.

    max_offset:  the queue's new one; the messages are the len(tags_codes) before it.
    tags_codes:  of each of them, in order.
    """

    topic: str
    queue_id: int
    max_offset: int
    tags_codes: Sequence[int]


class _Turn(NamedTuple):
    """What one loop turn appended, waiting to become readable."""

    end: int
    queues: list[ConsumeQueue]
    arrivals: list[Arrival]


class MessageStore:
    """One store directory.

    schedule:     runs a callable later on the loop, once (`loop.call_soon`): the work at the end of a turn.
    worker:       does what blocks on the disk (`FlushThread(loop.call_soon_threadsafe)`).
    background:   does what no acknowledgement waits for and may take long: the index and the deletion of segments; by
                  default `worker` too.
    on_arrival:   called once per turn or flush with one Arrival per queue that has new readable messages.
    tags_code_of: rebuilds a queue entry's tags code; a broker with delay levels passes one that knows them.
    hour_of:      the hour of the day, local time, of a Unix time in milliseconds.
    """

    def __init__(
        self,
        config: StoreConfig,
        *,
        clock: Clock,
        files: Files,
        schedule: Callable[[Callable[[], None]], object],
        worker: Worker,
        background: Worker | None = None,
        on_arrival: Callable[[list[Arrival]], None],
        tags_code_of: TagsCodeOf = tags_code_of_record,
        hour_of: Callable[[int], int] = local_hour,
    ) -> None:
        self.config = config
        self.paths = StorePaths.of(config.root, config.commitlog_path)
        self.sync_flush = config.flush_disk_type is FlushDiskType.SYNC_FLUSH
        self.failure: StoreError | None = None
        self.recovery: Recovery | None = None
        self._clock = clock
        self._now_ms = clock.now_ms
        self._files = files
        self._schedule = schedule
        self._worker = worker
        self._background_worker = background or worker
        self._on_arrival = on_arrival
        self._max_message_bytes = config.max_message_bytes
        open_files = OpenFiles(config.open_files)
        self._log = CommitLog(
            files,
            self.paths.commitlog,
            segment_bytes=config.commitlog_file_bytes,
            reserve_bytes=config.reserve_bytes,
            open_files=open_files,
        )
        self._append = self._log.append
        self._queues = ConsumeQueueStore(
            files,
            self.paths.consumequeue,
            file_bytes=config.consumequeue_file_bytes,
            tags_code_of=tags_code_of,
            open_files=open_files,
        )
        self._queue_of = self._queues.queues
        self._commit = GroupCommit(
            worker,
            clock,
            timeout_ms=config.sync_flush_timeout_ms,
            sync_job=self._log.segments.sync_job,
            on_flushed=self._flushed,
            on_failed=self._fail,
        )
        self._background = BackgroundSync(
            config,
            self._queues,
            worker,
            save_job=self._checkpoint_job,
            on_failed=self._fail,
        )
        self._retention = Retention(
            config,
            files,
            worker,
            self._background_worker,
            clock,
            directories=(self.paths.commitlog, self.paths.consumequeue),
            segments=self._log.segments,
            queues=self._queues,
            flushed=lambda: self._commit.flushed,
            on_space=self._space_known,
            hour_of=hour_of,
        )
        self._index = Index(
            files, self.paths.index, IndexSettings(config.index_slots, config.index_entries), clock=clock
        )
        self._tail = LogTail(
            self._log,
            [self._index] if config.message_index else [],
            readable=lambda: self.readable_offset,
            schedule=schedule,
            worker=self._background_worker,
        )
        self._reader = QueueReader(self._log, config, clock.monotonic)
        self._flush_interval = config.flush_interval_ms / 1000
        self._flush_due = 0.0
        self._lock: Closeable | None = None
        self._refusal: StoreError | None = StoreClosed("the store is not open")
        self._defect: Exception | None = None
        self._turn_open = False
        self._turn_ms = self._turn_start = self._last_ms = 0
        self._touched: list[ConsumeQueue] = []
        self._turns: deque[_Turn] = deque()

    # Life cycle

    def open(self) -> None:
        """Lock the directory, load it, repair what a crash left, and be ready for puts.

        Raises: StoreInUse, UnsupportedStore, CorruptStore, NoSpace and other StoreErrors; nothing stays open then.
        """
        try:
            make_durable_dirs(self._files, self.paths.root)
            self._lock = self._files.lock(self.paths.lock)
            self._load()
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise from_os_error(error, self.paths.root) from error
            raise
        self._refusal = None

    def close(self) -> None:
        """Make everything durable and let go; puts are refused from now on.

        The `abort` file goes last, and stays when anything could not be made durable: the next start then repairs.
        Raises: StoreError for a failure that is news.
        """
        if self._lock is None:
            return
        try:
            self._end_turn()
            self._retention.stop()
            self._worker.close()
            self._background_worker.close()
            if self.failure is None:
                self._finish()
        finally:
            self._refusal = self._refusal or StoreClosed("the store is closed")
            self._commit.fail()
            self._release()

    async def run(self) -> None:
        """Do the periodic work until cancelled.

        A disk that fails makes the store read-only (`failure`); a defect of the store itself is raised here.
        """
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.tick()
            if self._defect is not None:
                raise self._defect

    def tick(self) -> None:
        """One round of the periodic work: time-outs, retries, flushes and the checkpoint, as far as they are due."""
        now = self._clock.monotonic()
        self._end_turn()
        self._commit.expire()
        if now >= self._flush_due:
            self._flush_due = now + self._flush_interval
            self._commit.request(self._log.written, self._last_ms)
        if self.failure is None:
            self._background.tick(now, self._commit.flushed_ms, self._commit.flushed)
            self._retention.tick(now)
            prepare = self._log.prepare()
            if prepare is not None:
                self._worker.submit(prepare, self._prepared)
        self._tail.tick()
        self._index.tick(now, self.flushed_offset, self.min_physical_offset, self._background_worker)
        self._background.checkpoint.index_timestamp_ms = self._index.synced_ms

    # Writing

    def put(self, record: Record, tags_code: int, *, deferred: bool = False) -> PutResult:
        """Append one message at the end of its queue; sets its offsets and store time.

        deferred: the caller tells nobody before `when_durable` called back or `write_out` returned, so that one write
        takes several records. Otherwise the record survives the death of this process once put returned.
        Raises: NoSpace, MessageTooLarge, StoreReadOnly, StoreClosed; LocalProtocolError for what cannot be encoded.
        Nothing was stored then.
        """
        if self._refusal is not None:
            self._reconsider()
        if len(record.body) > self._max_message_bytes:
            raise MessageTooLarge(f"the body has {len(record.body)} bytes, the limit is {self._max_message_bytes}")
        kind = record.sys_flag & _TRANSACTION
        if kind and kind in NOT_QUEUED:
            return self._put_unqueued(record, deferred=deferred)
        key = (record.topic, record.queue_id)
        queue = self._queue_of.get(key) or self._queues.create(*key)
        queue_offset = record.queue_offset = queue.next_offset
        now = record.store_timestamp_ms = self._now_ms()
        end = self._append(record)
        start = record.physical_offset
        if not deferred:
            self._write_through(start)
        self._last_ms = now
        if not queue.buffer:
            self._touched.append(queue)
        queue.buffer += _pack_entry(start, end - start, tags_code)
        queue.tags_codes.append(tags_code)
        queue.next_offset = queue_offset + 1
        if not self._turn_open:
            self._open_turn(now, start)
        return PutResult(queue_offset, start, end)

    def put_batch(self, records: Sequence[Record], tags_codes: Sequence[int], *, deferred: bool = False) -> PutResult:
        """Append messages of one queue, one after the other in one segment; all or nothing.

        The result names the first message and the end of the last; every record knows its own offsets.
        Raises: as put; ValueError for no messages, or messages of several queues.
        """
        if self._refusal is not None:
            self._reconsider()
        key = _common_queue(records)
        if sum([len(record.body) for record in records]) > self._max_message_bytes:
            raise MessageTooLarge(f"the batch has more than {self._max_message_bytes} bytes")
        queue = self._queue_of.get(key) or self._queues.create(*key)
        first = queue.next_offset
        now = self._now_ms()
        for queue_offset, record in enumerate(records, first):
            record.queue_offset = queue_offset
            record.store_timestamp_ms = now
        end = self._log.append_batch(records)
        start = records[0].physical_offset
        if not deferred:
            self._write_through(start)
        self._last_ms = now
        if not queue.buffer:
            self._touched.append(queue)
        ends = [*[record.physical_offset for record in records[1:]], end]
        for record, stop, tags_code in zip(records, ends, tags_codes, strict=True):
            queue.push(record.physical_offset, stop - record.physical_offset, tags_code)
        queue.tags_codes.extend(tags_codes)
        if not self._turn_open:
            self._open_turn(now, start)
        return PutResult(first, start, end)

    def write_out(self) -> None:
        """Hand what was put `deferred` to the operating system, so that it survives the death of this process.

        Raises: StoreError; the messages then stay pending, and must not be acknowledged.
        """
        try:
            self._log.write_out()
        except StoreError as error:
            self._stall(error)
            raise

    def when_durable(self, end_offset: int, callback: Callable[[FlushResult], None]) -> None:
        """Call back on the loop, in the order of the calls, once everything before `end_offset` is on disk.

        TIMEOUT after `syncFlushTimeout`: the message is stored, and may still become durable. FAILED: the disk failed,
        or the store was closed before.
        """
        if not self.sync_flush:
            self._end_turn()
            self._commit.request(self._log.written, self._last_ms)
        self._commit.wait(end_offset, callback)

    # Reading

    def get(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        max_messages: int,
        accepts: Accepts | None = None,
        max_bytes: int | None = None,
        *,
        may_block: bool = True,
    ) -> GetResult:
        """Read up to `max_messages` of a queue from a queue offset on, within the configured limits.

        accepts: says from a tags code whether the message may match; the others are passed over.
        The first accepted message is returned whatever its size. next_offset is where to go on.
        may_block: it may wait for the disk when what is read is not in memory.
        Raises: ColdRead instead of waiting.
        """
        queue = self._queue_of.get((topic, queue_id))
        if queue is None:
            return GetResult(GetStatus.NO_MATCHED_LOGIC_QUEUE, 0, 0, 0)
        return self._reader.get(queue, offset, max_messages, accepts, max_bytes, may_block=may_block)

    def record_at(self, physical_offset: int) -> memoryview | None:
        """The record that starts there, for a reader who names it by its id; None when no readable one does."""
        view = self._log.record_at(physical_offset)
        return view if view is not None and physical_offset + len(view) <= self.readable_offset else None

    def query(
        self,
        topic: str,
        key: str,
        begin_ms: int = 0,
        end_ms: int = _FOREVER_MS,
        max_count: int = 64,
        *,
        unique: bool = False,
    ) -> list[memoryview]:
        """The records with a key, or with that unique key, that were stored in a time: the newest, in log order."""
        found = (view for view in self.find(topic, key, begin_ms, end_ms, unique=unique) if view is not None)
        return list(islice(found, max_count))[::-1]

    def find(
        self, topic: str, key: str, begin_ms: int, end_ms: int, *, unique: bool = False
    ) -> Iterator[memoryview | None]:
        """The records with a key that were stored in a time, the newest first.

        Yields None whenever it has worked for a while, so that a loop that has more to do than search can do it.
        """
        until = self.readable_offset
        if self._tail.lag <= _SEARCH_LAG_BYTES:
            while self._tail.position < until and self._tail.step():
                yield None
        previous = -1
        for step, offset in enumerate(self._index.search(topic, key, begin_ms, end_ms), 1):
            if step % _SEARCH_STEPS == 0:
                yield None
            if offset is None or offset == previous:
                continue
            previous = offset
            view = self.record_at(offset)
            if view is not None and _has_key(view, topic, key, begin_ms, end_ms, unique=unique):
                yield view

    @property
    def index_end(self) -> tuple[int, int]:
        """Store time and physical offset of the last record that can be found by a key."""
        return self._index.end_ms, self._index.end_offset

    def max_offset(self, topic: str, queue_id: int) -> int:
        """One past the last readable message of a queue; 0 for an unknown queue."""
        queue = self._queue_of.get((topic, queue_id))
        return queue.max_offset if queue else 0

    def min_offset(self, topic: str, queue_id: int) -> int:
        """The first message of a queue that is still there; 0 for an unknown queue."""
        queue = self._queue_of.get((topic, queue_id))
        return queue.min_offset if queue else 0

    def offset_by_timestamp(self, topic: str, queue_id: int, timestamp_ms: int, upper: bool = False) -> int:
        """The first message stored at or after a time; with `upper`, the last one stored at or before it."""
        queue = self._queue_of.get((topic, queue_id))
        return self._reader.offset_by_timestamp(queue, timestamp_ms, upper=upper) if queue else 0

    def store_time(self, topic: str, queue_id: int, offset: int) -> int:
        """When the message at a queue offset was stored, Unix milliseconds; -1 when there is none."""
        queue = self._queue_of.get((topic, queue_id))
        return self._reader.store_timestamp(queue, offset) if queue else -1

    def earliest_store_time(self, topic: str, queue_id: int) -> int:
        """When the oldest message of a queue was stored, Unix milliseconds; -1 when it is empty."""
        return self.store_time(topic, queue_id, self.min_offset(topic, queue_id))

    def is_near_end(self, topic: str, queue_id: int, offset: int) -> bool:
        """Whether a reader at this queue offset would read recent data; also true of a queue that is still empty."""
        queue = self._queue_of.get((topic, queue_id))
        entry = queue.entry(offset) if queue and queue.min_offset <= offset < queue.max_offset else None
        return entry is None or self._reader.is_near_end(entry[0])

    def queue_ids(self, topic: str) -> list[int]:
        """The queues of a topic that ever had a message."""
        return sorted(queue_id for name, queue_id in self._queue_of if name == topic)

    @property
    def readable_offset(self) -> int:
        """The physical offset up to which readers may see the log."""
        return self._commit.flushed if self.sync_flush else self._log.written

    @property
    def flushed_offset(self) -> int:
        """The physical offset up to which the log is on disk."""
        return self._commit.flushed

    @property
    def min_physical_offset(self) -> int:
        """The first byte of the log that is still there."""
        return self._log.start

    @property
    def max_physical_offset(self) -> int:
        """Where the next record will start."""
        return self._log.end

    # Inside

    def _load(self) -> None:
        refuse_other_engines(self._files, self.paths)
        for directory in (self.paths.commitlog, self.paths.consumequeue):
            make_durable_dirs(self._files, directory)
        crashed = self._files.exists(self.paths.abort)
        marks = self._background.checkpoint = load_checkpoint(self._files, self.paths.checkpoint)
        mark = load_mark(self._files, self.paths.checkpoint)
        found = self.recovery = recover(self._log, self._queues, marks, mark, crashed=crashed)
        self._log.begin()
        self._reader.opened_at = found.end
        self._log.segments.sync_job(found.scanned_from, found.end + 1)()
        abort = self._files.open(self.paths.abort, create=True)
        try:
            abort.pwrite(str(os.getpid()).encode(), 0)
            abort.sync()
        finally:
            abort.close()
        self._files.sync_dir(self.paths.root)
        self._last_ms = max(marks.physic_timestamp_ms, found.last_timestamp_ms)
        self._background.dispatched_ms = max(marks.logics_timestamp_ms, found.last_timestamp_ms)
        self._background.dispatched_end = found.end
        self._commit.start_at(found.end, self._last_ms)
        if self.config.message_index:
            self._index.load(self._log, marks.index_timestamp_ms if crashed else None)
            self._tail.start()

    def _finish(self) -> None:
        """Make everything durable and then say so by removing `abort`."""
        if self._turn_open:
            raise self._refusal or StoreError("the last messages could not be written")
        self._log.segments.sync_job(self._commit.flushed, self._log.written)()
        self._commit.advance(self._log.written, self._last_ms)
        self._log.drop_unused()
        self._log.segments.sync_job(self._log.written, self._log.written)()
        self._tail.finish()
        self._index.finish()
        self._background.checkpoint.index_timestamp_ms = self._index.synced_ms
        self._background.finish(self._last_ms, self._commit.flushed)
        try:
            self._files.remove(self.paths.abort)
            self._files.sync_dir(self.paths.root)
        except OSError as error:
            raise from_os_error(error, self.paths.abort) from error

    def _checkpoint_job(self, encoded: bytes, position: int) -> Callable[[], None]:
        """What saves the checkpoint; records before `position` and their entries are durable. For the flush thread."""
        segment = self._log.segments.find(position - 1)

        def save() -> None:
            mark = None
            if segment is not None:
                with suppress(StoreError):  # retention may have deleted it: the next crash start then reads more
                    mark = ReplayMark.at(position, segment)
            save_checkpoint(self._files, self.paths.checkpoint, encoded, mark)

        return save

    def _release(self) -> None:
        with ExitStack() as stack:
            if self._lock is not None:
                stack.callback(self._lock.close)
            self._lock = None
            self._tail.stop()
            stack.callback(self._index.close)
            stack.callback(self._log.close)
            stack.callback(self._queues.close)

    def _put_unqueued(self, record: Record, *, deferred: bool) -> PutResult:
        """Append a record that no queue shows: prepared or rolled back under the old transaction design."""
        record.queue_offset = 0
        now = record.store_timestamp_ms = self._now_ms()
        end = self._append(record)
        if not deferred:
            self._write_through(record.physical_offset)
        self._last_ms = now
        if not self._turn_open:
            self._open_turn(now, record.physical_offset)
        return PutResult(0, record.physical_offset, end)

    def _write_through(self, start: int) -> None:
        """Hand the append at `start` to the operating system, or take it back."""
        try:
            self._log.write_out()
        except StoreError as error:
            self._log.take_back(start)
            if not isinstance(error, NoSpace):
                self._fail(error)
            raise

    def _open_turn(self, now_ms: int, start: int) -> None:
        self._turn_open = True
        self._turn_ms = now_ms
        self._turn_start = start
        self._schedule(self._end_turn)

    def _end_turn(self) -> None:
        """Write what the turn gathered. On a full disk the turn stays open, and is ended when there is space."""
        if not self._turn_open or self.failure is not None:
            return
        touched = self._touched
        try:
            self._log.write_out()
            for queue in touched:
                queue.write(self._turn_ms, self._turn_start)
        except StoreError as error:
            self._stall(error)
            return
        self._turn_open = False
        if isinstance(self._refusal, NoSpace):
            self._refusal = None
        self._touched = []
        self._background.dispatched_ms = self._last_ms
        self._background.dispatched_end = self._log.written
        arrivals = []
        for queue in touched:
            arrivals.append(Arrival(queue.topic, queue.queue_id, queue.next_offset, queue.tags_codes))
            queue.tags_codes = []
        self._turns.append(_Turn(self._log.written, touched, arrivals))
        if self.sync_flush:
            self._commit.request(self._log.written, self._last_ms)
        self._publish()

    def _stall(self, error: StoreError) -> None:
        """Refuse puts: until there is space again, or for good."""
        if isinstance(error, NoSpace):
            self._refusal = self._refusal or error
        else:
            self._fail(error)

    def _space_known(self, refusal: StoreError | None) -> None:
        """The disk is nearly full, or not, or not any more."""
        if refusal is None and isinstance(self._refusal, DiskNearlyFull):
            logger.warning("puts are accepted again")
            self._refusal = None
        elif refusal is not None and self._refusal is None:
            logger.error("puts are refused", reason=str(refusal))
            self._refusal = refusal

    def _prepared(self, error: Exception | None) -> None:
        # Not the end when it failed: the append that needs the segment tries again, and says why not.
        if error is None:
            self._log.prepared()
        elif not isinstance(error, StoreError):
            self._fail(error)

    def _flushed(self) -> None:
        self._end_turn()
        self._publish()

    def _publish(self) -> None:
        """Show readers the turns that became readable."""
        readable = self.readable_offset
        turns = self._turns
        while turns and turns[0].end <= readable:
            turn = turns.popleft()
            for queue, arrival in zip(turn.queues, turn.arrivals, strict=True):
                queue.max_offset = arrival.max_offset
            if turn.arrivals:
                self._on_arrival(turn.arrivals)

    def _reconsider(self) -> None:
        """Raise the reason why puts are refused, unless it was a full disk that has space again."""
        if isinstance(self._refusal, NoSpace):
            self._end_turn()
        if self._refusal is not None:
            raise self._refusal

    def _fail(self, error: Exception) -> None:
        """Go on as a read-only store: what was promised since the last flush cannot be kept any more."""
        if self.failure is not None:
            return
        if not isinstance(error, StoreError):
            self._defect = error
        path, offset = getattr(error, "path", None), getattr(error, "offset", None)
        self.failure = self._refusal = StoreReadOnly(
            f"the store is read-only until a restart, because writing failed: {error}", path=path, offset=offset
        )
        logger.error("store is read-only", error=str(error))
        self._commit.fail()


def _common_queue(records: Sequence[Record]) -> tuple[str, int]:
    keys = {(record.topic, record.queue_id) for record in records}
    if len(keys) != 1:
        raise ValueError(f"a batch has messages of one queue, not of {len(keys)}")
    return keys.pop()


def _has_key(view: memoryview, topic: str, key: str, begin_ms: int, end_ms: int, *, unique: bool) -> bool:
    """Whether a record is one that was asked for: equal hashes are not yet equal keys."""
    try:
        facts = inspect(view)
    except CorruptRecord:
        return False
    if facts.topic != topic or not begin_ms <= facts.store_timestamp_ms <= end_ms:
        return False
    return unique_key_of(facts.properties) == key if unique else key in keys_of(facts.properties)
