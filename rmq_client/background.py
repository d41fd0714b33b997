"""The one place where the client's tasks are made: a TaskGroup as long-lived as one client object.

A task that fails cancels the body of the object's `async with`, and leaving that block raises the task's error: no part
of a client dies silently. A body's own exception is never wrapped into a group.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class Background:
    """The tasks of one client object; enter and leave it in the task that uses the object."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` until it ends, is cancelled, or the object is closed."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel and await all tasks.

        Raises: what a task failed with; an ExceptionGroup when several did.
        """
        for task in tuple(self._tasks):
            task.cancel()
        cancelled = isinstance(error, asyncio.CancelledError)
        try:
            # TaskGroup would wrap any other error of the body into a group; the body's error goes on by itself.
            await self._group.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))
        except BaseExceptionGroup as failures:
            if len(failures.exceptions) == 1:
                raise failures.exceptions[0] from error
            raise
