"""What is made durable without anybody waiting: ConsumeQueues, and the checkpoint that says how far they are.

Both only bound the work of the next crash start, so they run on the worker behind every group commit.
Source: apache/rocketmq: store/.../queue/ConsumeQueueStore.java (FlushConsumeQueueService), StoreCheckpoint.java
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rmq_server.store.checkpoint import Checkpoint
from rmq_server.store.config import StoreConfig
from rmq_server.store.consumequeue import ConsumeQueue, ConsumeQueueStore
from rmq_server.store.errors import NoSpace
from rmq_server.store.flush import Worker
from rmq_server.store.layout import PAGE_BYTES

_CHECKPOINT_SECONDS = 1.0
_QUEUES_AT_A_TIME = 32
_MANY_JOBS = 256
_THREADS = 8


class BackgroundSync:
    """Syncs queues and saves the checkpoint when they are due.

    save_job:  makes what writes and syncs an encoded checkpoint and the position that it stands for.
    on_failed: called when something could not be made durable.
    """

    def __init__(
        self,
        config: StoreConfig,
        queues: ConsumeQueueStore,
        worker: Worker,
        *,
        save_job: Callable[[bytes, int], Callable[[], None]],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self.checkpoint = Checkpoint()
        self.dispatched_ms = 0  # store time of the last message whose entry is written
        self.dispatched_end = 0  # where its record ends
        self._queues = queues
        self._worker = worker
        self._save_job = save_job
        self._on_failed = on_failed
        self._least_bytes = config.consumequeue_flush_least_pages * PAGE_BYTES
        self._interval = config.consumequeue_flush_interval_ms / 1000
        self._thorough_interval = config.consumequeue_flush_thorough_interval_ms / 1000
        self._due: deque[ConsumeQueue] = deque()
        self._running_since_ms: int | None = None
        self._running_from = 0
        self._saved: tuple[bytes, int] | None = None
        self._queues_due = self._thorough_due = self._checkpoint_due = 0.0

    def tick(self, now: float, flushed_ms: int, flushed: int) -> None:
        """Start what is due. flushed_ms, flushed: store time, and end, of the last record durable in the CommitLog."""
        if now >= self._queues_due and not self._due and self._running_since_ms is None:
            self._queues_due = now + self._interval
            thorough = now >= self._thorough_due
            if thorough:
                self._thorough_due = now + self._thorough_interval
            least_bytes = 0 if thorough else self._least_bytes
            self._due.extend(queue for queue in self._queues.unsynced() if queue.unsynced_bytes >= least_bytes)
            self._sync_some()
        if now >= self._checkpoint_due:
            self._checkpoint_due = now + _CHECKPOINT_SECONDS
            position = self._advance(flushed_ms, flushed)
            due = self.checkpoint.encode(), position
            if due != self._saved:
                self._saved = due
                self._worker.submit(self._save_job(*due), self._checkpoint_saved)

    def finish(self, flushed_ms: int, flushed: int) -> None:
        """Make everything durable now; the worker has nothing left to do."""
        due = list(self._queues.unsynced())
        _run_all([queue.sync_job() for queue in due])
        for queue in due:
            queue.unsynced_since_ms = None
        position = self._advance(flushed_ms, flushed)
        self._save_job(self.checkpoint.encode(), position)()

    def _sync_some(self) -> None:
        """Sync the next of the queues that are due; a few at a time, so that the worker has time for others."""
        some = [self._due.popleft() for _ in range(min(_QUEUES_AT_A_TIME, len(self._due)))]
        if not some:
            return
        self._running_since_ms = min(_since(queue) for queue in some)
        self._running_from = min(queue.unsynced_from for queue in some)
        jobs = [queue.sync_job() for queue in some]
        for queue in some:
            queue.unsynced_since_ms = None

        def sync() -> None:
            for job in jobs:
                job()

        self._worker.submit(sync, self._some_synced)

    def _some_synced(self, error: Exception | None) -> None:
        self._running_since_ms = None
        self._done(error)
        if error is None:
            self._sync_some()

    def _checkpoint_saved(self, error: Exception | None) -> None:
        if isinstance(error, NoSpace):
            self._saved = None  # nothing is lost: the old one is still right, and the next one will be tried
        else:
            self._done(error)

    def _done(self, error: Exception | None) -> None:
        if error is not None:
            self._on_failed(error)

    def _advance(self, flushed_ms: int, flushed: int) -> int:
        """Bring the marks up to date, and say up to where in the CommitLog records and entries are durable."""
        unsynced = list(self._queues.unsynced())
        since = [_since(queue) for queue in unsynced]
        positions = [flushed, self.dispatched_end, *[queue.unsynced_from for queue in unsynced]]
        if self._running_since_ms is not None:
            since.append(self._running_since_ms)
            positions.append(self._running_from)
        marks = self.checkpoint
        marks.physic_timestamp_ms = max(marks.physic_timestamp_ms, flushed_ms)
        marks.logics_timestamp_ms = max(marks.logics_timestamp_ms, min(since) - 1 if since else self.dispatched_ms)
        return min(positions)


def _run_all(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs that wait for the disk; many of them in threads, because one journal commit serves all who wait."""
    if len(jobs) < _MANY_JOBS:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        for done in [threads.submit(job) for job in jobs]:
            done.result()


def _since(queue: ConsumeQueue) -> int:
    return queue.unsynced_since_ms or 0
