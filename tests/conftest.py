"""What every test is held to: no error that only the event loop saw, no task that outlives its test, no timing.

The watcher is set up before the other fixtures of an async test and so is torn down after them: a fixture that owns
tasks must have ended them by then.
"""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Keep what is imported out of later collections, so that the watcher's full one is cheap."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> None:
    """Watch the loop of async tests; other tests have none."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_watched_loop")


@pytest_asyncio.fixture
async def _watched_loop() -> AsyncIterator[None]:
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    yield
    leaked = asyncio.all_tasks() - {asyncio.current_task()}
    for task in leaked:
        task.cancel()
    names = [repr(task) for task in leaked]
    if leaked:
        await asyncio.wait(leaked, timeout=5)
    leaked.clear()
    gc.collect()  # a task that failed unseen reports itself when it is collected
    loop.set_exception_handler(None)
    if names:
        pytest.fail("the test leaked tasks:\n" + "\n".join(names), pytrace=False)
    for context in unhandled:
        error = context.get("exception")
        raise AssertionError(f"unhandled by the loop: {context['message']}") from error
