"""A store directory, opened for reading: its segments, queues and other files, with sizes detected from what is there.

What does not fit is collected in `problems` instead of stopping the reader, so that damaged stores can be looked at.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from protocol.bodies.codec import decode_body
from protocol.bodies.topic_config import TopicConfigTable
from protocol.errors import RemoteProtocolError
from rmq_server.store.errors import UnsupportedStore, from_os_error
from rmq_server.store.files import DirEntry
from rmq_server.store.layout import StorePaths, file_offset, refuse_other_engines
from rmq_server.storetools.files import Reader, ReadOnlyFiles, lock_holder
from rmq_server.storetools.queues import Queue
from rmq_server.storetools.runs import Problem, Run, Segment

_JSON_WITHOUT_SUFFIX = frozenset({"timermetrics", "transactionMetrics"})

Progress = Callable[[int], None]
"""Told how many more bytes of the CommitLog are done."""


def no_progress(done: int) -> None:
    """For those who do not want to know."""


class StoreDirectory:
    """One store directory; a context manager.

    holder:      process id of the broker that has it open, 0 when unknown, None when none has.
    crashed:     the `abort` file is there: a broker runs, or did not stop properly.
    index_files: oldest first.
    topics:      the topics of config/topics.json; None when that cannot be read.
    """

    def __init__(self, paths: StorePaths, reader: Reader, holder: int | None) -> None:
        self.paths = paths
        self.reader = reader
        self.problems: list[Problem] = []
        self._files = ReadOnlyFiles()
        self.holder = holder
        self.crashed = self._files.exists(paths.abort)
        self.log = self._run(paths.commitlog, self._list(paths.commitlog), 0)
        self.queues = self._queues()
        self.index_files = self._index_files()
        self.topics = self._topics()

    @classmethod
    def open(cls, root: Path, commitlog: Path | None = None, *, is_locked: bool = False) -> Self:
        """Look at a directory.

        is_locked: this process has the lock; it would lose it by asking for its holder.
        Raises: UnsupportedStore when it is not a store directory, or one of another engine.
        """
        paths = StorePaths.of(str(root), str(commitlog or ""))
        if not paths.commitlog.is_dir():
            hint = f"; {paths.root / 'store'} is one" if (paths.root / "store" / "commitlog").is_dir() else ""
            raise UnsupportedStore(f"this is not a store directory: there is no commitlog in it{hint}", path=paths.root)
        refuse_other_engines(ReadOnlyFiles(), paths)
        return cls(paths, Reader(), None if is_locked else lock_holder(paths.lock))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.close()

    @property
    def queue_file_bytes(self) -> int:
        """Length of the ConsumeQueue files; 0 when there are none."""
        sizes = Counter(queue.run.file_bytes for queue in self.queues.values() if queue.run.segments)
        return max(sizes, key=lambda size: (sizes[size], size), default=0)

    @property
    def known_end(self) -> int:
        """The end of the last message that any queue knows: up to here the log must be whole."""
        return max((queue.physical_end for queue in self.queues.values()), default=0)

    def refuse_damage(self) -> None:
        """Raise UnsupportedStore when the directory is not one to write into."""
        for path, _, text in self.problems:
            raise UnsupportedStore(f"{text}: `rmq store verify` says more", path=path)
        for queue in self.queues.values():
            if queue.physical_end > self.log.end:
                raise UnsupportedStore(
                    f"the queue knows a message up to offset {queue.physical_end}, but the CommitLog's files end at "
                    f"{self.log.end}: `rmq store verify` says more",
                    path=queue.run.directory,
                )

    def config_files(self) -> list[DirEntry]:
        """The JSON files, without their backups."""
        return [
            entry
            for entry in self._list(self.paths.root / "config")
            if not entry.is_dir and (entry.name.endswith(".json") or entry.name in _JSON_WITHOUT_SUFFIX)
        ]

    def other_files(self) -> list[tuple[str, int]]:
        """Names and bytes of what these tools do not look into."""
        known = {"commitlog", "consumequeue", "index", "config", "checkpoint", "abort", "abort.bak", "lock"}
        return [
            (entry.name, sum(each.size for each in self._list(self.paths.root / entry.name)))
            if entry.is_dir
            else (entry.name, entry.size)
            for entry in self._list(self.paths.root)
            if entry.name not in known
        ]

    def is_topic_deleted(self, topic: str) -> bool:
        """Whether records of this topic are left over: it is neither defined nor has it any queue."""
        return (
            self.topics is not None and topic not in self.topics and not any(name == topic for name, _ in self.queues)
        )

    def _problem(self, path: Path, offset: int | None, text: str) -> None:
        self.problems.append(Problem(path, offset, text))

    def _list(self, directory: Path) -> list[DirEntry]:
        try:
            return self._files.list(directory)
        except OSError as error:
            raise from_os_error(error, directory) from error

    def _run(self, directory: Path, entries: Iterable[DirEntry], file_bytes: int) -> Run:
        found: list[tuple[int, DirEntry]] = []
        for entry in entries:
            try:
                if not entry.is_dir:
                    found.append((file_offset(directory / entry.name), entry))
            except UnsupportedStore:
                self._problem(directory / entry.name, None, "the name is not an offset: no broker will start with it")
        if not file_bytes:
            sizes = Counter(entry.size for _, entry in found if entry.size)
            file_bytes = max(sizes, key=lambda size: (sizes[size], size), default=0)
        segments: list[Segment] = []
        for index, (start, entry) in enumerate(found):
            path = directory / entry.name
            if entry.size == 0 and index == len(found) - 1:
                continue  # a crash interrupted its creation; every broker deletes it
            if entry.size != file_bytes:
                self._problem(path, min(entry.size, file_bytes), f"has {entry.size} bytes instead of {file_bytes}")
            if segments and start != segments[-1].end:
                self._problem(path, None, f"should start at {segments[-1].end}: a file before it is missing")
            segments.append(Segment(path, start, start + file_bytes, entry.size))
        return Run(directory, segments, file_bytes)

    def _queues(self) -> dict[tuple[str, int], Queue]:
        found: list[tuple[str, int, Path, list[DirEntry]]] = []
        sizes: Counter[int] = Counter()
        root = self.paths.consumequeue
        for topic in self._list(root):
            if not topic.is_dir:
                continue
            for queue in self._list(root / topic.name):
                path = root / topic.name / queue.name
                if not (queue.is_dir and queue.name.isascii() and queue.name.isdigit()):
                    self._problem(path, None, "the name is not a queue id")
                    continue
                entries = self._list(path)
                sizes.update(entry.size for entry in entries if entry.size)
                found.append((topic.name, int(queue.name), path, entries))
        file_bytes = max(sizes, key=lambda size: (sizes[size], size), default=0)
        return {
            (topic, queue_id): Queue(topic, queue_id, self._run(path, entries, file_bytes), self.reader)
            for topic, queue_id, path, entries in found
        }

    def _index_files(self) -> list[DirEntry]:
        found = []
        for entry in self._list(self.paths.root / "index"):
            if entry.is_dir or not (entry.name.isascii() and entry.name.isdigit()):
                self._problem(self.paths.root / "index" / entry.name, None, "the name is not that of an index file")
            else:
                found.append(entry)
        return found

    def _topics(self) -> frozenset[str] | None:
        try:
            data = (self.paths.root / "config" / "topics.json").read_bytes()
            return frozenset(decode_body(TopicConfigTable, data).topic_config_table) if data.strip() else None
        except (OSError, RemoteProtocolError):
            return None
