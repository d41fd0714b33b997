"""The checkpoint file: up to which store time everything is known to be on disk. Bounds the work of a crash start.

    i64 physic timestamp       store time of the last record that is durable in the CommitLog
    i64 logics timestamp       all entries of messages stored until then are durable in the ConsumeQueues
    i64 index timestamp        the same for the index files
    i64 master flushed offset
    i64 confirm offset
    … zeros; at byte 256, which no Java broker reads or writes, our own mark:
    u32 CRC-32 of the five fields above and of what follows here
    i64 position: everything before it is durable in the CommitLog, and its entries in the ConsumeQueues
    u32 CRC-32 of the last bytes of the CommitLog before the position, at most 512 and of one segment
4096 bytes; the rest is zero. Fields that this broker does not know about stay as they are.

The mark is in the same sector as the fields, so both are of one moment or the mark is known to be stale: it counts only
as long as nobody else, a Java broker or `rmq store rebuild`, changed a field, and the log is the same before it. To
lose it costs time: a crash start then begins at a segment, as upstream's does.

Differs: upstream's logics timestamp says what was written, not what is durable.
Source: apache/rocketmq: store/.../StoreCheckpoint.java
"""

from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from zlib import crc32

from rmq_server.store.errors import from_os_error
from rmq_server.store.files import Files
from rmq_server.store.mapped_file import MappedFile
from rmq_server.store.mapped_file_queue import MappedFileQueue

_FIELDS = Struct(">qqqqq")
_FILE_BYTES = 4096
_SAFETY_MS = 3000
_MARK = Struct(">qI")
_MARK_CRC = Struct(">I")
_MARK_AT = 256
_TAIL_BYTES = 512


@dataclass(slots=True)
class Checkpoint:
    """The five marks."""

    physic_timestamp_ms: int = 0
    logics_timestamp_ms: int = 0
    index_timestamp_ms: int = 0
    master_flushed_offset: int = 0
    confirm_offset: int = 0

    @property
    def min_timestamp_ms(self) -> int:
        """Everything stored until then is on disk, with a margin."""
        return max(0, min(self.physic_timestamp_ms, self.logics_timestamp_ms) - _SAFETY_MS)

    def encode(self) -> bytes:
        return _FIELDS.pack(
            self.physic_timestamp_ms,
            self.logics_timestamp_ms,
            self.index_timestamp_ms,
            self.master_flushed_offset,
            self.confirm_offset,
        )


@dataclass(frozen=True, slots=True)
class ReplayMark:
    """Where a crash start may begin, and what tells that the log before it is still the one that was meant."""

    position: int
    tail_crc: int

    @classmethod
    def at(cls, position: int, segment: MappedFile) -> "ReplayMark":
        """The mark for a position that is in, or at the end of, a segment; for any thread."""
        start = max(segment.start, position - _TAIL_BYTES)
        return cls(position, crc32(segment.read(position - start, start)))

    def is_of(self, segments: MappedFileQueue) -> bool:
        """Whether the log still has the bytes before the position."""
        segment = segments.find(self.position - 1)
        return segment is not None and self == ReplayMark.at(self.position, segment)


def load_checkpoint(files: Files, path: Path) -> Checkpoint:
    """Read the file; zeros, which make a crash start replay everything, when there is none or it is cut off."""
    data = _read(files, path)[: _FIELDS.size]
    return Checkpoint(*_FIELDS.unpack(data)) if len(data) == _FIELDS.size else Checkpoint()


def load_mark(files: Files, path: Path) -> ReplayMark | None:
    """Read the mark; None when there is none that belongs to the fields."""
    data = _read(files, path)
    fields, mark = data[: _FIELDS.size], data[_MARK_AT + _MARK_CRC.size :][: _MARK.size]
    if len(mark) < _MARK.size or data[_MARK_AT:][: _MARK_CRC.size] != _MARK_CRC.pack(crc32(fields + mark)):
        return None
    return ReplayMark(*_MARK.unpack(mark))


def _read(files: Files, path: Path) -> bytes:
    if not files.exists(path):
        return b""
    try:
        file = files.open(path)
        try:
            return file.pread(_FILE_BYTES, 0)
        finally:
            file.close()
    except OSError as error:
        raise from_os_error(error, path) from error


def save_checkpoint(files: Files, path: Path, encoded: bytes, mark: ReplayMark | None = None) -> None:
    """Write and sync; the fields fit one sector, so they are never torn. Without a new mark the old one goes stale."""
    try:
        file = files.open(path, create=True)
        try:
            if mark is not None:
                packed = _MARK.pack(mark.position, mark.tail_crc)
                file.pwrite(_MARK_CRC.pack(crc32(encoded + packed)) + packed, _MARK_AT)
            file.pwrite(encoded, 0)
            if file.size() < _FILE_BYTES:
                file.truncate(_FILE_BYTES)
            file.sync()
        finally:
            file.close()
    except OSError as error:
        raise from_os_error(error, path) from error
