"""`export` and `import`: the messages of one topic, by file from one store to another.

The file is a sequence of frames, u32 length and as many bytes of MessagePack: a header, the messages, an end that
counts them. Not JSON lines, because it is for machines: bodies and properties stay the bytes they are, and what was cut
off is noticed (`dump` writes JSON lines, for people).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from struct import Struct
from typing import IO

import msgspec

from protocol.errors import RocketMQError
from protocol.hashing import tags_code
from protocol.names import is_system_topic
from protocol.record import Record, pack, unpack
from rmq_server.core.clock import Clock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.dispatch import tag_of
from rmq_server.store.errors import StoreError
from rmq_server.store.files import Files
from rmq_server.store.layout import BLANK_BYTES
from rmq_server.store.message_store import MessageStore
from rmq_server.storetools.delay import TagsCodes
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.index import UPSTREAM, index_settings
from rmq_server.storetools.log import Found, LogReader, without_crc
from rmq_server.storetools.worker import InlineWorker

FORMAT = "rmq-export"
VERSION = 1
_LENGTH = Struct(">I")
_MAX_FRAME_BYTES = 128 << 20
_TURN_BYTES = 4 << 20


class Header(msgspec.Struct, array_like=True, tag="header"):
    """The first frame."""

    format: str
    version: int
    topic: str


class Message(msgspec.Struct, array_like=True, tag="message"):
    """One message; body, properties and hosts are as in the CommitLog record."""

    queue_id: int
    queue_offset: int
    flag: int
    sys_flag: int
    born_timestamp_ms: int
    born_host: bytes
    store_timestamp_ms: int
    store_host: bytes
    reconsume_times: int
    properties: bytes
    body: bytes


class End(msgspec.Struct, array_like=True, tag="end"):
    """The last frame: how many messages there are."""

    messages: int


_Frame = Header | Message | End


class BadExport(RocketMQError):
    """A file that is no export, or not all of one."""


class Moved(msgspec.Struct):
    """What an export or import did: messages and their bytes, and how many of each queue."""

    topic: str
    messages: int
    body_bytes: int
    queues: dict[int, int]


def export_topic(topic: str, records: Iterable[Found], file: IO[bytes]) -> Moved:
    """Write the records of a topic, which are in the order of the log, to a file."""
    encode = msgspec.msgpack.Encoder().encode
    moved, queues = Moved(topic, 0, 0, {}), Counter[int]()

    def write(frame: _Frame) -> None:
        data = encode(frame)
        file.write(_LENGTH.pack(len(data)))
        file.write(data)

    write(Header(FORMAT, VERSION, topic))
    for found in records:
        record = unpack(found.data, found.at)
        write(_message(record))
        moved.messages += 1
        moved.body_bytes += len(record.body)
        queues[record.queue_id] += 1
    write(End(moved.messages))
    moved.queues = dict(sorted(queues.items()))
    return moved


class ExportFile:
    """An export, opened for reading.

    Every method raises BadExport for what is no whole export.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder: msgspec.msgpack.Decoder[_Frame] = msgspec.msgpack.Decoder(_Frame)
        header = self._frame()
        if not isinstance(header, Header) or header.format != FORMAT:
            raise BadExport("the file is not an export of `rmq store export`")
        if header.version != VERSION:
            raise BadExport(f"the file has version {header.version} of the format, this program knows {VERSION}")
        self.topic = header.topic

    def messages(self) -> Iterator[tuple[Message, int]]:
        """Each message, and how many bytes of the file it took."""
        count = 0
        while True:
            start = self._file.tell()
            frame = self._frame()
            if isinstance(frame, End):
                if frame.messages != count:
                    raise BadExport(f"the file has {count} messages, but its end says {frame.messages}")
                return
            if not isinstance(frame, Message):
                raise BadExport("the file has a second header")
            count += 1
            yield frame, self._file.tell() - start

    def rewind(self, place: int) -> None:
        """Go back to where `tell` was."""
        self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()

    def _frame(self) -> _Frame:
        at = self._file.tell()
        head = self._file.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise BadExport(f"the file is cut off at byte {at}")
        (length,) = _LENGTH.unpack(head)
        data = self._file.read(length) if length <= _MAX_FRAME_BYTES else b""
        if len(data) < length:
            raise BadExport(f"the file is cut off, or no export, at byte {at}")
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadExport(f"the file is damaged, or no export, at byte {at}: {error}") from None


