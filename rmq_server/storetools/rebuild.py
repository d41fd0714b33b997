"""`rebuild`: ConsumeQueues and index files anew from the CommitLog.

They are built beside the old ones and take their place when they are complete and on disk. While they change places the
directory is marked as after a crash whose extent is unknown (`abort`, an empty checkpoint), so that after an accident
any broker replays the whole log.

A queue whose messages are all gone from the log keeps its offsets, which are nowhere else.
Source: store.md 5.4 (safe handover), 15.1 (23)
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from protocol.record import RecordFacts
from rmq_server.store.checkpoint import load_checkpoint, save_checkpoint
from rmq_server.store.config import StoreConfig
from rmq_server.store.consumequeue import ConsumeQueueStore
from rmq_server.store.delay import DelayLevels
from rmq_server.store.errors import CorruptStore, StoreInUse, UnsupportedStore
from rmq_server.store.files import Files
from rmq_server.store.index import Index, IndexSettings
from rmq_server.store.layout import ENTRY_BYTES
from rmq_server.store.mapped_file import OpenFiles
from rmq_server.storetools.delay import TagsCodes
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.index import index_settings
from rmq_server.storetools.log import Damage, LogScan
from rmq_server.storetools.verify import LMQ_PREFIX
from rmq_server.storetools.worker import InlineWorker

WORKSHOP = "rebuild.tmp"
_OPEN_FILES = 256
_BATCH = 1000
_BUFFERED_ENTRIES = 500_000
_FOREVER = 1 << 62
_DERIVED = ("consumequeue", "index")


class Rebuilt(msgspec.Struct, kw_only=True):
    """What was built. kept_queues: those that have no message in the log any more, and keep their offsets."""

    directory: str
    records: int = 0
    queues: int = 0
    kept_queues: int = 0
    queue_entries: int = 0
    index_files: int = 0
    index_entries: int = 0
    index_end_ms: int = 0
    end_offset: int = 0


def rebuild_into(
    store: StoreDirectory,
    target: Path,
    *,
    files: Files,
    on_damage: Callable[[Damage], None],
    progress: Progress = no_progress,
    levels: DelayLevels | None = None,
    index: IndexSettings | None = None,
) -> Rebuilt:
    """Build `consumequeue` and `index` in another directory, which does not have them yet.

    levels: delays of delayed messages; learned from the queues when not given.
    index:  sizes of the index files, for a store that has none or only damaged ones.
    Raises: StoreInUse while a broker has the store open; UnsupportedStore; other StoreErrors.
    """
    if store.holder is not None:
        raise StoreInUse("a broker has the store open: stop it first", path=store.paths.root)
    return _Builder(store, target, files, levels, index, on_damage).build(progress)


def rebuild_in_place(
    store_root: Path,
    commitlog: Path | None = None,
    *,
    files: Files,
    on_damage: Callable[[Damage], None],
    progress: Callable[[StoreDirectory], Progress],
    levels: DelayLevels | None = None,
    index: IndexSettings | None = None,
) -> Rebuilt:
    """Replace the queues and the index of a store, under its lock.

    progress: asked for the progress of a store that is about to be read.
    Raises: as rebuild_into.
    """
    with StoreDirectory.open(store_root, commitlog) as before:
        if before.holder is not None:
            raise StoreInUse("a broker has the store open: stop it first", path=before.paths.root)
    root = before.paths.root
    workshop = root / WORKSHOP
    lock = files.lock(before.paths.lock)
    try:
        for name in _DERIVED:  # an earlier rebuild may have been cut off between two renames
            if files.exists(workshop / "old" / name) and not files.exists(root / name):
                files.rename(workshop / "old" / name, root / name)
        with StoreDirectory.open(store_root, commitlog, is_locked=True) as store:
            shutil.rmtree(workshop, ignore_errors=True)
            try:
                rebuilt = _Builder(store, workshop, files, levels, index, on_damage).build(progress(store))
            except BaseException:
                shutil.rmtree(workshop, ignore_errors=True)
                raise
            _put_in_place(store, workshop, files, rebuilt.index_end_ms)
            rebuilt.directory = str(root)
            return rebuilt
    finally:
        lock.close()


class _Builder:
    def __init__(
        self,
        store: StoreDirectory,
        target: Path,
        files: Files,
        levels: DelayLevels | None,
        index: IndexSettings | None,
        on_damage: Callable[[Damage], None],
    ) -> None:
        _refuse_multi_dispatch(store)
        for name in _DERIVED:
            if files.exists(target / name):
                raise UnsupportedStore("there is something already: name another directory", path=target / name)
        self._store = store
        self._target = target
        self._on_damage = on_damage
        self._clock = _StoreTime()
        self._worker = InlineWorker()
        self._open_files = OpenFiles(_OPEN_FILES)
        self._queues = ConsumeQueueStore(
            files,
            target / "consumequeue",
            file_bytes=store.queue_file_bytes or StoreConfig().consumequeue_file_bytes,
            tags_code_of=TagsCodes(store, levels),
            open_files=self._open_files,
        )
        self._index = self._index_for(index or index_settings(store), files)

    def build(self, progress: Progress) -> Rebuilt:
        result = Rebuilt(directory=str(self._target))
        batch: list[RecordFacts] = []
        scan = LogScan(self._store, on_damage=self._on_damage, progress=progress)
        for found in scan:
            batch.append(found.facts)
            if len(batch) == _BATCH:
                self._take(batch, result)
        self._take(batch, result)
        self._keep_offsets(result)
        self._finish(result)
        result.end_offset = scan.end
        return result

    def _index_for(self, settings: IndexSettings | None, files: Files) -> Index | None:
        if settings is None:
            for entry in self._store.index_files:
                path = self._store.paths.root / "index" / entry.name
                raise UnsupportedStore("the sizes of the index files cannot be told from it: give them", path=path)
            return None
        files.make_dirs(self._target / "index")
        return Index(files, self._target / "index", settings, clock=self._clock)

    def _take(self, batch: list[RecordFacts], result: Rebuilt) -> None:
        for facts in batch:
            try:
                self._queues.replay(facts)
            except CorruptStore as error:
                self._pass_over(facts, error)
        if self._index is not None and batch:
            self._clock.ms = batch[0].store_timestamp_ms
            self._index.dispatch(batch)
            self._index.tick(0.0, _FOREVER, 0, self._worker)
        before = result.records // _BUFFERED_ENTRIES
        result.records += len(batch)
        if result.records // _BUFFERED_ENTRIES != before:
            self._write_queues()
        batch.clear()

    def _pass_over(self, facts: RecordFacts, error: CorruptStore) -> None:
        """A record whose queue offset cannot be: no checksum covers that."""
        start = facts.physical_offset
        segment = self._store.log.find(start)
        assert segment is not None
        self._on_damage(Damage(segment, start, str(error), start + facts.size, is_tail=False))

    def _write_queues(self) -> None:
        for queue in self._queues.queues.values():
            if queue.buffer:
                queue.write(0)

    def _keep_offsets(self, result: Rebuilt) -> None:
        for key, old in self._store.queues.items():
            last = old.entry(old.end - 1) if old.end > old.first and key not in self._queues.queues else None
            if last is not None and last.is_sound and last.physical_offset < self._store.log.start:
                queue = self._queues.create(*key)
                queue.skip_to(old.end - 1)
                queue.push(*last)
                result.kept_queues += 1

    def _finish(self, result: Rebuilt) -> None:
        self._queues.settle(self._store.log.start, 0)
        for queue in self._queues.queues.values():
            result.queues += 1
            result.queue_entries += queue.max_offset - queue.files.start // ENTRY_BYTES
            queue.sync_job()()
        self._queues.close()
        if self._index is not None:
            self._index.finish()
            result.index_files = len(self._index.run)
            result.index_entries = sum(file.count - 1 for file in self._index.run)
            result.index_end_ms = self._index.end_ms
            self._index.close()


class _StoreTime:
    """The clock of index files' names: they are called after the store time of their first records."""

    ms = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return 0.0


