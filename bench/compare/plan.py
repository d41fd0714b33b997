"""What a comparison does, as data."""

from dataclasses import dataclass

from bench.load.cases import BATCH, CASES, PULL, SEND_ALONE, SEND_BINARY, SEND_JSON, SENDS, Case

ASYNC_FLUSH = "ASYNC_FLUSH"
SYNC_FLUSH = "SYNC_FLUSH"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how often.

    windows:         of a case, both servers together; they come in pairs.
    window_s:        length of one.
    warm_messages:   Apache gets at least so many before anything counts, in rounds of every case, and goes on until its
                     compilers have nearly nothing left to do, or warm_s is over.
    pulled_messages: in the topic that is pulled from.
    """

    windows: int = 12
    window_s: float = 1.2
    warm_messages: int = 400_000
    warm_s: float = 45.0
    pulled_messages: int = 102_400
    queues: int = 8
    server_core: int = 0
    load_core: int = 1
    modes: tuple[str, ...] = (ASYNC_FLUSH, SYNC_FLUSH)
    cases: tuple[str, ...] = tuple(case.name for case in CASES)

    def cases_of(self, mode: str) -> list[Case]:
        """Pulls do not depend on the flush mode: they are measured with ASYNC_FLUSH only."""
        known = CASES if mode == ASYNC_FLUSH or self.modes == (SYNC_FLUSH,) else SENDS
        return [case for case in known if case.name in self.cases]


QUICK = Plan(windows=4, window_s=0.4, warm_messages=200_000, warm_s=10.0, pulled_messages=51_200)

WARM_ROUND: tuple[tuple[Case, int], ...] = (
    (SEND_JSON, 20_000),
    (SEND_BINARY, 8_000),
    (SEND_ALONE, 8_000),
    (BATCH, 64_000),
    (PULL, 128_000),
)
"""The loads of one round of the warm-up, and their messages."""
