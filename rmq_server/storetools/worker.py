"""The store's worker for programs without an event loop."""

from collections import deque

from rmq_server.store.flush import Done, Work


class InlineWorker:
    """Does work when it is submitted; reports follow in order, never inside each other."""

    def __init__(self) -> None:
        self._reports: deque[tuple[Done, Exception | None]] = deque()
        self._reporting = False

    def submit(self, work: Work, done: Done, *, urgent: bool = False) -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as failure:  # the boundary of the work: handed to `done`, which decides
            error = failure
        self._reports.append((done, error))
        self.close()

    def close(self) -> None:
        if self._reporting:
            return
        self._reporting = True
        try:
            while self._reports:
                done, error = self._reports.popleft()
                done(error)
        finally:
            self._reporting = False
