"""The life of server processes: start, announce, run, drain, close, for one server or several in one process.

    start each in order ─► ready() ─► run until SIGTERM, Ctrl-C or a failure ─► drain each, last started first ─► close

Both signals take the same path; a second Ctrl-C ends the process at once. The signals are seen also while the loop is
busy, for instance with recovery.
"""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, Protocol

from rmq_server.core.log import get_logger

DRAIN_SECONDS = 5.0
FORCED_EXIT = 130

_log = get_logger("core.lifecycle")


class Server(Protocol):
    """What runs here. `close` may be called in any state, also after a start that failed."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    async def start(self) -> None:
        """Open files and ports; raise StartupError when that cannot be."""
        ...

    async def run(self) -> None:
        """Work until cancelled; must go on during `drain`."""
        ...

    async def drain(self) -> None:
        """Stop accepting, answer what waits, finish what runs; bounded by the caller's deadline."""
        ...

    async def close(self) -> None:
        """Close connections and files, whatever happened before."""
        ...


class Stop:
    """Says when to end; `asyncio.Event` that any thread and signal handler may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()


async def serve(
    servers: Iterable[Server],
    *,
    stop: Stop,
    ready: Callable[[], None] = lambda: None,
    drain_s: float = DRAIN_SECONDS,
) -> None:
    """Run servers until `stop`; return when all are closed.

    servers: each is started before the next one is taken, so that a generator can build it from what the first bound.
    ready:   called once all have started.
    Raises: what a server's start or run raised, after closing all.
    """
    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            running: list[tuple[Server, asyncio.Task[None]]] = []
            for server in servers:
                stack.push_async_callback(server.close)
                await server.start()
                running.append((server, group.create_task(server.run(), name=f"{server.name}.run")))
                await asyncio.sleep(0)  # a stop that came during a long start is seen here
                if stop.is_set():
                    break
            else:
                ready()
                await stop.wait()
            for server, task in reversed(running):
                await _drain(server, drain_s)
                task.cancel()
                await asyncio.wait([task])
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


@asynccontextmanager
async def running(*servers: Server, drain_s: float = DRAIN_SECONDS) -> AsyncIterator[None]:
    """Servers inside an application: started on entry; drained and closed on exit."""
    stop, started = Stop(), asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(servers, stop=stop, ready=started.set, drain_s=drain_s))
            await started.wait()
            try:
                yield
            finally:
                stop.set()
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def run_process(main: Callable[[Stop], Coroutine[Any, Any, None]]) -> None:
    """Run `main` in a fresh event loop (uvloop where there is one), its stop wired to SIGTERM and Ctrl-C."""

    async def wired() -> None:
        stop = Stop()
        with _signals(stop):
            await main(stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(wired())


def freeze_start_up() -> None:
    """Take what was made during the start out of garbage collection: it stays as long as the process."""
    gc.collect()
    gc.freeze()


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Python's own handlers and not the loop's: they run also while the loop is busy."""

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and asked:
            os._exit(FORCED_EXIT)
        asked.append(number)
        stop.set()

    asked: list[int] = []
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _drain(server: Server, drain_s: float) -> None:
    try:
        async with asyncio.timeout(drain_s):
            await server.drain()
    except TimeoutError:
        _log.warning("drain took too long", server=server.name, seconds=drain_s)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that a user should read; the others are mostly its consequences."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # lazy: not there on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
