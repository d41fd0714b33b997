"""From pulled messages to the application: handlers that run side by side, or a loop that takes one after the other.

Invariants: a message is with at most one handler; one whose handler failed is kept and handled again after a wait, and
the offset does not pass it; what comes back for a queue that was lost meanwhile is ignored.
Source: apache/rocketmq: client/.../impl/consumer/ConsumeMessageConcurrentlyService.java; behaviour.md 5.1
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, NamedTuple, Self

from protocol.message import MessageExt
from rmq_client.background import Background
from rmq_client.backoff import BackoffPolicy
from rmq_client.consumer.process_queue import ProcessQueue
from rmq_client.errors import Misuse, NotRunning
from rmq_client.log import logger

_log = logger("consumer")

Handler = Callable[[Any], Awaitable[None]]
"""`async def handle(message)`, or with `batch` `async def handle(messages)`."""

TURNS_BEFORE_YIELD = 32
"""Jobs that one worker does without leaving the event loop to others, when handlers never wait."""


class Job(NamedTuple):
    """Messages of one queue that are handled together."""

    source: ProcessQueue
    messages: list[MessageExt]


class Dispatcher:
    """The messages that wait to be handled.

    on_done: called with a queue and the offset up to which it is now finished.
    retry:   waits before a failed message is handled again.
    """

    def __init__(
        self, background: Background, on_done: Callable[[ProcessQueue, int], None], retry: BackoffPolicy
    ) -> None:
        self._background = background
        self._on_done = on_done
        self._retry = retry
        self._ready: deque[Job] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._batch: int | None = None
        self._user: object | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._left: Job | None = None
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def submit(self, source: ProcessQueue, messages: list[MessageExt]) -> None:
        """Hand over pulled messages."""
        ready = self._ready
        size = self._batch
        if size is None:
            ready.extend([Job(source, [message]) for message in messages])
        else:
            ready.extend([Job(source, messages[at : at + size]) for at in range(0, len(messages), size)])
        self._wake_one()

    # Handlers side by side

    async def run(self, handler: Handler, concurrency: int, batch: int | None) -> None:
        """Handle messages until the consumer closes. When this is cancelled, handlers that run finish by themselves.

        Raises: TypeError for a handler that is not async; what stops a worker.
        """
        if concurrency < 1 or (batch is not None and batch < 1):
            raise Misuse("concurrency and batch are at least 1")
        run = _Run(self, handler, batch)
        self._claim(run)
        self._set_batch(batch)
        try:
            for number in range(concurrency):
                worker = self._background.start(run.work(), f"handler {number}")
                self._workers.add(worker)
                worker.add_done_callback(self._workers.discard)
            await run.ended
        finally:
            run.stop()
            self._release(run)

    # One after the other

    def messages(self) -> "MessageLoop":
        """The messages for one `async for`; a message that an earlier loop did not finish comes first."""
        loop = MessageLoop(self)
        self._claim(loop)
        self._set_batch(None)
        return loop

    async def take(self, loop: "MessageLoop") -> Job | None:
        """Finish the message that the loop had, and wait for its next; None when the consumer closes."""
        if self._user is not loop:
            raise Misuse("another `async for` or run() took this consumer over")
        if self._left is not None:
            self.finish(self._left)
            self._left = None
        while not self._closed:
            while self._ready:
                job = self._ready.popleft()
                if not job.source.dropped:
                    self._left = job
                    return job
            await self._wait()
        return None

    # Ends of messages

    def finish(self, job: Job) -> None:
        """The messages are consumed."""
        source = job.source
        if not source.dropped:
            self._on_done(source, source.remove(job.messages))

    def fail(self, job: Job, problem: BaseException) -> None:
        """The messages are not consumed: they are handled again after a wait."""
        first = job.messages[0]
        for message in job.messages:
            message.reconsume_times += 1
        policy = self._retry
        delay_s = min(policy.initial_s * policy.multiplier ** min(first.reconsume_times - 1, 64), policy.max_s)
        _log.warning(
            "the handler failed for %d message(s) from %r, attempt %d, again in %.1f s",
            len(job.messages),
            first,
            first.reconsume_times,
            delay_s,
            exc_info=problem,
        )
        asyncio.get_running_loop().call_later(delay_s, self._again, job)

    # Closing

    async def close(self, timeout: float) -> None:
        """Start nothing more, and let what runs finish; cancel it when the time-out in seconds has passed."""
        self._closed = True
        self._ready.clear()
        user = self._user
        if isinstance(user, _Run):
            user.stop()
        self._wake_all()
        me = asyncio.current_task()
        running = {worker for worker in self._workers if worker is not me}
        if running:
            _, late = await asyncio.wait(running, timeout=timeout)
            if late:
                _log.warning("%d handler(s) did not finish within %.1f s and are cancelled", len(late), timeout)
            for worker in late:
                worker.cancel()

    # Private

    def _claim(self, user: object) -> None:
        """Become the one that takes messages; a loop that was left unfinished gives way, a run() does not."""
        if self._closed:
            raise NotRunning("the consumer is closed")
        if isinstance(self._user, _Run):
            raise Misuse("run() uses this consumer already")
        self._user = user
        if self._left is not None:
            self._ready.appendleft(self._left)
            self._left = None

    def _release(self, user: object) -> None:
        if self._user is user:
            self._user = None

    def _set_batch(self, batch: int | None) -> None:
        if batch == self._batch:
            return
        self._batch = batch
        jobs, self._ready = self._ready, deque()
        for job in jobs:
            self.submit(job.source, job.messages)

    def _again(self, job: Job) -> None:
        if not job.source.dropped and not self._closed:
            self._ready.appendleft(job)
            self._wake_one()

    async def _wait(self) -> None:
        """Sleep until there may be something in `_ready`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():
                self._wake_one()  # this wake-up was for a job that somebody else must do now
            raise

    def _wake_one(self) -> None:
        """Wake one worker; it wakes the next when it finds more than it can do, so idle ones are left alone."""
        idle = self._idle
        while idle and self._ready:
            future = idle.popleft()
            if not future.done():
                future.set_result(None)
                return

    def _wake_all(self) -> None:
        while self._idle:
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)


