"""Held pulls: who is woken by what."""

from collections.abc import Callable

import pytest

from rmq_server.broker.long_polling import Hold, HoldTable
from rmq_server.store.message_store import Arrival
from tests.support.wire import FakePeer, silent_peer

TAG_A, TAG_B = 2598919, 2598920


class Timers:
    """A loop.call_later that the test fires."""

    def __init__(self) -> None:
        self.pending: list[Timers.Timer] = []

    class Timer:
        def __init__(self, delay_s: float, callback: Callable[[], None], pending: list["Timers.Timer"]) -> None:
            self.delay_s = delay_s
            self.callback = callback
            self._pending = pending

        def cancel(self) -> None:
            if self in self._pending:
                self._pending.remove(self)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "Timers.Timer":
        timer = self.Timer(delay_s, callback, self.pending)
        self.pending.append(timer)
        return timer


class Bench:
    def __init__(self) -> None:
        self.timers = Timers()
        self.table = HoldTable(self.timers.call_later)
        self.resumed: list[str] = []

    def hold(self, name: str, queue_id: int = 0, offset: int = 5, codes=None, peer: FakePeer | None = None) -> None:
        hold = Hold(peer or silent_peer(), ("T", queue_id), offset, codes, lambda: self.resumed.append(name))
        self.table.add(hold, 15.0)

    def arrive(self, max_offset: int, *codes: int, queue_id: int = 0) -> None:
        self.table.notify([Arrival("T", queue_id, max_offset, codes or (0,))])


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_an_arrival_wakes_exactly_who_waits_for_that_queue(bench: Bench) -> None:
    bench.hold("first")
    bench.hold("second")
    bench.hold("other queue", queue_id=1)
    bench.arrive(6)
    assert sorted(bench.resumed) == ["first", "second"]
    assert len(bench.table) == 1


async def test_an_arrival_at_or_before_the_asked_offset_wakes_nobody(bench: Bench) -> None:
    bench.hold("ahead", offset=6)
    bench.arrive(6)
    assert bench.resumed == []


async def test_tags_decide(bench: Bench) -> None:
    bench.hold("a", codes=frozenset({TAG_A}))
    bench.hold("a or b", codes=frozenset({TAG_A, TAG_B}))
    bench.arrive(6, TAG_B)
    assert bench.resumed == ["a or b"]
    bench.arrive(8, TAG_B, TAG_A)
    assert bench.resumed == ["a or b", "a"]


async def test_a_hold_ends_when_its_time_is_over_and_leaves_no_timer(bench: Bench) -> None:
    bench.hold("late")
    assert bench.timers.pending[0].delay_s == 15.0
    bench.timers.pending[0].callback()
    assert bench.resumed == ["late"]
    assert bench.timers.pending == []
    bench.arrive(9)
    assert bench.resumed == ["late"]


async def test_a_lost_peer_takes_its_holds_along(bench: Bench) -> None:
    gone, stays = silent_peer(1), silent_peer(2)
    bench.hold("gone", peer=gone)
    bench.hold("gone too", queue_id=3, peer=gone)
    bench.hold("stays", peer=stays)
    gone.lose()
    bench.arrive(6)
    bench.arrive(6, queue_id=3)
    assert bench.resumed == ["stays"]
    assert len(bench.table) == 0
    assert bench.timers.pending == []


async def test_everybody_is_answered_when_the_broker_stops(bench: Bench) -> None:
    for number in range(10):
        bench.hold(str(number), queue_id=number % 3)
    bench.table.resume_all()
    assert sorted(bench.resumed) == [str(number) for number in range(10)]
    assert len(bench.table) == 0
