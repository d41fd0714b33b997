"""The seam between the store and the file system: what tests replace to lose writes, fill the disk or fail a sync.

Writes go through `pwrite`, so that a full disk is an error and never a SIGBUS; reads of sealed bytes go through a
read-only mapping. A mapping lives until its last memoryview is gone, and an open file until nobody holds it: nothing is
unmapped or closed under a reader, in whichever thread, and to let go is to drop a reference.
"""

import contextlib
import errno
import os
import shutil
import sys
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple, Protocol

from rmq_server.store.errors import StoreInUse

if sys.platform != "win32":
    import fcntl
    from mmap import MADV_RANDOM

Data = bytes | bytearray | memoryview

_pread, _pwrite = os.pread, os.pwrite
_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


@dataclass(frozen=True, slots=True)
class DirEntry:
    """One name of a directory."""

    name: str
    is_dir: bool
    size: int
    modified_ms: int = 0


class Space(NamedTuple):
    """Bytes of a file system. usable: what this process may still take, which is less than what is free."""

    used: int
    usable: int


class Closeable(Protocol):
    """Something to close."""

    def close(self) -> None: ...


class File(Protocol):
    """One open file. Offsets and lengths are bytes; every method may raise OSError."""

    def size(self) -> int: ...

    def pread(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""
        ...

    def pwrite(self, data: Data, offset: int) -> None:
        """Write all of `data`; a prefix may be written when it raises."""
        ...

    def is_cached(self, offset: int, length: int) -> bool:
        """Whether the bytes are in memory, so that reading them waits for no disk; True where nobody can tell."""
        ...

    def map(self) -> memoryview:
        """The whole file for reading; sees later writes, and outlives `close`."""
        ...

    def truncate(self, size: int) -> None: ...

    def allocate(self, offset: int, length: int) -> None:
        """Reserve disk blocks without changing content or size, so that writing there cannot run out of space."""
        ...

    def data_ranges(self, offset: int) -> list[tuple[int, int]]:
        """The parts from `offset` on, as (start, end), that may hold anything but zeros."""
        ...

    def sync(self) -> None:
        """Make content and size durable."""
        ...

    def close(self) -> None:
        """Close it now; a file that nobody holds any more is closed by itself."""
        ...


class Files(Protocol):
    """The file system as the store uses it; every method may raise OSError."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing."""
        ...

    def exists(self, path: Path) -> bool: ...

    def list(self, directory: Path) -> list[DirEntry]:
        """Sorted by name; empty for a directory that does not exist."""
        ...

    def space(self, path: Path) -> Space:
        """How full the file system is that holds an existing path."""
        ...

    def make_dirs(self, path: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def rename(self, source: Path, target: Path) -> None:
        """Replace `target` atomically."""
        ...

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def lock(self, path: Path) -> Closeable:
        """Take the exclusive lock that a Java broker also takes; create the file if needed.

        Raises: StoreInUse when any process, this one included, holds it.
        """
        ...


class OsFile:
    """A file of the operating system."""

    __slots__ = ("_fd", "_reads_exactly")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._reads_exactly = False

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def pread(self, length: int, offset: int) -> bytes:
        return _pread(self._fd, length, offset)

    def pwrite(self, data: Data, offset: int) -> None:
        written = _pwrite(self._fd, data, offset)
        while written < len(data):
            # Short writes happen at the end of the space; the next one raises.
            written += _pwrite(self._fd, memoryview(data)[written:], offset + written)

    def is_cached(self, offset: int, length: int) -> bool:
        if not _RWF_NOWAIT:
            return True
        if not self._reads_exactly:
            # Who asks is about to fetch what it needs. The kernel's own read-ahead, of megabytes, would at times be
            # started by the one who reads what is there already, and who must not wait.
            self._reads_exactly = True
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        try:
            return os.preadv(self._fd, [bytearray(length)], offset, _RWF_NOWAIT) == length
        except BlockingIOError:
            return False
        except OSError:  # a file system that does not offer it, tmpfs on older kernels among them
            return True

    def map(self) -> memoryview:
        mapped = mmap(self._fd, 0, access=ACCESS_READ)
        if sys.platform != "win32":
            mapped.madvise(MADV_RANDOM)  # see is_cached
        return memoryview(mapped)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def allocate(self, offset: int, length: int) -> None:
        # Darwin has no such call: there a full disk is first seen by pwrite.
        if sys.platform != "darwin" and sys.platform != "win32":
            os.posix_fallocate(self._fd, offset, length)

    def data_ranges(self, offset: int) -> list[tuple[int, int]]:
        size = self.size()
        if sys.platform == "win32":
            return [(offset, size)] if offset < size else []
        ranges = []
        try:
            while offset < size:
                start = os.lseek(self._fd, offset, os.SEEK_DATA)
                offset = os.lseek(self._fd, start, os.SEEK_HOLE)
                ranges.append((start, offset))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is left
                raise
        return ranges

    def sync(self) -> None:
        if sys.platform == "darwin":
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
        elif sys.platform == "win32":
            os.fsync(self._fd)
        else:
            os.fdatasync(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class OsFiles:
    """The file system of the operating system."""

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        return OsFile(os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644))

    def exists(self, path: Path) -> bool:
        return path.exists()

    def list(self, directory: Path) -> list[DirEntry]:
        try:
            with os.scandir(directory) as entries:
                found = [_described(entry) for entry in entries]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda entry: entry.name)

    def space(self, path: Path) -> Space:
        if sys.platform == "win32":
            usage = shutil.disk_usage(path)
            return Space(usage.used, usage.free)
        found = os.statvfs(path)
        return Space((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_bavail * found.f_frsize)

    def make_dirs(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def sync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path) -> "OsLock":
        return OsLock(path)


class OsLock:
    """The lock on byte 0 of the `lock` file, seen by Java.

    The trap: a POSIX lock belongs to the process and is gone when *any* descriptor of the file is closed, so the file
    is opened once and held, and a second lock from this process is refused by `_held`.
    """

    _held: set[Path] = set()

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        if self._path in self._held:
            raise StoreInUse("this process has the store open already", path=path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if sys.platform != "win32":
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, 0)
            os.pwrite(self._fd, b"lock", 0)
        except (BlockingIOError, PermissionError) as error:
            os.close(self._fd)
            raise StoreInUse("another broker has the store open", path=path) from error
        self._held.add(self._path)

    def close(self) -> None:
        self._held.discard(self._path)
        with contextlib.suppress(OSError):
            os.close(self._fd)


def _described(entry: os.DirEntry[str]) -> DirEntry:
    if entry.is_dir():
        return DirEntry(entry.name, True, 0)  # a start lists 10,000 of them
    found = entry.stat()
    return DirEntry(entry.name, False, found.st_size, found.st_mtime_ns // 1_000_000)


def make_durable_dirs(files: Files, path: Path) -> None:
    """Make a directory and its parents exist, in a way that a power loss does not undo."""
    missing = [each for each in (path, *path.parents) if not files.exists(each)]
    files.make_dirs(path)
    for each in missing:
        files.sync_dir(each.parent)


def physical_memory_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
