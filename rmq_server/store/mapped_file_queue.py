"""The ordered, gapless run of files that make up one log.

Source: apache/rocketmq: store/.../MappedFileQueue.java
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rmq_server.store.errors import UnsupportedStore, from_os_error
from rmq_server.store.files import DirEntry, Files
from rmq_server.store.layout import file_offset
from rmq_server.store.mapped_file import MappedFile, OpenFiles


class MappedFileQueue:
    """Files of one size, each starting where its predecessor ends.

    new_levels: how many directories up a name may be new when a file is.
    open_files: bounds how many are open; shared with other logs.
    """

    __slots__ = (
        "_files",
        "_new_levels",
        "_open_files",
        "_size_key",
        "_unsynced_names",
        "directory",
        "file_bytes",
        "run",
    )

    def __init__(
        self,
        files: Files,
        directory: Path,
        file_bytes: int,
        *,
        size_key: str,
        new_levels: int = 1,
        open_files: OpenFiles | None = None,
    ) -> None:
        self._files = files
        self._open_files = open_files
        self._size_key = size_key
        self._new_levels = new_levels
        self._unsynced_names = False
        self.directory = directory
        self.file_bytes = file_bytes
        self.run: list[MappedFile] = []

    def load(self, *, repair: bool = False) -> None:
        """Find the files. An empty last one, whose creation a crash interrupted, is deleted as upstream does.

        repair: for logs that can be rebuilt. A power loss can lose the names, or the length, of several files that were
        not synced: the run ends before the first such file, and what follows, which was not synced either, is deleted.
        Raises: UnsupportedStore for alien names, other sizes than configured, and gaps.
        """
        directory = self.directory
        found = [entry for entry in self._files.list(directory) if not entry.is_dir]
        starts = [_start_of(directory, entry.name) for entry in found]
        for index, (entry, start) in enumerate(zip(found, starts, strict=True)):
            lost = entry.size == 0 or bool(self.run and start != self.run[-1].end)
            if lost and (repair or (index == len(found) - 1 and entry.size == 0)):
                self._discard(found[index:])
                return
            if entry.size != self.file_bytes:
                raise UnsupportedStore(
                    f"the file has {entry.size} bytes but {self._size_key} is {self.file_bytes}: "
                    "set it to what the store was written with",
                    path=directory / entry.name,
                )
            if lost or start % self.file_bytes:
                raise UnsupportedStore(
                    "a file before it is missing, or its name is not a multiple of its size",
                    path=directory / entry.name,
                )
            self.run.append(self._file(start))

    def _discard(self, entries: list[DirEntry]) -> None:
        for entry in entries:
            self._files.remove(self.directory / entry.name)
        self._unsynced_names = True

    @property
    def start(self) -> int:
        """Where the first file starts; 0 without files."""
        return self.run[0].start if self.run else 0

    @property
    def end(self) -> int:
        """Where the last file ends; 0 without files."""
        return self.run[-1].end if self.run else 0

    def find(self, offset: int) -> MappedFile | None:
        """The file that holds an offset of the log."""
        run = self.run
        if not run:
            return None
        index = (offset - run[0].start) // self.file_bytes
        return run[index] if 0 <= index < len(run) else None

    def extend(self, start: int, *, durable: bool = False) -> MappedFile:
        """Add the file that starts at `start`: where the run ends, or anywhere when it is empty.

        durable: name and length survive a power loss at once, instead of after the next sync_job.
        """
        if not self.run:
            try:
                self._files.make_dirs(self.directory)
            except OSError as error:
                raise from_os_error(error, self.directory) from error
        added = self._file(start)
        added.create()
        if durable:
            added.sync()
            sync_names(self._files, self.directory)
        else:
            self._unsynced_names = True
        self.run.append(added)
        return added

    def prepare_job(self, start: int) -> Callable[[], None]:
        """What makes the file that `extend` will add exist, durably; to be called from any thread."""
        ahead = MappedFile(self._files, self.directory, start, self.file_bytes)

        def prepare() -> None:
            try:
                ahead.create()
                ahead.sync()
                sync_names(self._files, self.directory)
            finally:
                ahead.close()

        return prepare

    def drop_prepared(self, start: int) -> None:
        """Delete a file that was prepared and never added."""
        if self.find(start) is None:
            self._file(start).remove()
            self._unsynced_names = True

    def between(self, start: int, end: int) -> Iterator[MappedFile]:
        """The files that hold any of [start, end), from the last on."""
        for file in reversed(self.run):
            if file.end <= start:
                return
            if file.start < end:
                yield file

    def remove_from(self, offset: int, *, durable: bool = False) -> bool:
        """Delete the files that start at `offset` or later; says whether there were any.

        durable: one after the other, so that a power loss in between leaves no gap.
        """
        removed = False
        while self.run and self.run[-1].start >= offset:
            self.run.pop().remove()
            removed = self._unsynced_names = True
            if durable:
                sync_names(self._files, self.directory)
        return removed

    def detach_first(self, file: MappedFile) -> None:
        """Take the first file out of the run, to be deleted."""
        assert self.run[0] is file
        del self.run[0]

    def reattach(self, file: MappedFile) -> None:
        """Put a file back that could not be deleted."""
        self.run.insert(0, file)

    def unlink_job(self, files: Sequence[MappedFile]) -> Callable[[], None]:
        """What deletes files that were detached, oldest first, each durably; to be called from any thread."""

        def unlink() -> None:
            for file in files:
                file.remove()
                sync_names(self._files, self.directory)

        return unlink

    def sync_job(self, start: int, end: int) -> Callable[[], None]:
        """What makes [start, end) durable, names included; to be called once, from any thread."""
        due = list(self.between(start, end))
        names, self._unsynced_names = self._unsynced_names, False

        def sync() -> None:
            for file in due:
                file.sync()
            if names:
                for directory in (self.directory, *self.directory.parents)[: self._new_levels]:
                    sync_names(self._files, directory)

        return sync

    def _file(self, start: int) -> MappedFile:
        return MappedFile(self._files, self.directory, start, self.file_bytes, open_files=self._open_files)

    def close(self) -> None:
        """Let go of every file."""
        for file in self.run:
            file.close()


def _start_of(directory: Path, name: str) -> int:
    """`file_offset`, without a Path for each of 10,000 good names."""
    return int(name) if name.isascii() and name.isdigit() else file_offset(directory / name)


def sync_names(files: Files, directory: Path) -> None:
    """Make the names in a directory durable."""
    try:
        files.sync_dir(directory)
    except OSError as error:
        raise from_os_error(error, directory) from error
