from pathlib import Path

import pytest

from protocol.record import pack
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.errors import MessageTooLarge, NoSpace
from rmq_server.store.layout import blank
from tests.unit.store.harness import record
from tests.unit.store.memory_files import SECTOR, MemoryFiles

DIRECTORY = Path("/commitlog")


def log_on(files: MemoryFiles, *, segment: int = 1024, reserve: int = 256) -> CommitLog:
    files.make_dirs(DIRECTORY)
    log = CommitLog(files, DIRECTORY, segment_bytes=segment, reserve_bytes=reserve)
    log.segments.load()
    return log


def content(files: MemoryFiles, start: int) -> bytes:
    data = files.nodes[DIRECTORY / f"{start:020d}"].data
    assert data is not None
    return bytes(data)


def scanned(files: MemoryFiles, start: int = 0) -> tuple[list[int], int]:
    scan = log_on(files).scan(start)
    return [facts.physical_offset for facts in scan], scan.end


def test_the_blank_record_is_java_s() -> None:
    assert blank(1444).hex() == "000005a4cbd43194"


def test_records_lie_back_to_back_at_the_offsets_they_say() -> None:
    files = MemoryFiles()
    log = log_on(files)
    records = [record(b"a"), record(b"bcd")]
    ends = [log.append(each) for each in records]
    assert (log.written, log.end) == (0, ends[-1])
    log.write_out()
    assert (log.written, log.end) == (ends[-1], ends[-1])
    packed = [pack(each) for each in records]
    assert content(files, 0)[: ends[-1]] == b"".join(packed)
    assert [each.physical_offset for each in records] == [0, len(packed[0])]
    assert log.view(0, ends[0]) == packed[0]
    assert log.view(ends[0], ends[1]) is None


def test_a_segment_ends_with_a_blank_record() -> None:
    files = MemoryFiles()
    log = log_on(files)
    end = log.append(record(bytes(500)))
    rolled = record(bytes(500))
    log.append(rolled)
    log.write_out()
    assert rolled.physical_offset == 1024
    assert content(files, 0)[end : end + 8] == blank(1024 - end)
    assert content(files, 1024).startswith(pack(rolled))
    assert scanned(files) == ([0, 1024], log.end)


@pytest.mark.parametrize(("spare", "rolls"), [(8, False), (7, True)])
def test_eight_bytes_stay_free_for_the_blank(spare: int, rolls: bool) -> None:
    log = log_on(MemoryFiles())
    overhead = len(pack(record(b"")))
    made = record(bytes(1024 - spare - 2 * overhead))
    log.append(record(b""))
    log.append(made)
    assert (made.physical_offset == 1024) is rolls


def test_a_record_must_fit_a_segment() -> None:
    log = log_on(MemoryFiles())
    overhead = len(pack(record(b"")))
    with pytest.raises(MessageTooLarge, match="1017 bytes do not fit"):
        log.append(record(bytes(1017 - overhead)))
    assert log.append(record(bytes(1016 - overhead))) == 1016


def test_a_batch_moves_to_the_next_segment_as_a_whole() -> None:
    files = MemoryFiles()
    log = log_on(files)
    log.append(record(bytes(300)))
    batch = [record(bytes(200)) for _ in range(3)]
    log.append_batch(batch)
    log.write_out()
    assert batch[0].physical_offset == 1024
    assert scanned(files)[0] == [0, *(each.physical_offset for each in batch)]


def test_blocks_are_reserved_ahead_in_a_window() -> None:
    files = MemoryFiles()
    log = log_on(files, segment=4096, reserve=512)
    log.append(record(b""))
    blocks = files.nodes[DIRECTORY / ("0" * 20)].blocks
    assert len(blocks) * SECTOR == 512
    log.append(record(bytes(1500)))
    assert len(blocks) * SECTOR >= log.end + 8


def test_a_full_disk_takes_what_fits_and_then_refuses_without_a_trace() -> None:
    files = MemoryFiles(capacity=768)
    log = log_on(files, segment=4096, reserve=512)
    ends: list[int] = []
    with pytest.raises(NoSpace):
        ends.extend(log.append(record(bytes(50))) for _ in range(100))
    end = log.end
    assert end > 512
    log.write_out()
    files.capacity = None
    assert log.append(record(b"more")) > end
    log.write_out()
    assert [facts.physical_offset for facts in log.scan(end)] == [end]


