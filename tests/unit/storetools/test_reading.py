"""What the tools read with: never writing, whatever lies in the directory."""

from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hashing import tags_code
from protocol.record import pack
from rmq_server.store.errors import StoreError, StoreReadOnly, UnsupportedStore
from rmq_server.store.files import OsFiles
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.files import Reader, ReadOnlyFiles, lock_holder
from rmq_server.storetools.index import UPSTREAM, index_settings
from rmq_server.storetools.info import store_info
from rmq_server.storetools.log import LogScan, without_crc
from rmq_server.storetools.queues import Ranges
from rmq_server.storetools.select import Selection, select
from tests.unit.store.harness import STORE_HOST, Harness, record
from tests.unit.storetools.stores import check, flip, held_elsewhere, ours, tree


def no_damage(damage: object) -> None:
    raise AssertionError(damage)


def test_reading_files_writes_nothing(tmp_path: Path) -> None:
    files, path = ReadOnlyFiles(), tmp_path / "x"
    path.write_bytes(b"abc")
    for refused in (
        lambda: files.open(tmp_path / "y", create=True),
        lambda: files.make_dirs(tmp_path / "z"),
        lambda: files.remove(path),
        lambda: files.rename(path, tmp_path / "y"),
    ):
        with pytest.raises(StoreReadOnly, match="reading only"):
            refused()
    file = files.open(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.pwrite(b"x", 0)
    file.close()
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_reader_keeps_few_files_open(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(50)]
    for path in paths:
        path.write_bytes(path.name.encode())
    reader = Reader()
    before = len(list(Path("/dev/fd").iterdir()))
    for path in paths * 2:
        assert reader.read(path, 10, 0) == path.name.encode()
    assert len(list(Path("/dev/fd").iterdir())) - before <= 16
    reader.close()
    with pytest.raises(StoreError, match="missing"):
        reader.read(tmp_path / "missing", 1, 0)


def test_who_has_a_store_open(tmp_path: Path) -> None:
    ours(tmp_path)
    with held_elsewhere(tmp_path) as pid:
        before = tree(tmp_path)
        with StoreDirectory.open(tmp_path) as store:
            assert store.holder == pid
            assert store_info(store).broker == pid
        assert tree(tmp_path) == before


def test_nobody_has_a_store_open(tmp_path: Path) -> None:
    ours(tmp_path)
    assert lock_holder(tmp_path / "lock") is None
    (tmp_path / "lock").unlink()
    assert lock_holder(tmp_path / "lock") is None
    assert not (tmp_path / "lock").exists()


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedStore, match=r"no commitlog in it$"):
        StoreDirectory.open(tmp_path)
    (tmp_path / "store/commitlog").mkdir(parents=True)
    with pytest.raises(UnsupportedStore, match=r"no commitlog in it; .*/store is one"):
        StoreDirectory.open(tmp_path)
    (tmp_path / "commitlog").mkdir()
    (tmp_path / "consumequeue").mkdir()
    (tmp_path / "consumequeue/CURRENT").touch()
    with pytest.raises(UnsupportedStore, match="RocksDB"):
        StoreDirectory.open(tmp_path)


def test_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "commitlog").mkdir()
    report, problems = check(tmp_path)
    assert (report.records, problems) == (0, [])
    with StoreDirectory.open(tmp_path) as store:
        found = store_info(store)
    assert (found.segments, found.topics, found.last_store_time_ms) == ([], [], None)


def test_the_commitlog_elsewhere(tmp_path: Path) -> None:
    ours(tmp_path / "store", commitlog_path=str(tmp_path / "log"))
    assert not (tmp_path / "store/commitlog").exists()
    with StoreDirectory.open(tmp_path / "store", tmp_path / "log") as store:
        assert store_info(store).max_physical_offset > 4096


