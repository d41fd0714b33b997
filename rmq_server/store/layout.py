"""Names, sizes and magic numbers of the store directory, and what makes a directory not ours to open.

    <root>/commitlog/<20 digits>                        segments of records, named by their first byte's offset
    <root>/consumequeue/<topic>/<queueId>/<20 digits>   entries of 20 bytes
    <root>/index/<17 digits>                            hash indexes by key, named by local time (index.py)
    <root>/checkpoint  abort  lock

ConsumeQueue entry: i64 physical offset, i32 record size, i64 tags code. A pre-blank entry (0, 0x7FFFFFFF, 0) fills the
indexes before the first message of a queue that does not start at 0.
Blank record, at the end of a full segment: i32 bytes left, i32 magic; the rest is arbitrary.
Source: apache/rocketmq: store/.../config/StorePathConfigHelper.java, ConsumeQueue.java, CommitLog.java
"""

from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Self

from protocol.record import MAGIC_BLANK
from rmq_server.store.errors import UnsupportedStore
from rmq_server.store.files import Files

ENTRY = Struct(">qiq")
ENTRY_BYTES = ENTRY.size
PRE_BLANK_SIZE = 0x7FFF_FFFF
PRE_BLANK = ENTRY.pack(0, PRE_BLANK_SIZE, 0)
MAX_EXT_ADDRESS = -0x8000_0001
"""Tags codes up to here are addresses into consumequeue_ext, so the tag is unknown."""

_BLANK = Struct(">ii")
BLANK_BYTES = _BLANK.size
PAGE_BYTES = 4096

_NAME_DIGITS = 20


@dataclass(frozen=True)
class StorePaths:
    """The places inside one store directory."""

    root: Path
    commitlog: Path
    consumequeue: Path
    index: Path
    checkpoint: Path
    abort: Path
    lock: Path

    @classmethod
    def of(cls, root: str, commitlog: str = "") -> Self:
        """Raises: UnsupportedStore when the CommitLog is spread over several directories."""
        if "," in commitlog or ":" in commitlog:
            raise UnsupportedStore(f"storePathCommitLog names several directories, one is supported: {commitlog}")
        base = Path(root).expanduser()
        return cls(
            root=base,
            commitlog=Path(commitlog).expanduser() if commitlog else base / "commitlog",
            consumequeue=base / "consumequeue",
            index=base / "index",
            checkpoint=base / "checkpoint",
            abort=base / "abort",
            lock=base / "lock",
        )


_ROCKSDB_CONFIG = ("topics", "subscriptionGroups", "consumerOffsets", "rdb")
_ROCKSDB_ACCESS = ("users", "acls")
_CONTROLLER_FILES = ("epochFileCheckpoint", "brokerIdentity")


def refuse_other_engines(files: Files, paths: StorePaths) -> None:
    """Raise UnsupportedStore for a directory that another engine, or another mode of a Java broker, keeps."""
    if files.exists(paths.consumequeue / "CURRENT"):
        raise UnsupportedStore(
            "the queues are kept in RocksDB (storeType=defaultRocksDB), which this store does not read: "
            "go on with a Java broker, or give another storePathRootDir",
            path=paths.consumequeue,
        )
    for name in _ROCKSDB_CONFIG:
        if files.list(paths.root / "config" / name):
            raise UnsupportedStore(
                "topics, groups or offsets are kept in RocksDB, which this broker does not read: go on with a Java "
                "broker, or export them as JSON files with its tools and move the directory away",
                path=paths.root / "config" / name,
            )
    for name in _ROCKSDB_ACCESS:
        if files.list(paths.root / "config" / name):
            raise UnsupportedStore(
                "users and permissions are kept here, but access control is not supported yet, so that every client "
                "could read and write: move the directory away if that is what you want",
                path=paths.root / "config" / name,
            )
    for name in _CONTROLLER_FILES:
        if files.exists(paths.root / name):
            raise UnsupportedStore(
                "the store belongs to a group that a controller manages (enableControllerMode=true), where another "
                "broker may be the master: go on with a Java broker, or move the file away to leave the group",
                path=paths.root / name,
            )
    batch = paths.root / "batchconsumequeue"
    if any(entry.is_dir for entry in files.list(batch)):
        raise UnsupportedStore("topics of queue.type=BatchCQ are not supported", path=batch)


def file_name(offset: int) -> str:
    """The name of the file that starts at `offset`."""
    return f"{offset:0{_NAME_DIGITS}d}"


def file_offset(path: Path) -> int:
    """The inverse of file_name.

    Raises: UnsupportedStore for any other name: a Java broker would not start either.
    """
    name = path.name
    if not (name.isascii() and name.isdigit()):
        raise UnsupportedStore("the name is not an offset, so the file does not belong here: move it away", path=path)
    return int(name)


def blank(left: int) -> bytes:
    """The record that closes a segment with `left` bytes to go."""
    return _BLANK.pack(left, MAGIC_BLANK)
