"""Wake everybody who waits at this moment."""

import asyncio


class Pulse:
    """A condition without state: `fire` ends the waits that are under way and is forgotten."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def fire(self) -> None:
        """End all waits that are under way."""
        if self._next is not None:
            if not self._next.done():
                self._next.set_result(None)
            self._next = None

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next `fire`; False when the time-out in seconds came first."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        future = self._next
        try:
            async with asyncio.timeout(timeout):
                # Shared by all waiters: the cancellation of one must not end the wait of the others.
                await asyncio.shield(future)
        except TimeoutError:
            return False
        return True