def import_topic(
    store: StoreDirectory, source: ExportFile, *, files: Files, clock: Clock, progress: Progress = no_progress
) -> Moved:
    """Append the messages of an export to a store, behind what its queues have.

    Born times and hosts, properties, flags and queues are kept. Queue offsets, store times and physical offsets are
    new, and the store host is that of the store's last message. The file is read twice, so that nothing is appended of
    one that is not whole. The directory must have a CommitLog, whose file sizes go on to be used.
    Raises: StoreInUse while a broker has it open; BadExport; other StoreErrors.
    """
    if is_system_topic(source.topic):
        raise BadExport(f"{source.topic} is a topic of the broker's own: its messages mean nothing in another store")
    store.refuse_damage()
    store_host = _store_host(store)
    config = store_config(store)
    _check(source, config)
    turn: deque[Callable[[], None]] = deque()
    target = MessageStore(
        config,
        clock=clock,
        files=files,
        schedule=turn.append,
        worker=InlineWorker(),
        on_arrival=lambda arrivals: None,
        tags_code_of=TagsCodes(store),
    )
    target.open()
    try:
        moved = _append(target, source, turn, store_host, progress)
    finally:
        target.close()
    return moved


def _check(source: ExportFile, config: StoreConfig) -> None:
    """Read all of the file and go back; raises BadExport when it is not whole or does not fit."""
    first = source.tell()
    for message, _ in source.messages():
        size = len(pack(_record(source.topic, message, None)))
        if size + BLANK_BYTES > config.commitlog_file_bytes:
            raise BadExport(
                f"message {message.queue_offset} of queue {message.queue_id} takes {size} bytes, "
                f"the CommitLog has files of {config.commitlog_file_bytes}"
            )
    source.rewind(first)


def _append(
    target: MessageStore,
    source: ExportFile,
    turn: deque[Callable[[], None]],
    store_host: bytes | None,
    progress: Progress,
) -> Moved:
    moved, queues = Moved(source.topic, 0, 0, {}), Counter[int]()
    waiting, written = 0, 0

    def end_turn() -> None:
        nonlocal written
        target.write_out()
        written = moved.messages
        while turn:
            turn.popleft()()
        target.tick()

    try:
        for message, size in source.messages():
            record = _record(source.topic, message, store_host)
            target.put(record, tags_code(tag_of(record.properties)), deferred=True)
            moved.messages += 1
            moved.body_bytes += len(message.body)
            queues[message.queue_id] += 1
            waiting += size
            if waiting >= _TURN_BYTES:
                end_turn()
                waiting = 0
            progress(size)
        end_turn()
    except StoreError as error:
        with suppress(StoreError):
            end_turn()
        raise StoreError(f"the import stopped after {written} messages: {error}") from error
    moved.queues = dict(sorted(queues.items()))
    return moved


def _message(record: Record) -> Message:
    return Message(
        queue_id=record.queue_id,
        queue_offset=record.queue_offset,
        flag=record.flag,
        sys_flag=record.sys_flag,
        born_timestamp_ms=record.born_timestamp_ms,
        born_host=record.born_host,
        store_timestamp_ms=record.store_timestamp_ms,
        store_host=record.store_host,
        reconsume_times=record.reconsume_times,
        properties=without_crc(record.properties),
        body=record.body,
    )


def _record(topic: str, message: Message, store_host: bytes | None) -> Record:
    """prepared_transaction_offset stays 0: it was a place in the other log."""
    return Record(
        topic=topic,
        queue_id=message.queue_id,
        body=message.body,
        properties=message.properties,
        flag=message.flag,
        sys_flag=message.sys_flag,
        born_timestamp_ms=message.born_timestamp_ms,
        born_host=message.born_host,
        store_host=store_host or message.store_host,
        reconsume_times=message.reconsume_times,
    )


def _store_host(store: StoreDirectory) -> bytes | None:
    """The address of the broker that wrote the store, which message ids name."""
    ends = (queue.entry(queue.end - 1) for queue in store.queues.values() if queue.end > queue.first)
    last = max((entry.physical_offset for entry in ends if entry is not None), default=-1)
    found = LogReader(store.log, store.reader).record_at(last)
    return None if found is None else unpack(found.data, found.at).store_host


def store_config(store: StoreDirectory) -> StoreConfig:
    """Settings that fit the files of a directory; what it does not have gets upstream's sizes."""
    index = index_settings(store) or UPSTREAM
    defaults = StoreConfig()
    return StoreConfig(
        root=str(store.paths.root),
        commitlog_path=str(store.paths.commitlog),
        commitlog_file_bytes=store.log.file_bytes or defaults.commitlog_file_bytes,
        consumequeue_file_bytes=store.queue_file_bytes or defaults.consumequeue_file_bytes,
        index_slots=index.slots,
        index_entries=index.entries,
        flush_disk_type=FlushDiskType.ASYNC_FLUSH,
        max_message_bytes=_MAX_FRAME_BYTES,
    )
