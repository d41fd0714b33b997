"""Waiting for what other tasks or processes bring about: looked at often, and given up on late."""

import asyncio
from collections.abc import Callable

PERIOD_S = 0.005


async def eventually(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return as soon as the condition holds.

    Raises: TimeoutError.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(PERIOD_S)
