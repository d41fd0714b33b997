"""What may lie in a store directory, and what stops the start."""

from pathlib import Path

import pytest

from rmq_server.store.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rmq_server.store.config import StoreConfig
from rmq_server.store.errors import UnsupportedStore
from rmq_server.store.layout import StorePaths
from tests.unit.store.harness import Harness
from tests.unit.store.memory_files import MemoryFiles

ROOT = Path("/store")


def stopped() -> MemoryFiles:
    life = Harness().open()
    for _ in range(60):
        life.put(bytes(100))
    life.store.close()
    assert isinstance(life.files, MemoryFiles)
    return life.files


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("commitlog/.DS_Store", "does not belong here"),
        ("commitlog/00000000000000000000.bak", "does not belong here"),
        ("consumequeue/T/0/tmp", "does not belong here"),
        ("consumequeue/CURRENT", "RocksDB.*give another storePathRootDir"),
        ("brokerIdentity", "move the file away to leave the group"),
        ("epochFileCheckpoint", "enableControllerMode"),
    ],
)
def test_alien_files_stop_the_start(path: str, sentence: str) -> None:
    files = stopped()
    files.open(ROOT / path, create=True).truncate(1)
    with pytest.raises(UnsupportedStore, match=sentence):
        Harness(files).open()
    files.remove(ROOT / path)
    Harness(files).open()


def test_other_sizes_stop_the_start_and_name_the_setting() -> None:
    files = stopped()
    with pytest.raises(UnsupportedStore, match="4096 bytes but mappedFileSizeCommitLog is 8192"):
        Harness(files, commitlog_file_bytes=8192).open()
    with pytest.raises(UnsupportedStore, match="200 bytes but mappedFileSizeConsumeQueue is 400"):
        Harness(files, consumequeue_file_bytes=400).open()
    Harness(files).open()


def test_a_missing_segment_stops_a_clean_start() -> None:
    files = stopped()
    files.remove(ROOT / f"commitlog/{4096:020d}")
    with pytest.raises(UnsupportedStore, match="missing"):
        Harness(files).open()


def test_topics_of_another_queue_type_stop_the_start() -> None:
    files = stopped()
    files.make_dirs(ROOT / "batchconsumequeue/T")
    with pytest.raises(UnsupportedStore, match="BatchCQ"):
        Harness(files).open()


@pytest.mark.parametrize(
    ("directory", "sentence"),
    [
        ("topics", "as JSON"),
        ("subscriptionGroups", "as JSON"),
        ("consumerOffsets", "as JSON"),
        ("rdb", "as JSON"),
        ("users", "every client could read and write"),
        ("acls", "move the directory away"),
    ],
)
def test_what_rocksdb_keeps_stops_the_start(directory: str, sentence: str) -> None:
    files = stopped()
    files.make_dirs(ROOT / "config" / directory)
    Harness(files).open().store.close()
    files.open(ROOT / "config" / directory / "CURRENT", create=True)
    with pytest.raises(UnsupportedStore, match=sentence):
        Harness(files).open()
    assert not files.exists(ROOT / "abort")


def test_an_empty_last_file_is_what_a_crash_leaves() -> None:
    files = stopped()
    files.open(ROOT / f"commitlog/{12_288:020d}", create=True)
    life = Harness(files).open()
    assert life.store.max_offset("T", 0) == 60
    assert files.exists(ROOT / "commitlog" / f"{0:020d}")


def test_a_prepared_next_segment_is_used_or_deleted() -> None:
    files = stopped()
    extra = ROOT / f"commitlog/{12_288:020d}"
    files.open(extra, create=True).truncate(4096)
    life = Harness(files).open()
    assert not files.exists(extra)
    assert life.store.max_offset("T", 0) == 60


def test_queues_without_a_log_are_destroyed() -> None:
    files = stopped()
    for entry in files.list(ROOT / "commitlog"):
        files.remove(ROOT / "commitlog" / entry.name)
    life = Harness(files).open()
    assert life.store.max_offset("T", 0) == 0
    assert life.put().queue_offset == 0


def test_several_commitlog_directories_are_not_supported() -> None:
    for both in ("/a,/b", "/a:/b"):
        with pytest.raises(UnsupportedStore, match="several directories"):
            StorePaths.of("/store", both)
    assert StorePaths.of("/store", "/other").commitlog == Path("/other")


def test_queue_files_hold_whole_entries() -> None:
    assert StoreConfig(consumequeue_file_bytes=2001).consumequeue_file_bytes == 2020
    assert StoreConfig().consumequeue_file_bytes == 6_000_000


def test_the_checkpoint_of_a_java_broker() -> None:
    files = MemoryFiles()
    files.make_dirs(ROOT)
    path = ROOT / "checkpoint"
    file = files.open(path, create=True)
    file.truncate(4096)
    file.pwrite(bytes.fromhex("000001a1feac56ce000001a1feac56cf"), 0)
    marks = load_checkpoint(files, path)
    assert marks == Checkpoint(1795274069710, 1795274069711)
    assert marks.min_timestamp_ms == 1795274069710 - 3000
    marks.confirm_offset = 7
    save_checkpoint(files, path, marks.encode())
    assert (load_checkpoint(files, path), file.size()) == (marks, 4096)


def test_no_checkpoint_means_that_nothing_is_known() -> None:
    files = MemoryFiles()
    files.make_dirs(ROOT)
    assert load_checkpoint(files, ROOT / "checkpoint").min_timestamp_ms == 0
    files.open(ROOT / "checkpoint", create=True).pwrite(b"cut", 0)
    assert load_checkpoint(files, ROOT / "checkpoint") == Checkpoint()
    save_checkpoint(files, ROOT / "checkpoint", Checkpoint(1, 2, 3, 4, 5).encode())
    assert load_checkpoint(files, ROOT / "checkpoint") == Checkpoint(1, 2, 3, 4, 5)
