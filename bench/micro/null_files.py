"""A file system that forgets: a store on it costs what a store costs without its system calls.

Nothing can be read back, so it serves puts only.
"""

from pathlib import Path

from rmq_server.store.files import Data, DirEntry, Space


class NullFile:
    """Takes everything, holds nothing."""

    def __init__(self) -> None:
        self._size = 0

    def size(self) -> int:
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        return b""

    def pwrite(self, data: Data, offset: int) -> None:
        pass

    def is_cached(self, offset: int, length: int) -> bool:
        return True

    def map(self) -> memoryview:
        return memoryview(b"")

    def truncate(self, size: int) -> None:
        self._size = size

    def allocate(self, offset: int, length: int) -> None:
        pass

    def data_ranges(self, offset: int) -> list[tuple[int, int]]:
        return []

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class NullFiles:
    """Every directory is empty; the lock is always free."""

    def open(self, path: Path, *, create: bool = False) -> NullFile:
        return NullFile()

    def exists(self, path: Path) -> bool:
        return False

    def list(self, directory: Path) -> list[DirEntry]:
        return []

    def space(self, path: Path) -> Space:
        return Space(0, 1)

    def make_dirs(self, path: Path) -> None:
        pass

    def remove(self, path: Path) -> None:
        pass

    def rename(self, source: Path, target: Path) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        pass

    def lock(self, path: Path) -> NullFile:
        return NullFile()
