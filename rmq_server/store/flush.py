"""Durability: the one thread that may block on the disk, and the group commit that acknowledges what it flushed.

While one sync runs, the next group collects: no timers, no batch size. Waiters are answered in the order they came, on
the loop. A sync that failed is never repeated: the kernel may have dropped the pages and report success the next time.
Source: apache/rocketmq: store/.../CommitLog.java (GroupCommitService); the worker is our own.
"""

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from rmq_server.core.clock import Clock

Work = Callable[[], None]
Done = Callable[[Exception | None], None]


class FlushResult(Enum):
    """How waiting for the disk ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Worker(Protocol):
    """Does blocking work elsewhere, one piece after the other, and reports back on the loop."""

    def submit(self, work: Work, done: Done, *, urgent: bool = False) -> None:
        """Run `work`, then `done` with its error; urgent work goes first."""
        ...

    def close(self) -> None:
        """Finish everything submitted, reports included, and stop."""
        ...


class FlushThread:
    """The production worker.

    post: runs a callable on the loop and may be called from any thread (`loop.call_soon_threadsafe`).
    """

    def __init__(self, post: Callable[[Callable[[], None]], object]) -> None:
        self._post = post
        self._urgent: deque[tuple[Work, Done]] = deque()
        self._background: deque[tuple[Work, Done]] = deque()
        self._finished: deque[tuple[Done, Exception | None]] = deque()
        self._tokens: SimpleQueue[None] = SimpleQueue()  # one for each piece of work, and one to end
        self._closing = False
        self._thread: threading.Thread | None = None
        self._start()  # not with the first work: on a busy machine the loop would stand still meanwhile (140 ms seen)

    def submit(self, work: Work, done: Done, *, urgent: bool = False) -> None:
        self._start()
        (self._urgent if urgent else self._background).append((work, done))
        self._tokens.put(None)

    def close(self) -> None:
        # Reports may submit more work, hence the loop.
        while self._thread is not None:
            self._closing = True
            self._tokens.put(None)
            self._thread.join()
            self._thread, self._closing = None, False
            self._report()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store-flush", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._tokens.get()
            waiting = self._urgent or self._background
            if not waiting:
                return
            work, done = waiting.popleft()
            error: Exception | None = None
            try:
                work()
            except Exception as failure:  # the boundary of the thread: handed to `done`, which decides
                error = failure
            self._finished.append((done, error))
            if not self._closing:
                self._post(self._report)

    def _report(self) -> None:
        while self._finished:
            done, error = self._finished.popleft()
            done(error)


class _Waiter(NamedTuple):
    end: int
    deadline: float
    callback: Callable[[FlushResult], None]


class GroupCommit:
    """Knows up to where the CommitLog is durable, has it made so, and answers who waits.

    sync_job:   what makes a range of the log durable, to run on the worker.
    on_flushed: called after `flushed` advanced, before the waiters are answered.
    on_failed:  called once, when a sync failed; nothing is flushed from then on.
    """

    def __init__(
        self,
        worker: Worker,
        clock: Clock,
        *,
        timeout_ms: int,
        sync_job: Callable[[int, int], Work],
        on_flushed: Callable[[], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._worker = worker
        self._clock = clock
        self._timeout = timeout_ms / 1000
        self._sync_job = sync_job
        self._on_flushed = on_flushed
        self._on_failed = on_failed
        self._waiters: deque[_Waiter] = deque()
        self._wanted = 0, 0
        self._syncing = False
        self._failed = False
        self.flushed = 0
        self.flushed_ms = 0  # store time of the last record before `flushed`

    def start_at(self, flushed: int, timestamp_ms: int) -> None:
        """Take what recovery made durable as the beginning."""
        self.flushed, self.flushed_ms = self._wanted = flushed, timestamp_ms

    def request(self, end: int, timestamp_ms: int) -> None:
        """Have the log made durable up to `end`, which is written; the last record before was stored at a time."""
        self._wanted = end, timestamp_ms
        if not self._syncing and not self._failed and end > self.flushed:
            self._syncing = True
            self._worker.submit(
                self._sync_job(self.flushed, end),
                lambda error: self._synced(end, timestamp_ms, error),
                urgent=True,
            )

    def wait(self, end: int, callback: Callable[[FlushResult], None]) -> None:
        """Call back once the log is durable up to `end`, it failed, or the time is over."""
        if self._failed:
            callback(FlushResult.FAILED)
        elif end <= self.flushed and not self._waiters:
            callback(FlushResult.OK)
        else:
            self._waiters.append(_Waiter(end, self._clock.monotonic() + self._timeout, callback))

    def expire(self) -> None:
        """Answer the waiters whose time is over."""
        if self._waiters:
            now = self._clock.monotonic()
            self._answer(FlushResult.TIMEOUT, lambda waiter: waiter.deadline <= now)

    def fail(self) -> None:
        """Flush nothing any more, and say so to everyone who waits."""
        self._failed = True
        self._answer(FlushResult.FAILED, lambda waiter: True)

    def advance(self, end: int, timestamp_ms: int) -> None:
        """The log is durable up to `end`: tell the readers, then the waiters."""
        self.flushed, self.flushed_ms = end, timestamp_ms
        self._on_flushed()
        self._answer(FlushResult.OK, lambda waiter: waiter.end <= end)

    def _synced(self, end: int, timestamp_ms: int, error: Exception | None) -> None:
        self._syncing = False
        if error is not None:
            self._on_failed(error)
            return
        self.flushed = end
        self.request(*self._wanted)
        self.advance(end, timestamp_ms)

    def _answer(self, result: FlushResult, due: Callable[[_Waiter], bool]) -> None:
        waiters = self._waiters
        try:
            while waiters and due(waiters[0]):
                waiters.popleft().callback(result)
        except BaseException:
            # One waiter's failure is reported by the loop and must not cost the others their answer.
            self._answer(result, due)
            raise
