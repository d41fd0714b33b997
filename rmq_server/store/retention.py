"""Retention: old messages go after their time, or earlier when the disk fills; a nearly full disk refuses puts.

    look (worker): how full the disk is, when segments were last written
    decide (loop): which of the oldest segments go; whether puts are refused
    delete (deleter): one segment after the other; then (worker) queue files and queue minima

A segment's age is that of its last write, not of its messages. The last segment stays, and so does the last file of a
queue, which knows the next queue offset. Names go one by one, each durably: a power loss must not leave a gap.

Differs: puts are refused from the start on, not after a minute; a segment that readers hold is unlinked at once, its
views live on.
Source: apache/rocketmq: store/.../DefaultMessageStore.java (CleanCommitLogService), queue/ConsumeQueueStore.java
(CleanConsumeQueueService), common/.../UtilAll.java (getDiskPartitionSpaceUsedPercent)
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from rmq_server.core.clock import Clock
from rmq_server.store.config import StoreConfig
from rmq_server.store.consumequeue import ConsumeQueue, ConsumeQueueStore
from rmq_server.store.errors import DiskNearlyFull, StoreError
from rmq_server.store.files import Files, Space
from rmq_server.store.flush import Worker
from rmq_server.store.layout import file_name
from rmq_server.store.mapped_file import MappedFile
from rmq_server.store.mapped_file_queue import MappedFileQueue

_FIRST_DELETION_SECONDS = 60.0
_HOUR_MS = 3_600_000
_QUEUES_AT_A_TIME = 64

logger = structlog.get_logger(__name__)


class Decision(NamedTuple):
    """What the disk and the hour ask for. at_once: segments go whatever their age."""

    deletes: bool
    at_once: bool
    refuses_puts: bool


def decide(config: StoreConfig, used_percent: int, hour: int) -> Decision:
    """used_percent: of the fuller disk; hour: of the day, local time."""
    full = used_percent > config.disk_warning_ratio
    at_once = config.clean_file_forcibly and (full or used_percent > config.disk_clean_forcibly_ratio)
    return Decision(
        deletes=at_once or hour in config.delete_hours or used_percent > config.disk_max_used_ratio,
        at_once=at_once,
        refuses_puts=full,
    )


def percent_of(space: Space) -> int:
    """Used of what this process could use at all, rounded up as upstream does."""
    whole = space.used + space.usable
    return -(-space.used * 100 // whole) if whole else 100


def local_hour(at_ms: int) -> int:
    """The hour of the day in this machine's time zone."""
    return time.localtime(at_ms / 1000).tm_hour


class _Found(NamedTuple):
    used_percent: int
    modified_ms: dict[str, int]


