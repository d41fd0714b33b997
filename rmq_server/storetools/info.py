"""`info`: what is in a store, found without reading more of the log than its end."""

import msgspec

from rmq_server.store.checkpoint import load_checkpoint
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.files import ReadOnlyFiles
from rmq_server.storetools.log import Damage, LogReader, LogScan


class SegmentInfo(msgspec.Struct, frozen=True):
    """One CommitLog file."""

    file: str
    start: int
    bytes: int


class QueueInfo(msgspec.Struct, frozen=True):
    """One queue; max_offset is one past its last message. messages: those that the log still has."""

    queue_id: int
    min_offset: int
    max_offset: int
    messages: int


class TopicInfo(msgspec.Struct, frozen=True):
    """One topic that has queues on disk, or is defined in topics.json; is_defined: None when that cannot be read."""

    topic: str
    is_defined: bool | None
    messages: int
    queues: list[QueueInfo]


class FileInfo(msgspec.Struct, frozen=True):
    """Any other file."""

    file: str
    bytes: int


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Sizes are those of the files; times are Unix milliseconds, None without records.

    broker:  process id of the broker that has the store open, 0 when unknown, None when none has.
    crashed: the `abort` file is there.
    """

    directory: str
    broker: int | None
    crashed: bool
    commitlog_file_bytes: int
    consumequeue_file_bytes: int
    min_physical_offset: int
    max_physical_offset: int
    first_store_time_ms: int | None
    last_store_time_ms: int | None
    segments: list[SegmentInfo]
    topics: list[TopicInfo]
    checkpoint: dict[str, int]
    config_files: list[FileInfo]
    index_files: list[FileInfo]
    other_files: list[FileInfo]
    problems: list[str]


def store_info(store: StoreDirectory) -> StoreInfo:
    """Describe a store; problems are those seen in passing, `verify` looks for them."""
    damages: list[Damage] = []
    end, last_ms = _end(store, damages)
    first = LogReader(store.log, store.reader).record_at(store.log.start)
    marks = load_checkpoint(ReadOnlyFiles(), store.paths.checkpoint)
    index_files = [FileInfo(entry.name, entry.size) for entry in store.index_files]
    return StoreInfo(
        directory=str(store.paths.root),
        broker=store.holder,
        crashed=store.crashed,
        commitlog_file_bytes=store.log.file_bytes,
        consumequeue_file_bytes=store.queue_file_bytes,
        min_physical_offset=store.log.start,
        max_physical_offset=end,
        first_store_time_ms=first.facts.store_timestamp_ms if first else None,
        last_store_time_ms=last_ms,
        segments=[SegmentInfo(each.path.name, each.start, each.size) for each in store.log.segments],
        topics=_topics(store),
        checkpoint={name: getattr(marks, name) for name in marks.__slots__},
        config_files=[FileInfo(entry.name, entry.size) for entry in store.config_files()],
        index_files=index_files,
        other_files=[FileInfo(name, size) for name, size in store.other_files()],
        problems=[
            f"{path} at byte {at}: {text}" if at is not None else f"{path}: {text}" for path, at, text in store.problems
        ]
        + [f"{each.segment.path} at byte {each.offset - each.segment.start}: {each.reason}" for each in damages],
    )


def _end(store: StoreDirectory, damages: list[Damage]) -> tuple[int, int | None]:
    """Where the log ends and when its last record was stored, starting at the last message that a queue knows."""
    start, last = store.log.start, None
    reader = LogReader(store.log, store.reader)
    for queue in store.queues.values():
        entry = queue.entry(queue.end - 1) if queue.end > queue.first else None
        if entry is not None and entry.physical_offset >= start:
            record = reader.record_at(entry.physical_offset)
            start = entry.physical_offset if record is not None else start
    scan = LogScan(store, start=start, on_damage=damages.append)
    for found in scan:
        last = found.facts.store_timestamp_ms
    return scan.end, last


def _topics(store: StoreDirectory) -> list[TopicInfo]:
    queues: dict[str, list[QueueInfo]] = {topic: [] for topic in store.topics or ()}
    for (topic, queue_id), queue in sorted(store.queues.items()):
        low = queue.min_offset(store.log.start)
        queues.setdefault(topic, []).append(QueueInfo(queue_id, low, queue.end, queue.end - low))
    return [
        TopicInfo(
            topic, None if store.topics is None else topic in store.topics, sum(each.messages for each in found), found
        )
        for topic, found in sorted(queues.items())
    ]