class _Run:
    """One `run()`: its workers take jobs as long as it lasts."""

    def __init__(self, dispatcher: Dispatcher, handler: Handler, batch: int | None) -> None:
        self._dispatcher = dispatcher
        self._handler = handler
        self._batch = batch
        self._active = True
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """Take no more jobs; those that are being done go on."""
        self._active = False
        if not self.ended.done():
            self.ended.set_result(None)
        self._dispatcher._wake_all()

    async def work(self) -> None:
        """One worker."""
        dispatcher = self._dispatcher
        handler, single = self._handler, self._batch is None
        finish = dispatcher.finish
        turns = 0
        while self._active:
            ready = dispatcher._ready
            if not ready:
                turns = 0
                await dispatcher._wait()
                continue
            job = ready.popleft()
            if job.source.dropped:
                continue
            if ready and dispatcher._idle:
                dispatcher._wake_one()
            try:
                result = handler(job.messages[0] if single else job.messages)
                if not isawaitable(result):
                    self._refuse(handler)
                    return
                await result
            except asyncio.CancelledError as problem:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                dispatcher.fail(job, problem)  # something inside the handler was cancelled, not the handler
            except Exception as problem:
                dispatcher.fail(job, problem)
            else:
                finish(job)
            turns += 1
            if turns >= TURNS_BEFORE_YIELD:
                turns = 0
                await asyncio.sleep(0)

    def _refuse(self, handler: Handler) -> None:
        self._active = False
        if not self.ended.done():
            name = getattr(handler, "__qualname__", repr(handler))
            self.ended.set_exception(TypeError(f"the handler {name} must be an async function: `async def`"))


class MessageLoop:
    """What `async for` iterates: asking for the next message consumes the one before."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageExt:
        job = await self._dispatcher.take(self)
        if job is None:
            raise StopAsyncIteration
        return job.messages[0]