class Retention:
    """Deletes what is due.

    worker:      also syncs the queues: their files must not go while it does.
    deleter:     deletes segments, which nothing syncs any more: 1 GiB takes 170 ms, which no answer may wait for.
    directories: of the CommitLog and the ConsumeQueues, whose disks count.
    flushed:     the physical offset up to which the log is on disk; nothing beyond is deleted.
    on_space:    told why puts must be refused, or None when there is space, each time the disk was looked at.
    hour_of:     the hour of the day of a Unix time in milliseconds.
    """

    def __init__(
        self,
        config: StoreConfig,
        files: Files,
        worker: Worker,
        deleter: Worker,
        clock: Clock,
        *,
        directories: tuple[Path, Path],
        segments: MappedFileQueue,
        queues: ConsumeQueueStore,
        flushed: Callable[[], int],
        on_space: Callable[[StoreError | None], None],
        hour_of: Callable[[int], int] = local_hour,
    ) -> None:
        self._config = config
        self._files = files
        self._worker = worker
        self._deleter = deleter
        self._clock = clock
        self._directories = directories
        self._segments = segments
        self._queues = queues
        self._flushed = flushed
        self._on_space = on_space
        self._hour_of = hour_of
        self._busy = self._stopped = False
        self._due = 0.0
        self._deletes_from: float | None = None
        self._corrected = 0  # the queues agree with a log that starts here

    def tick(self, now: float) -> None:
        """Start a round when one is due. now: monotonic seconds."""
        if self._deletes_from is None:
            self._deletes_from = now + _FIRST_DELETION_SECONDS
        if now < self._due or self._busy or self._stopped:
            return
        self._due = now + self._config.clean_resource_interval_ms / 1000
        self._busy = True
        may_delete = now >= self._deletes_from
        found: list[_Found] = []
        self._worker.submit(
            lambda: found.append(self._look()), lambda error: self._looked(found, error, may_delete=may_delete)
        )

    def stop(self) -> None:
        """Submit nothing any more."""
        self._stopped = True

    def _look(self) -> _Found:
        used = max(self._counted_percent(self._files.space(directory)) for directory in self._directories)
        return _Found(used, {entry.name: entry.modified_ms for entry in self._files.list(self._directories[0])})

    def _counted_percent(self, space: Space) -> int:
        enough = self._config.disk_enough_bytes
        return 0 if 0 < enough <= space.usable else percent_of(space)

    def _looked(self, results: list[_Found], error: Exception | None, *, may_delete: bool) -> None:
        if error is not None:
            logger.warning("disk usage unknown", error=str(error))
            self._busy = False
            return
        found = results[0]
        now_ms = self._clock.now_ms()
        decision = decide(self._config, found.used_percent, self._hour_of(now_ms))
        self._on_space(self._refusal(found.used_percent) if decision.refuses_puts else None)
        victims: deque[MappedFile] = deque()
        if decision.deletes and may_delete:
            written_until = now_ms if decision.at_once else now_ms - self._config.file_reserved_hours * _HOUR_MS
            victims.extend(self._expired(found.modified_ms, written_until))
        self._delete(victims)

    def _refusal(self, used_percent: int) -> StoreError:
        return DiskNearlyFull(
            f"the disk is {used_percent} % full, more than diskSpaceWarningLevelRatio={self._config.disk_warning_ratio}"
            f" allows, and diskSpaceEnoughBytes={self._config.disk_enough_bytes} makes no exception:"
            " nothing is stored until there is space",
            path=self._directories[0],
        )

    def _expired(self, modified_ms: dict[str, int], written_until_ms: int) -> list[MappedFile]:
        expired: list[MappedFile] = []
        flushed = self._flushed()
        for segment in self._segments.run[:-1][: self._config.delete_file_batch_max]:
            written = modified_ms.get(file_name(segment.start))
            if segment.end > flushed or written is None or written > written_until_ms:
                break
            expired.append(segment)
        return expired

    # Each of the following hands on to the next when it is done.

    def _delete(self, victims: deque[MappedFile]) -> None:
        if self._stopped:
            return
        if not victims:
            self._correct_queues()
            return
        segment = victims.popleft()
        self._segments.detach_first(segment)

        def deleted(error: Exception | None) -> None:
            if error is None:
                logger.info("segment deleted", path=str(segment.path))
            else:
                logger.error("segment not deleted", path=str(segment.path), error=str(error))
                self._segments.reattach(segment)
                victims.clear()
            self._delete(victims)

        self._deleter.submit(self._segments.unlink_job([segment]), deleted)

    def _correct_queues(self) -> None:
        physical_min = self._segments.start
        if physical_min == self._corrected:
            self._busy = False
            return
        self._correct_some(list(self._queues.queues.values()), physical_min)

    def _correct_some(self, queues: list[ConsumeQueue], physical_min: int) -> None:
        if self._stopped:
            return
        if not queues:
            self._corrected = physical_min
            self._busy = False
            return
        some, rest = queues[:_QUEUES_AT_A_TIME], queues[_QUEUES_AT_A_TIME:]
        minima: list[int] = []

        def search() -> None:
            minima.extend([queue.first_kept(physical_min) for queue in some])

        def searched(error: Exception | None) -> None:
            if error is not None:
                logger.error("queue minimum unknown", error=str(error))
                self._busy = False  # the next round tries again
                return
            for queue, minimum in zip(some, minima, strict=True):
                gone = queue.forget_before(minimum)
                if gone:
                    self._worker.submit(queue.files.unlink_job(gone), _report_leftover)
            self._correct_some(rest, physical_min)

        self._worker.submit(search, searched)


def _report_leftover(error: Exception | None) -> None:
    # The next start finds the files again, and the round after that deletes them.
    if error is not None:
        logger.error("queue files not deleted", error=str(error))
