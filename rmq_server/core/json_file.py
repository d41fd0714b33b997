"""One value in one JSON file that survives crashes: topics.json, consumerOffset.json, kvConfig.json and their like.

Writing: temporary file in the same directory, fsync, current file -> `.bak`, temporary file -> current, then fsync of
the directory. So at every moment the current file or its `.bak` is whole. Reading takes the first that is whole.

Invariants: a damaged file never reads as an empty one, and is moved aside before anything is written; of saves that
overlap only the last is written; an older value never replaces a newer one.
Source: apache/rocketmq: common/.../ConfigManager.java; store.md 8
"""

import asyncio
import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from protocol.bodies.codec import decode_body, encode_body
from protocol.errors import RemoteProtocolError
from rmq_server.core.errors import StartupError
from rmq_server.core.log import get_logger

T = TypeVar("T")

_INDENT = re.compile(rb"^ +", re.MULTILINE)
_CANNOT_SYNC_DIRECTORIES = os.name == "nt"

_log = get_logger("core.json_file")


class JsonFile(Generic[T]):
    """A file that holds one `kind`, readable by the Java broker."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self.backup = path.with_name(path.name + ".bak")
        self._kind = kind
        self._latest: T | None = None
        self._numbers = itertools.count(1)
        self._asked = 0
        self._written = 0
        self._writer = asyncio.Lock()
        self._disk = threading.Lock()

    def load(self) -> T | None:
        """The value; None when there is no file yet, or an empty one.

        Raises: StartupError when what is there cannot be read.
        """
        self._sweep()
        try:
            value = self._read(self.path)
        except RemoteProtocolError as error:
            value = self._load_backup(error)
            self._set_aside()
            return value
        return self._load_backup(None) if value is None else value

    async def save(self, value: T) -> None:
        """Return when `value`, or one that was saved after it, is on disk. `value` is encoded when its turn comes.

        Raises: OSError; the file holds what it held before.
        """
        number = self._ask(value)
        async with self._writer:
            if self._written >= number:
                return
            number = self._asked
            assert self._latest is not None
            await self._write(number, _encode(self._latest))

    def save_now(self, value: T) -> None:
        """`save` for the end of a process: returns when it is done, and blocks.

        Raises: OSError.
        """
        self._put_in_place(self._ask(value), _encode(value))

    def _ask(self, value: T) -> int:
        self._latest = value
        self._asked = next(self._numbers)
        return self._asked

    async def _write(self, number: int, data: bytes) -> None:
        """All of it in one step beside the loop: a cancelled caller leaves nothing half done, for the step goes on."""
        from aiofiles.os import wrap  # lazy: it costs a tenth of a server's time to get ready

        await wrap(self._put_in_place)(number, data)

    def _put_in_place(self, number: int, data: bytes) -> None:
        """Write a temporary file and put it in place, unless a newer one was there first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{number}.tmp")
        with _removed_on_failure(temporary):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._replace(number, temporary)

    def _replace(self, number: int, temporary: Path) -> None:
        with self._disk:
            if number <= self._written:
                temporary.unlink()
                return
            if _has_bytes(self.path):
                os.replace(self.path, self.backup)
            os.replace(temporary, self.path)
            _sync_directory(self.path.parent)
            self._written = number

    def _read(self, path: Path) -> T | None:
        """A value; None when the file is missing or empty.

        Raises: RemoteProtocolError when it is damaged; StartupError when the system does not let us read it.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartupError(f"cannot read {path}: {error.strerror}") from None
        return decode_body(self._kind, data) if data.strip() else None

    def _load_backup(self, damage: RemoteProtocolError | None) -> T | None:
        try:
            value = self._read(self.backup)
        except RemoteProtocolError as error:
            raise self._unreadable(damage or error) from None
        if value is not None:
            _log.warning("read the backup file", path=str(self.backup), reason=str(damage or "the file is missing"))
        elif damage is not None:
            raise self._unreadable(damage)
        return value

    def _unreadable(self, damage: RemoteProtocolError) -> StartupError:
        return StartupError(
            f"{self.path} is damaged and {self.backup.name} beside it does not help ({damage}): put a good copy back, "
            "or move both away to start without what they held"
        )

    def _set_aside(self) -> None:
        """Move a damaged file out of the way of `.bak`, which is the good one now."""
        os.replace(self.path, self.path.with_name(self.path.name + ".damaged"))

    def _sweep(self) -> None:
        for left_over in self.path.parent.glob(f"{self.path.name}.*.tmp"):
            left_over.unlink(missing_ok=True)


@contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    """A full disk shall not be filled with attempts."""
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _encode(value: object) -> bytes:
    """Strict JSON, indented by tabs as Java's is."""
    indented = msgspec.json.format(encode_body(value), indent=1)
    return _INDENT.sub(lambda blanks: b"\t" * len(blanks.group()), indented)


def _has_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    if _CANNOT_SYNC_DIRECTORIES:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
