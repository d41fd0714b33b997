"""Rebuilding: what comes out, and when it refuses."""

import shutil
from pathlib import Path

import pytest

from protocol.record import RecordFacts, unpack
from rmq_server.store.checkpoint import load_checkpoint
from rmq_server.store.delay import DelayLevels
from rmq_server.store.errors import StoreInUse, UnsupportedStore
from rmq_server.store.files import OsFiles
from rmq_server.store.index import IndexSettings
from rmq_server.storetools.delay import TagsCodes
from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
from rmq_server.storetools.log import Damage
from rmq_server.storetools.rebuild import Rebuilt, rebuild_in_place, rebuild_into
from tests.support.golden import extract, log_records
from tests.unit.store.harness import Harness
from tests.unit.storetools.stores import CLEAN, check, contents, flip, ours, tree


class PowerCut(Exception):
    """The machine stops here."""


class CutFiles(OsFiles):
    """Fails at the n-th rename."""

    def __init__(self, good: int) -> None:
        self._good = good

    def rename(self, source: Path, target: Path) -> None:
        if self._good == 0:
            raise PowerCut
        self._good -= 1
        super().rename(source, target)


def in_place(root: Path, damages: list[Damage] | None = None, files: OsFiles | None = None) -> Rebuilt:
    found: list[Damage] = []

    def progress(store: StoreDirectory) -> Progress:
        return no_progress

    built = rebuild_in_place(root, files=files or OsFiles(), on_damage=found.append, progress=progress)
    assert found == [] or damages is not None
    if damages is not None:
        damages += found
    return built


def test_several_segments_and_index_files(tmp_path: Path) -> None:
    ours(tmp_path / "store")
    queues, index = contents(tmp_path / "store/consumequeue"), contents(tmp_path / "store/index")
    built = in_place(tmp_path / "store")
    assert contents(tmp_path / "store/consumequeue") == queues
    assert list(contents(tmp_path / "store/index").values()) == list(index.values())
    assert (built.records, built.queue_entries, built.index_entries) == (60, 60, 60)
    assert built.index_files == len(index)
    assert not (tmp_path / "store/abort").exists()
    assert check(tmp_path / "store")[1] == []


def test_the_first_segments_are_gone(tmp_path: Path) -> None:
    """Offsets go on; the gap at the beginning of a queue's first file is blank."""
    ours(tmp_path)
    (tmp_path / f"commitlog/{0:020d}").unlink()
    assert check(tmp_path)[1] == []
    shutil.rmtree(tmp_path / "consumequeue/T/1")
    assert check(tmp_path)[1]
    in_place(tmp_path)
    assert check(tmp_path)[1] == []
    life = Harness(OsFiles(), root=str(tmp_path)).open()
    assert (life.store.min_offset("T", 1) > 0, life.store.max_offset("T", 1)) == (True, 30)
    assert life.bodies("T", 1)[-1].startswith(b"body 59 ")
    life.settle()
    life.store.close()


@pytest.mark.parametrize("is_second", [False, True])
def test_a_queue_without_messages_keeps_its_offsets(tmp_path: Path, is_second: bool) -> None:
    life = Harness(OsFiles(), root=str(tmp_path)).open()
    for _ in range(10):  # fills its only file
        life.put(topic="Old")
    for _ in range(3):
        life.put(topic="Older")
    for _ in range(60):
        life.put(bytes(100))
    life.settle()
    life.store.close()
    (tmp_path / f"commitlog/{0:020d}").unlink()
    if is_second:
        with pytest.raises(PowerCut):
            in_place(tmp_path, files=CutFiles(1))
        assert not (tmp_path / "consumequeue").exists()
    built = in_place(tmp_path)
    assert built.kept_queues == 2
    assert check(tmp_path)[1] == []
    life = Harness(OsFiles(), root=str(tmp_path)).open()
    assert (life.store.min_offset("Old", 0), life.store.max_offset("Old", 0)) == (10, 10)
    assert life.put(topic="Old").queue_offset == 10
    assert life.put(topic="Older").queue_offset == 3
    life.settle()
    life.store.close()


