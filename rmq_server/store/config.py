"""Settings of the store, under upstream's keys.

Source: apache/rocketmq: store/.../config/MessageStoreConfig.java
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from rmq_server.core.config import setting
from rmq_server.store.layout import ENTRY_BYTES

_KIB = 1024
_MIB = 1024 * _KIB
_GIB = 1024 * _MIB
_HOURS = frozenset(range(24))
_RATIO_LIMITS = {
    "disk_max_used_ratio": (10, 95),
    "disk_clean_forcibly_ratio": (30, 85),
    "disk_warning_ratio": (35, 90),
}
"""Percentages that count as the nearest of these."""


class FlushDiskType(StrEnum):
    """When a message counts as stored: once it is on disk, or once the operating system has it."""

    SYNC_FLUSH = "SYNC_FLUSH"
    ASYNC_FLUSH = "ASYNC_FLUSH"


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where and how the store keeps its files.

    Differs: flush_disk_type is SYNC_FLUSH by default; group commit makes it cheap.
    """

    root: str = setting(str(Path.home() / "store"), "storePathRootDir", doc="directory of the store")
    commitlog_path: str = setting("", "storePathCommitLog", doc="directory of the CommitLog; empty: <root>/commitlog")
    commitlog_file_bytes: int = setting(_GIB, "mappedFileSizeCommitLog", doc="bytes of one CommitLog segment")
    consumequeue_file_bytes: int = setting(
        300_000 * ENTRY_BYTES, "mappedFileSizeConsumeQueue", doc="bytes of one ConsumeQueue file, rounded up to entries"
    )
    message_index: bool = setting(True, "messageIndexEnable", doc="index messages by key")
    index_slots: int = setting(5_000_000, "maxHashSlotNum", doc="hash slots of an index file", low=1)
    index_entries: int = setting(20_000_000, "maxIndexNum", doc="entries of an index file, one of them unused", low=2)
    flush_disk_type: FlushDiskType = setting(  # noqa: RUF009 - an enum member is as immutable as the others
        FlushDiskType.SYNC_FLUSH, "flushDiskType", doc="acknowledge after the disk (SYNC_FLUSH) or before (ASYNC_FLUSH)"
    )
    flush_interval_ms: int = setting(
        500, "flushIntervalCommitLog", doc="longest time that an ASYNC_FLUSH message is not on disk", live=True
    )
    sync_flush_timeout_ms: int = setting(
        5000, "syncFlushTimeout", doc="longest wait of a SYNC_FLUSH message for the disk", live=True
    )
    consumequeue_flush_interval_ms: int = setting(
        1000, "flushIntervalConsumeQueue", doc="period of syncing ConsumeQueues", live=True
    )
    consumequeue_flush_least_pages: int = setting(
        2, "flushConsumeQueueLeastPages", doc="4 KiB pages that make a ConsumeQueue worth a sync", live=True
    )
    consumequeue_flush_thorough_interval_ms: int = setting(
        60_000, "flushConsumeQueueThoroughInterval", doc="period of syncing every ConsumeQueue", live=True
    )
    max_message_bytes: int = setting(4 * _MIB, "maxMessageSize", doc="largest body", live=True)
    max_transfer_bytes_in_memory: int = setting(
        256 * _KIB, "maxTransferBytesOnMessageInMemory", doc="largest reply to a reader near the end", live=True
    )
    max_transfer_count_in_memory: int = setting(
        32, "maxTransferCountOnMessageInMemory", doc="most messages of a reply to a reader near the end", live=True
    )
    max_transfer_bytes_in_disk: int = setting(
        64 * _KIB, "maxTransferBytesOnMessageInDisk", doc="largest reply to a reader far behind", live=True
    )
    max_transfer_count_in_disk: int = setting(
        8, "maxTransferCountOnMessageInDisk", doc="most messages of a reply to a reader far behind", live=True
    )
    max_filter_message_bytes: int = setting(
        16_000, "maxFilterMessageSize", doc="bytes of ConsumeQueue entries that one read looks at", live=True
    )
    in_memory_max_ratio: int = setting(
        40, "accessMessageInMemoryMaxRatio", doc="percent of the physical memory that counts as near the end", live=True
    )
    file_reserved_hours: int = setting(
        72, "fileReservedTime", doc="hours after its last write that a CommitLog segment is kept", live=True, low=0
    )
    delete_when: str = setting(
        "04", "deleteWhen", doc="hours of the day, local time, when expired segments are deleted: `04` or `04;16`"
    )
    disk_max_used_ratio: int = setting(
        75, "diskMaxUsedSpaceRatio", doc="percent of the disk above which expired segments are deleted at any hour"
    )
    disk_clean_forcibly_ratio: int = setting(
        85, "diskSpaceCleanForciblyRatio", doc="percent of the disk above which the oldest segments go, expired or not"
    )
    disk_warning_ratio: int = setting(
        90, "diskSpaceWarningLevelRatio", doc="percent of the disk above which no message is stored"
    )
    disk_enough_bytes: int = setting(
        0,
        "diskSpaceEnoughBytes",
        doc="while so much is free the ratios above do not count, because a large disk is never full by percent; "
        "0: they always count (not upstream's)",
    )
    clean_file_forcibly: bool = setting(
        True, "cleanFileForciblyEnable", doc="delete segments that are not expired when the disk is nearly full"
    )
    delete_file_batch_max: int = setting(
        10, "deleteFileBatchMax", doc="segments deleted in one round", live=True, low=1
    )
    clean_resource_interval_ms: int = setting(
        10_000, "cleanResourceInterval", doc="period of looking for what is to be deleted", live=True, low=100
    )
    reserve_bytes: int = setting(
        64 * _MIB, "commitLogReserveBytes", doc="blocks reserved on disk ahead of the append position (not upstream's)"
    )
    open_files: int = setting(
        512,
        "maxOpenStoreFiles",
        doc="files of the store that are open at a time; a segment that is read takes two descriptors (not upstream's)",
        low=16,
    )

    delete_hours: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = -(-self.consumequeue_file_bytes // ENTRY_BYTES) * ENTRY_BYTES
        object.__setattr__(self, "consumequeue_file_bytes", whole)
        for name, (low, high) in _RATIO_LIMITS.items():
            object.__setattr__(self, name, max(low, min(getattr(self, name), high)))
        object.__setattr__(self, "delete_hours", _hours(self.delete_when))


def _hours(text: str) -> frozenset[int]:
    try:
        hours = frozenset(int(hour) for hour in text.split(";") if hour.strip())
    except ValueError:
        hours = frozenset({-1})
    if not hours <= _HOURS:
        raise ValueError(f"deleteWhen={text} does not name hours of the day: 0 to 23, separated by `;`")
    return hours