def _refuse_multi_dispatch(store: StoreDirectory) -> None:
    for topic, _ in store.queues:
        if topic.startswith(LMQ_PREFIX):
            path = store.paths.consumequeue / topic
            raise UnsupportedStore("light queues (enableLmq) cannot be rebuilt", path=path)


def _put_in_place(store: StoreDirectory, workshop: Path, files: Files, index_end_ms: int) -> None:
    paths = store.paths
    marks = load_checkpoint(files, paths.checkpoint)
    save_checkpoint(files, paths.checkpoint, replace(marks, physic_timestamp_ms=0, logics_timestamp_ms=0).encode())
    abort = files.open(paths.abort, create=True)
    try:
        abort.sync()
    finally:
        abort.close()
    files.sync_dir(paths.root)
    files.make_dirs(workshop / "old")
    for name in _DERIVED:
        if files.exists(workshop / name):
            if files.exists(paths.root / name):
                files.rename(paths.root / name, workshop / "old" / name)
            files.rename(workshop / name, paths.root / name)
    files.sync_dir(paths.root)
    if not store.crashed and index_end_ms:
        marks = replace(marks, index_timestamp_ms=index_end_ms)
    save_checkpoint(files, paths.checkpoint, marks.encode())
    if not store.crashed:
        files.remove(paths.abort)
        files.sync_dir(paths.root)
    shutil.rmtree(workshop, ignore_errors=True)