def test_a_damaged_record_leaves_a_gap(tmp_path: Path) -> None:
    root = extract(CLEAN, tmp_path)
    start, data = log_records(root)[7]
    flip(root / "commitlog" / ("0" * 20), start + len(data) // 3)
    damages: list[Damage] = []
    built = in_place(root, damages)
    assert [damage.offset for damage in damages] == [start]
    assert built.records == len(log_records(extract(CLEAN, tmp_path / "again"))) - 1
    assert {problem.offset for problem in check(root)[1]} == {start}


def test_a_queue_offset_that_cannot_be_is_passed_over(tmp_path: Path) -> None:
    root = extract(CLEAN, tmp_path)
    start = next(at for at, data in log_records(root) if unpack(data).queue_offset == 2)
    flip(root / "commitlog" / ("0" * 20), start + 23)
    damages: list[Damage] = []
    in_place(root, damages)
    assert [damage.offset for damage in damages] == [start]
    assert [problem.offset for problem in check(root)[1]] == [start]


def test_what_ends_early_leaves_nothing(tmp_path: Path) -> None:
    ours(tmp_path)
    before = tree(tmp_path)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_in_place(tmp_path, files=OsFiles(), on_damage=print, progress=lambda store: interrupt)
    assert {file: data for file, (_, data) in tree(tmp_path).items()} == {
        file: data for file, (_, data) in before.items()
    }


@pytest.mark.parametrize("renames", range(4))
def test_a_power_cut_while_they_change_places(tmp_path: Path, renames: int) -> None:
    ours(tmp_path)
    queues = contents(tmp_path / "consumequeue")
    with pytest.raises(PowerCut):
        in_place(tmp_path, files=CutFiles(renames))
    assert (tmp_path / "abort").exists()
    assert load_checkpoint(OsFiles(), tmp_path / "checkpoint").min_timestamp_ms == 0
    life = Harness(OsFiles(), root=str(tmp_path)).open()
    assert len(life.bodies("T", 0)) == len(life.bodies("T", 1)) == 30
    life.settle()
    life.store.close()
    assert contents(tmp_path / "consumequeue") == queues
    in_place(tmp_path)
    assert contents(tmp_path / "consumequeue") == queues
    assert not (tmp_path / "rebuild.tmp").exists()
    assert check(tmp_path)[1] == []


def test_refuses_while_the_store_is_open(tmp_path: Path) -> None:
    ours(tmp_path)
    lock = OsFiles().lock(tmp_path / "lock")
    before = tree(tmp_path / "consumequeue")
    try:
        with pytest.raises(StoreInUse):
            in_place(tmp_path)
    finally:
        lock.close()
    assert tree(tmp_path / "consumequeue") == before


def test_refuses_a_directory_that_has_queues(tmp_path: Path) -> None:
    ours(tmp_path)
    before = tree(tmp_path)
    with StoreDirectory.open(tmp_path) as store, pytest.raises(UnsupportedStore, match="something already"):
        rebuild_into(store, tmp_path, files=OsFiles(), on_damage=print)
    assert tree(tmp_path) == before


def test_refuses_light_queues(tmp_path: Path) -> None:
    ours(tmp_path)
    shutil.copytree(tmp_path / "consumequeue/T/0", tmp_path / "consumequeue/%LMQ%a/0")
    with pytest.raises(UnsupportedStore, match="light queues"):
        in_place(tmp_path)


def test_a_lost_index_needs_its_sizes(tmp_path: Path) -> None:
    ours(tmp_path)
    index = contents(tmp_path / "index")
    for file in index:
        (tmp_path / "index" / file).write_bytes(b"\xff" * 460)
    with pytest.raises(UnsupportedStore, match="sizes of the index files"):
        in_place(tmp_path)
    shutil.rmtree(tmp_path / "index")
    assert in_place(tmp_path).index_files == 0
    with StoreDirectory.open(tmp_path) as store:
        target = tmp_path / "into"
        built = rebuild_into(store, target, files=OsFiles(), on_damage=print, index=IndexSettings(5, 20))
    assert built.index_files == len(index)
    assert list(contents(target / "index").values()) == list(index.values())


def test_delays_are_learned_from_the_queues(tmp_path: Path) -> None:
    root = extract(CLEAN, tmp_path)
    facts = RecordFacts(0, 100, "SCHEDULE_TOPIC_XXXX", 0, 0, 0, 1000, b"DELAY\x012\x02TAGS\x01TagA\x02")
    with StoreDirectory.open(root) as store:
        assert TagsCodes(store)(facts) == 3000  # its broker had 1s 2s 3s
        assert TagsCodes(store, DelayLevels("7s 8s"))(facts) == 9000
    shutil.rmtree(root / "consumequeue/SCHEDULE_TOPIC_XXXX")
    with StoreDirectory.open(root) as store:
        assert TagsCodes(store)(facts) == 6000
