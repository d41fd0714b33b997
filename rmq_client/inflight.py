"""Back-pressure: the bytes that may be under way at once.

Invariants: who came first gets room first; one larger than the whole limit passes when it is alone; a cancelled wait
takes nothing.
"""

import asyncio
from collections import deque


class ByteBudget:
    """A limit on bytes under way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.used = 0

    def try_take(self, count: int) -> bool:
        """Take room without waiting; False when there is none or others wait for it."""
        if self._waiting or (self.used and self.used + count > self._limit):
            return False
        self.used += count
        return True

    async def take(self, count: int) -> None:
        """Take room, after those who already wait."""
        if self.try_take(count):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (count, turn)
        self._waiting.append(entry)
        try:
            await turn
        except BaseException:
            if not turn.cancelled():
                self.give_back(count)  # the room came together with the cancellation
            elif entry in self._waiting:
                self._waiting.remove(entry)
                self._admit()
            raise

    def give_back(self, count: int) -> None:
        """Return room that was taken."""
        self.used -= count
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if self.used and self.used + count > self._limit:
                return
            self._waiting.popleft()
            self.used += count
            turn.set_result(None)
