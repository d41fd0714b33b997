"""What goes when it is old or the disk is full, and what never does."""

import errno
from pathlib import Path

import pytest

from rmq_server.core.config import ConfigError, Given, load
from rmq_server.store.config import StoreConfig
from rmq_server.store.errors import DiskNearlyFull
from rmq_server.store.files import Space
from rmq_server.store.reader import GetStatus
from rmq_server.store.retention import decide, percent_of
from tests.unit.store.harness import SEGMENT, Harness
from tests.unit.store.memory_files import MemoryFiles

COMMITLOG, QUEUE = Path("/store/commitlog"), Path("/store/consumequeue/T/0")
PER_SEGMENT = 3
BODY = bytes(1000)
HOUR = 3600.0


def names(harness: Harness, directory: Path = COMMITLOG) -> list[int]:
    return [int(entry.name) for entry in harness.files.list(directory)]


def filled(segments: int = 5, **config: object) -> Harness:
    """Full segments and one more message; 10 entries a queue file."""
    harness = Harness(**config).open()
    for _ in range(segments * PER_SEGMENT + 1):
        harness.put(BODY)
    harness.settle()
    harness.store.tick()
    harness.settle()
    return harness


def used(harness: Harness, percent: int, directory: Path = COMMITLOG) -> None:
    assert isinstance(harness.files, MemoryFiles)
    harness.files.spaces[directory] = Space(percent, 100 - percent)


def run(harness: Harness, seconds: float = 61.0) -> None:
    """One round."""
    harness.clock.advance(seconds)
    harness.store.tick()
    harness.settle()


def test_expired_segments_go_in_the_hour_of_deletion() -> None:
    harness = filled()
    run(harness, 73 * HOUR)
    assert len(names(harness)) == 6
    harness.hour = 4
    run(harness)
    assert names(harness) == [5 * SEGMENT]
    assert (harness.store.min_offset("T", 0), harness.store.max_offset("T", 0)) == (15, 16)
    assert names(harness, QUEUE) == [200]
    assert harness.bodies() == [BODY]
    assert harness.store.get("T", 0, 3, 32).status is GetStatus.OFFSET_TOO_SMALL


def test_segments_written_lately_stay() -> None:
    harness = filled(2)
    run(harness, 72 * HOUR - 100)
    for _ in range(2 * PER_SEGMENT):
        harness.put(BODY)
    harness.settle()
    harness.hour = 4
    run(harness, 200)
    assert names(harness) == [2 * SEGMENT, 3 * SEGMENT, 4 * SEGMENT]
    assert harness.store.min_offset("T", 0) == 2 * PER_SEGMENT


def test_nothing_is_deleted_in_the_first_minute() -> None:
    first = filled()
    first.store.close()
    first.clock.advance(73 * HOUR)
    harness = Harness(first.files, clock=first.clock).open()
    harness.hour = 4
    run(harness, 0)
    run(harness, 59)
    assert names(harness)[0] == 0
    run(harness, 2)
    run(harness, 10)
    assert names(harness) == [5 * SEGMENT]


def test_no_more_than_a_batch_goes_in_a_round() -> None:
    harness = filled(delete_file_batch_max=2)
    harness.hour = 4
    run(harness, 73 * HOUR)
    assert names(harness)[0] == 2 * SEGMENT
    run(harness)
    assert names(harness)[0] == 4 * SEGMENT


@pytest.mark.parametrize("directory", [COMMITLOG, Path("/store/consumequeue")])
def test_a_fuller_disk_deletes_at_any_hour_and_then_at_any_age(directory: Path) -> None:
    harness = filled()
    used(harness, 80, directory)
    run(harness)
    run(harness)
    assert names(harness)[0] == 0
    used(harness, 86, directory)
    run(harness)
    assert names(harness) == [5 * SEGMENT]
    harness.put(BODY)


def test_expired_segments_go_at_any_hour_when_the_disk_is_rather_full() -> None:
    harness = filled()
    used(harness, 76)
    run(harness, 73 * HOUR)
    run(harness)
    assert names(harness) == [5 * SEGMENT]


def test_a_nearly_full_disk_refuses_puts_until_there_is_space() -> None:
    harness = filled(clean_file_forcibly=False)
    used(harness, 91)
    run(harness)
    with pytest.raises(DiskNearlyFull, match=r"91 % full.*diskSpaceWarningLevelRatio=90"):
        harness.put(BODY)
    assert len(harness.bodies()) == 16
    assert len(names(harness)) == 6
    used(harness, 50)
    run(harness)
    harness.put(BODY)
    harness.settle()
    assert len(harness.bodies()) == 17