def test_several_segments(tmp_path: Path) -> None:
    ours(tmp_path)
    report, problems = check(tmp_path)
    assert problems == []
    assert (report.records, report.queue_entries, report.queues, report.index_entries) == (60, 60, 2, 60)
    assert report.index_files > 1
    with StoreDirectory.open(tmp_path) as store:
        assert len(store.log.segments) > 2
        found = [found.facts.queue_offset for found in LogScan(store, on_damage=no_damage)]
    assert found == [number // 2 for number in range(60)]


def test_records_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    ours(tmp_path, 3, commitlog_file_bytes=8 << 20)
    life = Harness(OsFiles(), root=str(tmp_path), commitlog_file_bytes=8 << 20).open()
    for _ in range(3):
        life.put(bytes(3 << 20))
    life.put()
    life.settle()
    life.store.close()
    report, problems = check(tmp_path)
    assert problems == []
    assert report.records == 7


def test_selection(tmp_path: Path) -> None:
    ours(tmp_path)

    def offsets(**conditions: object) -> list[tuple[int, int]]:
        with StoreDirectory.open(tmp_path) as store:
            found = select(store, Selection(**conditions), on_damage=no_damage)  # type: ignore[arg-type]
            return [(each.facts.queue_id, each.facts.queue_offset) for each in found]

    start = 1_700_000_000_000
    assert len(offsets()) == len(offsets(topic="T")) == 60
    assert offsets(topic="U") == []
    assert offsets(topic="T", queue_id=1) == [(1, offset) for offset in range(30)]
    assert offsets(topic="T", queue_id=1, min_offset=7, max_offset=9) == [(1, 7), (1, 8), (1, 9)]
    assert offsets(min_offset=29) == [(0, 29), (1, 29)]
    assert offsets(topic="T", queue_id=1, min_offset=99) == []
    assert offsets(since_ms=start + 10_000, until_ms=start + 12_000) == [(0, 5), (1, 5), (0, 6)]
    assert offsets(since_ms=start + 58_000) == [(0, 29), (1, 29)]
    assert offsets(until_ms=start) == [(0, 0)]


def test_segments_outside_the_time_are_not_read(tmp_path: Path) -> None:
    ours(tmp_path)
    steps: list[int] = []
    with StoreDirectory.open(tmp_path) as store:
        selection = Selection(since_ms=1_700_000_058_000)
        assert len(list(select(store, selection, on_damage=no_damage, progress=steps.append))) == 2
        assert sum(steps) == store.log.end
    assert steps[0] == 4096


def test_index_sizes_are_found(tmp_path: Path) -> None:
    for slots, entries in ((5, 20), (7, 20), (200, 1000), (64, 33)):
        root = tmp_path / f"{slots}-{entries}"
        ours(root, index_slots=slots, index_entries=entries)
        with StoreDirectory.open(root) as store:
            assert index_settings(store) == (slots, entries)
            assert index_settings(store, slots) == (slots, entries)
        assert check(root)[1] == []
    assert UPSTREAM.file_bytes == 420_000_040


def test_the_checksum_of_a_whole_record(tmp_path: Path) -> None:
    """The vector of store.md 16: 970752491, its digits backwards."""
    properties = b"TAGS\x01TagA\x02__CRC32#\x011942570790\x02"
    assert without_crc(properties) == b"TAGS\x01TagA\x02"
    assert without_crc(b"TAGS\x01TagA\x02") == b"TAGS\x01TagA\x02"
    life = Harness(OsFiles(), root=str(tmp_path)).open()
    made = record(queue_id=0, store_host=STORE_HOST, store_timestamp_ms=life.clock.now_ms(), properties=properties)
    crc = crc32(pack(made)[:-20]) & 0x7FFFFFFF
    made.properties = without_crc(properties) + b"__CRC32#\x01" + b"%010d" % crc + b"\x02"
    made.properties = made.properties[:-11] + made.properties[-11:-1][::-1] + b"\x02"
    life.store.put(made, tags_code("TagA"))
    life.settle()
    life.store.close()
    assert check(tmp_path)[1] == []
    flip(tmp_path / "commitlog" / ("0" * 20), 43)  # the born time, which nothing else covers
    (problem,) = check(tmp_path)[1]
    assert (problem.offset, problem.text) == (0, "the record does not match its __CRC32# property")


@given(st.lists(st.integers(0, 30)), st.integers(0, 30), st.integers(0, 30))
def test_ranges(added: list[int], start: int, end: int) -> None:
    ranges = Ranges()
    for offset in added:
        ranges.add(offset)
    assert list(ranges.missing(start, end)) == [offset for offset in range(start, end) if offset not in set(added)]
