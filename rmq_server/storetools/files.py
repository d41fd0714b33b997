"""Access to a store's files that cannot change them, and the question whether a broker is using them."""

import os
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import NoReturn

from rmq_server.store.errors import StoreReadOnly, from_os_error
from rmq_server.store.files import OsFile, OsFiles

if sys.platform != "win32":
    import fcntl

_OPEN_FILES = 16
_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid


class ReadOnlyFiles(OsFiles):
    """The file system, where everything that writes is refused."""

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        if create:
            _refuse(path)
        return OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def make_dirs(self, path: Path) -> None:
        _refuse(path)

    def remove(self, path: Path) -> None:
        _refuse(path)

    def rename(self, source: Path, target: Path) -> None:
        _refuse(target)


def _refuse(path: Path) -> NoReturn:
    raise StoreReadOnly("the store is open for reading only", path=path)


class Reader:
    """Reads pieces of many files with few of them open.

    Every method raises StoreError for what the system refuses.
    """

    def __init__(self) -> None:
        self._files = ReadOnlyFiles()
        self._opened: OrderedDict[Path, OsFile] = OrderedDict()

    def read(self, path: Path, length: int, offset: int) -> bytes:
        """Up to `length` bytes, fewer only at the end of the file."""
        try:
            return self._file(path).pread(length, offset)
        except OSError as error:
            raise from_os_error(error, path, offset) from error

    def data_ranges(self, path: Path, offset: int) -> list[tuple[int, int]]:
        """The parts from `offset` on, as (start, end), that may hold anything but zeros."""
        try:
            return self._file(path).data_ranges(offset)
        except OSError as error:
            raise from_os_error(error, path, offset) from error

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1].close()

    def _file(self, path: Path) -> OsFile:
        file = self._opened.get(path)
        if file is None:
            if len(self._opened) >= _OPEN_FILES:
                self._opened.popitem(last=False)[1].close()
            file = self._opened[path] = self._files.open(path)
        else:
            self._opened.move_to_end(path)
        return file


def lock_holder(path: Path) -> int | None:
    """The process that has the store of this `lock` file open; 0 when the system does not say which; None for none.

    The trap: to be asked by another process than the broker's, because closing any descriptor of the file gives up the
    locks that a process has on it.
    """
    if sys.platform == "win32":
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, path) from error
    try:
        if sys.platform == "linux":
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
            return None if kind == fcntl.F_UNLCK else pid
        try:
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 0, os.SEEK_SET)
        except OSError:
            return 0
        return None
    finally:
        os.close(fd)
