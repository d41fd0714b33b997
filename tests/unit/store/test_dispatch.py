"""The tail of the log: hands on every readable record once, in slices, past damage, and without haste."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from protocol.record import RecordFacts
from rmq_server.store import dispatch
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.dispatch import LogTail
from rmq_server.store.errors import NoSpace, StoreError
from tests.unit.store.harness import ManualWorker, record
from tests.unit.store.memory_files import MemoryFiles

LOG = Path("/log")


class Recorder:
    """A dispatcher that remembers what it was given, and fails when told."""

    def __init__(self, resume_at: int = 0) -> None:
        self.resume_at = resume_at
        self.seen: list[int] = []
        self.calls = 0
        self.error: Exception | None = None

    def dispatch(self, records: Sequence[RecordFacts]) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        self.seen += [facts.physical_offset for facts in records]


class Life:
    """A log of 8 KiB segments with records of some sizes, and its tail."""

    def __init__(self, sizes: Sequence[int], *recorders: Recorder) -> None:
        self.files = MemoryFiles()
        self.log = CommitLog(self.files, LOG, segment_bytes=8192, reserve_bytes=1024)
        self.log.begin()
        self.turn: deque[Callable[[], None]] = deque()
        self.worker = ManualWorker()
        self.offsets: list[int] = []
        self.tail = LogTail(
            self.log, recorders, readable=lambda: self.log.written, schedule=self.turn.append, worker=self.worker
        )
        self.append(sizes)
        self.tail.start()

    def append(self, sizes: Sequence[int]) -> None:
        for size in sizes:
            made = record(bytes(size))
            self.log.append(made)
            self.offsets.append(made.physical_offset)
        self.log.write_out()

    def turns(self) -> int:
        """Let the loop come round until it is idle; says how often."""
        count = 0
        while self.turn:
            self.turn.popleft()()
            count += 1
        return count


SIZES = [10, 3000, 0, 4000, 2500, 100, 7000, 1] * 3


def test_hands_on_every_record_once_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_SLICE_BYTES", 600)
    recorder = Recorder()
    life = Life(SIZES, recorder)
    life.tail.tick()
    assert recorder.calls == 0, "only in a turn of its own"
    assert life.turns() > len(SIZES) // 2
    assert recorder.seen == life.offsets
    assert life.tail.lag == 0
    life.tail.tick()
    assert not life.turn, "nothing to do, nothing scheduled"
    life.append([5])
    life.tail.tick()
    life.turns()
    assert recorder.seen == life.offsets


def test_begins_at_the_mark_of_who_is_least_far() -> None:
    first = Life(SIZES)
    far, near = Recorder(first.offsets[9]), Recorder(first.offsets[3])
    life = Life(SIZES, far, near)
    life.tail.tick()
    life.turns()
    assert far.seen == near.seen == life.offsets[3:]


def test_without_anybody_to_tell_there_is_nothing_to_do() -> None:
    life = Life(SIZES)
    life.tail.tick()
    assert (life.tail.lag, life.turns(), life.tail.step()) == (0, 0, False)


@pytest.mark.parametrize("at", [4, 30, 60, 91])
def test_goes_on_after_a_record_that_cannot_be_read(at: int) -> None:
    recorder = Recorder()
    life = Life([100] * 10 + [7000, 50], recorder)
    data = life.files.nodes[LOG / ("0" * 20)].data
    assert data is not None
    data[life.offsets[2] + at] ^= 0x40
    life.tail.tick()
    life.turns()
    assert life.tail.lag == 0
    assert recorder.seen[:2] == life.offsets[:2]
    assert recorder.seen[-2:] == life.offsets[-2:]
    assert set(recorder.seen) <= set(life.offsets)


def test_waits_while_senders_are_busy_unless_it_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_CALM_BYTES", 1000)
    monkeypatch.setattr(dispatch, "_MOST_LAG_BYTES", 6000)
    recorder = Recorder()
    life = Life([], recorder)
    life.append([2000])
    life.tail.tick()
    assert life.turns() == 0
    life.append([2000])
    life.tail.tick()
    assert life.turns() == 0
    life.append([2000])
    life.tail.tick()
    assert life.turns() > 0
    assert recorder.seen == life.offsets
    life.append([2000])
    life.tail.tick()
    assert life.turns() == 0
    life.append([100])
    life.tail.tick()
    life.turns()
    assert recorder.seen == life.offsets


def test_what_is_not_in_memory_is_read_by_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_NEAR_BYTES", 100)
    recorder = Recorder()
    life = Life(SIZES, recorder)
    life.files.is_cold = lambda path: True
    life.tail.tick()
    life.turns()
    assert (recorder.seen, len(life.worker.jobs)) == ([], 1)
    life.tail.tick()
    assert not life.turn, "one thing at a time"
    while life.worker.step():
        life.turns()
    assert recorder.seen == life.offsets


def test_without_space_the_same_records_are_offered_again() -> None:
    recorder = Recorder()
    life = Life(SIZES, recorder)
    recorder.error = NoSpace("full")
    life.tail.tick()
    assert life.turns() == 1
    life.tail.tick()
    assert life.turns() == 1
    assert recorder.seen == []
    recorder.error = None
    life.tail.tick()
    life.turns()
    assert recorder.seen == life.offsets


def test_who_gives_up_is_left_out_and_the_others_go_on() -> None:
    broken, sound = Recorder(), Recorder()
    broken.error = StoreError("broken")
    life = Life(SIZES, broken, sound)
    life.tail.tick()
    life.turns()
    assert broken.calls == 1
    assert sound.seen == life.offsets


def test_a_log_that_cannot_be_read_ends_it() -> None:
    recorder = Recorder()
    life = Life(SIZES, recorder)

    def fault(kind: str, path: Path) -> None:
        if kind == "pread":
            raise OSError("input/output error")

    life.files.fault = fault
    life.tail.tick()
    life.turns()
    assert (recorder.seen, life.tail.lag) == ([], 0)


def test_finish_hands_on_the_rest_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_SLICE_BYTES", 600)
    recorder = Recorder()
    life = Life(SIZES, recorder)
    life.tail.finish()
    assert recorder.seen == life.offsets
    life.append([1] * 100)
    monkeypatch.setattr(dispatch, "_LAST_SLICES", 2)
    life.tail.finish()
    assert life.tail.lag > 0, "what is too much for a stop is left to the next start"


def test_segments_that_retention_took_are_passed_over() -> None:
    recorder = Recorder()
    life = Life(SIZES, recorder)
    life.log.segments.run.pop(0).remove()
    life.tail.tick()
    life.turns()
    assert recorder.seen == [offset for offset in life.offsets if offset >= life.log.start]


def test_behind_busy_senders_it_keeps_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_CALM_BYTES", 1000)
    monkeypatch.setattr(dispatch, "_MOST_LAG_BYTES", 6000)
    monkeypatch.setattr(dispatch, "_SLICE_BYTES", 600)
    recorder = Recorder()
    life = Life([], recorder)
    for _ in range(10):
        life.append([200] * 10)
        life.tail.tick()
        life.turns()
    assert 5000 < life.tail.lag <= 6000
    life.tail.tick()
    life.turns()
    assert recorder.seen == life.offsets