def test_no_room_for_the_next_segment_leaves_this_one_as_it_is() -> None:
    files = MemoryFiles()
    log = log_on(files)
    end = log.append(record(bytes(500)))
    files.capacity = 1024
    for _ in range(2):
        with pytest.raises(NoSpace):
            log.append(record(bytes(700)))
    assert log.end == end
    small = log.append(record(b""))
    log.write_out()
    assert scanned(files) == ([0, end], small)
    files.capacity = None
    log.append(record(bytes(700)))
    log.write_out()
    assert scanned(files)[0] == [0, end, 1024]


def test_an_append_can_be_taken_back_also_after_a_roll() -> None:
    files = MemoryFiles()
    log = log_on(files)
    log.append(record(bytes(500)))
    made = record(bytes(500))
    log.append(made)
    log.take_back(made.physical_offset)
    assert log.end == log.written == 1024
    log.append(record(b"other"))
    log.write_out()
    assert scanned(files)[0] == [0, 1024]


def test_a_record_longer_than_the_chunk_of_a_scan_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rmq_server.store.commitlog._FIRST_CHUNK", 100)
    monkeypatch.setattr("rmq_server.store.commitlog._SCAN_CHUNK", 150)
    files = MemoryFiles()
    log = log_on(files)
    starts = []
    for size in (0, 400, 1, 300, 20, 700, 90):
        made = record(bytes(size))
        log.append(made)
        starts.append(made.physical_offset)
    log.write_out()
    assert scanned(files) == (starts, log.end)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, at: data[at + 4 : at + 8],  # the magic
        lambda data, at: data[at : at + 4],  # the size
        lambda data, at: data[at + 28 : at + 36],  # the physical offset
        lambda data, at: data[at + 88 : at + 90],  # the body
        lambda data, at: data[at : at + 40],
    ],
)
def test_a_scan_stops_at_what_is_not_sound(damage: object) -> None:
    files = MemoryFiles()
    log = log_on(files)
    ends = [log.append(record(b"body")) for _ in range(3)]
    log.write_out()
    data = files.nodes[DIRECTORY / ("0" * 20)].data
    assert data is not None
    part = damage(memoryview(data), ends[0])  # type: ignore[operator]
    part[:] = bytes(byte ^ 0x55 for byte in part)
    assert scanned(files) == ([0], ends[0])


def test_a_stale_record_of_another_place_is_not_sound() -> None:
    files = MemoryFiles()
    log = log_on(files)
    end = log.append(record(b"body"))
    log.write_out()
    data = files.nodes[DIRECTORY / ("0" * 20)].data
    assert data is not None
    data[end : 2 * end] = data[:end]
    assert scanned(files) == ([0], end)


def test_reset_erases_what_follows_the_end() -> None:
    files = MemoryFiles()
    log = log_on(files)
    ends = [log.append(record(bytes([7]) * 300)) for _ in range(5)]
    log.write_out()
    assert log.reset(ends[0])
    assert content(files, 0)[ends[0] :].strip(b"\0") == b""
    assert [entry.name for entry in files.list(DIRECTORY)] == ["0" * 20]
    assert not log.reset(ends[0])
    assert log.append(record(b"again")) > ends[0]


@pytest.mark.parametrize("needed", [True, False])
def test_the_next_segment_is_prepared_ahead(needed: bool) -> None:
    files = MemoryFiles()
    log = log_on(files)
    log.begin()
    log.append(record(bytes(500)))
    assert log.prepare() is None
    log.append(record(bytes(100)))
    job = log.prepare()
    assert job is not None
    assert log.prepare() is None
    job()
    log.prepared()
    assert [entry.size for entry in files.list(DIRECTORY)] == [1024, 1024]
    if needed:
        files.fault = lambda operation, path: pytest.fail(operation) if "sync" in operation else None
        log.append(record(bytes(500)))
        assert log.end > 1024
    log.write_out()
    log.drop_unused()
    assert len(files.list(DIRECTORY)) == 1 + needed
