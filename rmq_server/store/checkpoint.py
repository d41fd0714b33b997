"""The checkpoint file: up to which store time everything is known to be on disk. Bounds the work of a crash start.

    i64 physic timestamp       store time of the last record that is durable in the CommitLog
    i64 logics timestamp       all entries of messages stored until then are durable in the ConsumeQueues
    i64 index timestamp        the same for the index files
    i64 master flushed offset
    i64 confirm offset
4096 bytes; what follows is zero. Fields that this broker does not know about stay as they are.

Differs: upstream's logics timestamp says what was written, not what is durable.
Source: apache/rocketmq: store/.../StoreCheckpoint.java
"""

from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from rmq_server.store.errors import from_os_error
from rmq_server.store.files import Files

_FIELDS = Struct(">qqqqq")
_FILE_BYTES = 4096
_SAFETY_MS = 3000


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


def load_checkpoint(files: Files, path: Path) -> Checkpoint:
    """Read the file; zeros, which make a crash start replay everything, when there is none or it is cut off."""
    if not files.exists(path):
        return Checkpoint()
    try:
        file = files.open(path)
        try:
            data = file.pread(_FIELDS.size, 0)
        finally:
            file.close()
    except OSError as error:
        raise from_os_error(error, path) from error
    return Checkpoint(*_FIELDS.unpack(data)) if len(data) == _FIELDS.size else Checkpoint()


def save_checkpoint(files: Files, path: Path, encoded: bytes) -> None:
    """Write and sync; the fields fit one sector, so they are never torn."""
    try:
        file = files.open(path, create=True)
        try:
            file.pwrite(encoded, 0)
            if file.size() < _FILE_BYTES:
                file.truncate(_FILE_BYTES)
            file.sync()
        finally:
            file.close()
    except OSError as error:
        raise from_os_error(error, path) from error