def test_a_disk_that_has_enough_left_is_not_full_whatever_the_percentage() -> None:
    harness = filled(disk_enough_bytes=5)
    used(harness, 95)
    run(harness)
    harness.put(BODY)
    assert len(names(harness)) == 6
    used(harness, 96)
    run(harness)
    with pytest.raises(DiskNearlyFull, match="diskSpaceEnoughBytes"):
        harness.put(BODY)
    assert len(names(harness)) < 6


def test_a_segment_that_cannot_be_deleted_stays_and_is_tried_again() -> None:
    harness = filled()
    harness.hour = 4

    def fail(operation: str, path: Path) -> None:
        if operation == "remove":
            raise OSError(errno.EACCES, "permission denied")

    assert isinstance(harness.files, MemoryFiles)
    harness.files.fault = fail
    run(harness, 73 * HOUR)
    run(harness)
    assert len(harness.bodies()) == 16
    harness.files.fault = lambda operation, path: None
    run(harness)
    assert names(harness) == [5 * SEGMENT]


def test_a_queue_without_messages_keeps_its_offset() -> None:
    harness = Harness().open()
    harness.put(b"old", queue_id=7)
    for _ in range(2 * PER_SEGMENT):
        harness.put(BODY)
    harness.settle()
    harness.hour = 4
    run(harness, 73 * HOUR)
    run(harness)
    assert (harness.store.min_offset("T", 7), harness.store.max_offset("T", 7)) == (1, 1)
    harness.store.close()
    again = Harness(harness.files, clock=harness.clock).open()
    assert (again.store.min_offset("T", 7), again.store.max_offset("T", 7)) == (1, 1)
    assert again.put(b"new", queue_id=7).queue_offset == 1


def test_what_a_crash_kept_of_the_queues_goes_later() -> None:
    harness = filled()
    harness.hour = 4

    def stop_at_queues(operation: str, path: Path) -> None:
        if operation == "remove" and path.parent == QUEUE:
            raise OSError(errno.EIO, "input/output error")

    assert isinstance(harness.files, MemoryFiles)
    harness.files.fault = stop_at_queues
    run(harness, 73 * HOUR)
    run(harness)
    assert names(harness, QUEUE) == [0, 200]
    again = Harness(harness.files.after_kill(), clock=harness.clock).open()
    assert again.store.min_offset("T", 0) == 15
    run(again, 0)
    assert names(again, QUEUE) == [200]


def test_readers_keep_their_views() -> None:
    harness = filled()
    harness.hour = 4
    views = harness.store.get("T", 0, 0, 1).views
    before = b"".join(views)
    run(harness, 73 * HOUR)
    assert names(harness) == [5 * SEGMENT]
    assert b"".join(views) == before


def test_closing_in_the_middle_leaves_a_store_that_opens() -> None:
    harness = filled()
    harness.hour = 4
    harness.clock.advance(73 * HOUR)
    harness.store.tick()
    while names(harness)[0] == 0:
        harness.worker.step()
    harness.store.close()
    left = names(harness)
    assert 0 < left[0] < 5 * SEGMENT
    again = Harness(harness.files, clock=harness.clock).open()
    assert again.store.min_physical_offset == left[0]
    assert len(again.bodies()) == 16 - left[0] // SEGMENT * PER_SEGMENT


@pytest.mark.parametrize(
    ("used_percent", "hour", "decision"),
    [
        (75, 5, (False, False, False)),
        (76, 5, (True, False, False)),
        (85, 5, (True, False, False)),
        (86, 5, (True, True, False)),
        (90, 5, (True, True, False)),
        (91, 5, (True, True, True)),
        (0, 4, (True, False, False)),
        (0, 16, (True, False, False)),
    ],
)
def test_decide(used_percent: int, hour: int, decision: tuple[bool, bool, bool]) -> None:
    assert decide(StoreConfig(delete_when="04;16"), used_percent, hour) == decision


def test_percentages_are_rounded_up() -> None:
    assert [percent_of(Space(*space)) for space in [(0, 100), (1, 1000), (75, 25), (7501, 2499), (0, 0)]] == [
        0, 1, 75, 76, 100,
    ]  # fmt: skip


def test_ratios_are_clamped() -> None:
    low = StoreConfig(disk_max_used_ratio=1, disk_clean_forcibly_ratio=1, disk_warning_ratio=1)
    high = StoreConfig(disk_max_used_ratio=99, disk_clean_forcibly_ratio=99, disk_warning_ratio=99)
    assert [low.disk_max_used_ratio, low.disk_clean_forcibly_ratio, low.disk_warning_ratio] == [10, 30, 35]
    assert [high.disk_max_used_ratio, high.disk_clean_forcibly_ratio, high.disk_warning_ratio] == [95, 85, 90]


@pytest.mark.parametrize("text", ["24", "4,16", "night"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="deleteWhen"):
        load([StoreConfig], {}, arguments=[Given("deleteWhen", text, "broker.conf:1")])
