"""What can go wrong with the store; every error knows the file and, where it has one, the offset.

Source: names of our own; upstream answers with PutMessageStatus and AppendMessageStatus.
"""

import errno
from pathlib import Path

from protocol.errors import RocketMQError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoreError(RocketMQError):
    """Root of the store's errors."""

    def __init__(self, message: str, *, path: Path | str | None = None, offset: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if offset is None else f"{path} at byte {offset}: "
        super().__init__(f"{where}{message}")
        self.path = path
        self.offset = offset


class StoreInUse(StoreError):
    """Another broker, ours or Java's, has the directory open."""


class UnsupportedStore(StoreError):
    """The directory holds what this store must not touch: alien files, other sizes, another engine's data."""


class CorruptStore(StoreError):
    """The files contradict each other in a way that recovery cannot repair."""


class NoSpace(StoreError):
    """The disk is full. Reads go on; puts work again as soon as there is space."""


class DiskNearlyFull(StoreError):
    """The disk is fuller than `diskSpaceWarningLevelRatio`. Reads go on; puts work again as soon as there is space."""


class MessageTooLarge(StoreError):
    """The message, or the batch, is over `maxMessageSize` or does not fit one segment."""


class StoreReadOnly(StoreError):
    """A write or a sync failed, so that what was promised since cannot be kept: only a restart may go on writing."""


class StoreClosed(StoreError):
    """The store is not open."""


def from_os_error(error: OSError, path: Path | str, offset: int | None = None) -> StoreError:
    """The store's error for one of the system."""
    kind = NoSpace if error.errno in _NO_SPACE else StoreError
    return kind(error.strerror or str(error), path=path, offset=offset)
