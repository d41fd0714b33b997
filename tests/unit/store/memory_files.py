"""A file system in memory that can do what disks do: lose what was not synced, tear writes, fill up, fail.

Content is durable after `sync` of the file, names after `sync_dir` of their directory. What a power loss leaves of the
rest is decided by a seeded Random, sector by sector and name by name.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rmq_server.store.errors import StoreInUse
from rmq_server.store.files import Data, DirEntry, Space

SECTOR = 64
"""Scaled down with the files of the tests, so that entries and records are torn as often as in life."""

Fault = Callable[[str, Path], None]


class Crashed(BaseException):
    """The machine stopped in the middle of an operation."""


@dataclass(eq=False)
class Node:
    """A file or, when `data` is None, a directory."""

    data: bytearray | None = field(default_factory=bytearray)
    durable: bytes = b""
    modified_ms: int = 0
    blocks: set[int] = field(default_factory=set)


class MemoryFile:
    def __init__(self, files: "MemoryFiles", path: Path, node: Node) -> None:
        self._files, self._path, self._node = files, path, node
        assert node.data is not None
        self._data = node.data

    def size(self) -> int:
        return len(self._data)

    def pread(self, length: int, offset: int) -> bytes:
        self._files.operate("pread", self._path)
        return bytes(self._data[offset : offset + length])

    def pwrite(self, data: Data, offset: int) -> None:
        self._grow(offset + len(data))
        try:
            self._files.operate("pwrite", self._path)
            self._files.take_blocks(self._node, offset, len(data))
        except (OSError, Crashed):
            torn = len(data) // 2
            if self._files.tears:
                self._data[offset : offset + torn] = data[:torn]
            raise
        self._data[offset : offset + len(data)] = data
        self._node.modified_ms = self._files.now_ms()

    def is_cached(self, offset: int, length: int) -> bool:
        return not self._files.is_cold(self._path)

    def map(self) -> memoryview:
        self._files.operate("map", self._path)
        return memoryview(self._data).toreadonly()

    def truncate(self, size: int) -> None:
        self._files.operate("truncate", self._path)
        del self._data[size:]
        self._grow(size)

    def allocate(self, offset: int, length: int) -> None:
        self._files.operate("allocate", self._path)
        self._files.take_blocks(self._node, offset, length)

    def data_ranges(self, offset: int) -> list[tuple[int, int]]:
        end = len(self._data.rstrip(b"\0"))
        return [(offset, end)] if offset < end else []

    def sync(self) -> None:
        self._files.operate("sync", self._path)
        self._node.durable = bytes(self._data)

    def close(self) -> None:
        pass

    def _grow(self, size: int) -> None:
        if size > len(self._data):
            self._data.extend(bytes(size - len(self._data)))


class MemoryFiles:
    """capacity: bytes of the disk; tears: a failing write leaves its first half behind."""

    def __init__(self, *, capacity: int | None = None, tears: bool = True) -> None:
        self.capacity = capacity
        self.tears = tears
        self.fault: Fault = lambda operation, path: None
        self.nodes: dict[Path, Node] = {Path("/"): Node(None)}
        self.durable_names: dict[Path, Node] = dict(self.nodes)
        self.is_cold: Callable[[Path], bool] = lambda path: False
        self.spaces: dict[Path, Space] = {}
        self.now_ms: Callable[[], int] = lambda: 0
        self.operations = 0
        self._locked: set[Path] = set()

    def operate(self, operation: str, path: Path) -> None:
        """Count an operation; the fault may fail it by an OSError or stop the machine by Crashed."""
        self.operations += 1
        self.fault(operation, path)

    def take_blocks(self, node: Node, offset: int, length: int) -> None:
        needed = set(range(offset // SECTOR, -(-(offset + length) // SECTOR)))
        used = sum(len(other.blocks) for other in self.nodes.values())
        if self.capacity is not None and (used + len(needed - node.blocks)) * SECTOR > self.capacity:
            raise OSError(errno.ENOSPC, "no space left on device")
        node.blocks |= needed

    def open(self, path: Path, *, create: bool = False) -> MemoryFile:
        self.operate("open", path)
        node = self.nodes.get(path)
        if node is None:
            if not create or path.parent not in self.nodes:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            node = self.nodes[path] = Node()
        return MemoryFile(self, path, node)

    def exists(self, path: Path) -> bool:
        return path in self.nodes

    def list(self, directory: Path) -> list[DirEntry]:
        return sorted(
            (
                DirEntry(path.name, node.data is None, len(node.data or b""), node.modified_ms)
                for path, node in self.nodes.items()
                if path.parent == directory and path != directory
            ),
            key=lambda entry: entry.name,
        )

    def space(self, path: Path) -> Space:
        return self.spaces.get(path, Space(0, 1))

    def crash_after(self, operations: int) -> None:
        """Raise Crashed in the operation of that number, counted from 1 and from now, and in all that follow."""
        left = operations

        def fault(operation: str, path: Path) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Crashed

        self.fault = fault

    def make_dirs(self, path: Path) -> None:
        self.operate("make_dirs", path)
        for each in (*reversed(path.parents), path):
            self.nodes.setdefault(each, Node(None))

    def remove(self, path: Path) -> None:
        self.operate("remove", path)
        self.nodes.pop(path, None)

    def rename(self, source: Path, target: Path) -> None:
        self.operate("rename", source)
        self.nodes[target] = self.nodes.pop(source)

    def sync_dir(self, path: Path) -> None:
        self.operate("sync_dir", path)
        for name in [name for name in self.durable_names if name.parent == path and name not in self.nodes]:
            del self.durable_names[name]
        for name, node in self.nodes.items():
            if name.parent == path:
                self.durable_names[name] = node

    def lock(self, path: Path) -> "MemoryLock":
        if path in self._locked:
            raise StoreInUse("another broker has the store open", path=path)
        self.nodes.setdefault(path, Node())
        self._locked.add(path)
        return MemoryLock(self._locked, path)

    def after_kill(self) -> "MemoryFiles":
        """The same disk after the process died: the operating system kept every write."""
        return self._copy(self.nodes, lambda node: bytes(node.data or b""))

    def after_power_loss(self, random: Random) -> "MemoryFiles":
        """The same disk after the machine died: of what was not synced, anything may be there or not."""
        names = {path: node for path, node in self.nodes.items() if path in self.durable_names or random.random() < 0.5}
        names |= {
            path: node for path, node in self.durable_names.items() if path not in self.nodes and random.random() < 0.5
        }
        return self._copy(names, lambda node: _torn(node, random))

    def _copy(self, names: dict[Path, Node], content: Callable[[Node], bytes]) -> "MemoryFiles":
        copy = MemoryFiles(capacity=self.capacity, tears=self.tears)
        for path, node in sorted(names.items()):
            if path == Path("/") or path.parent in copy.nodes:
                if node.data is None:
                    copy.nodes[path] = Node(None)
                else:
                    data = content(node)
                    copy.nodes[path] = Node(bytearray(data), data, node.modified_ms, set(node.blocks))
        copy.durable_names = dict(copy.nodes)
        return copy


class MemoryLock:
    def __init__(self, locked: set[Path], path: Path) -> None:
        self._locked, self._path = locked, path

    def close(self) -> None:
        self._locked.discard(self._path)


def _torn(node: Node, random: Random) -> bytes:
    assert node.data is not None
    current, durable = bytes(node.data), node.durable
    if len(current) != len(durable):
        size = random.choice((len(current), len(durable)))
        current, durable = (data[:size].ljust(size, b"\0") for data in (current, durable))
    # Real losses come in runs: half of the time nothing survives, else each sector decides.
    survives = random.choice((0.0, 0.0, 0.5, 0.9))
    sectors = [
        current[at : at + SECTOR] if random.random() < survives else durable[at : at + SECTOR]
        for at in range(0, len(current), SECTOR)
    ]
    return b"".join(sectors)
