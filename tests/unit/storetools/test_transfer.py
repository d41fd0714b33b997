"""Export and import: exact, whole or not at all."""

import io
from pathlib import Path

import pytest

from protocol.flags import MessageSysFlag
from rmq_server.core.clock import ManualClock
from rmq_server.store.errors import StoreError, StoreInUse, UnsupportedStore
from rmq_server.store.files import OsFiles
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.select import Selection, select
from rmq_server.storetools.transfer import BadExport, ExportFile, Moved, export_topic, import_topic
from tests.unit.store.harness import Harness
from tests.unit.storetools.stores import check, ours, tree


def exported(root: Path, topic: str = "T") -> bytes:
    output = io.BytesIO()
    with StoreDirectory.open(root) as store:
        export_topic(topic, select(store, Selection(topic=topic), on_damage=print), output)
    return output.getvalue()


def imported(root: Path, data: bytes, files: OsFiles | None = None) -> Moved:
    with StoreDirectory.open(root) as store:
        return import_topic(store, ExportFile(io.BytesIO(data)), files=files or OsFiles(), clock=ManualClock())


def test_into_an_empty_store(tmp_path: Path) -> None:
    ours(tmp_path / "from")
    (tmp_path / "to/commitlog").mkdir(parents=True)
    moved = imported(tmp_path / "to", exported(tmp_path / "from"))
    assert (moved.messages, moved.queues) == (60, {0: 30, 1: 30})
    report, problems = check(tmp_path / "to")
    assert problems == []
    assert (report.records, report.index_entries) == (60, 60)
    assert exported(tmp_path / "to") != exported(tmp_path / "from")  # store times
    assert not (tmp_path / "to/abort").exists()


def test_bodies_and_properties_stay_the_bytes_they_are(tmp_path: Path) -> None:
    life = Harness(OsFiles(), root=str(tmp_path / "from")).open()
    properties = b"A\x011\x02TAGS\x01\xe6\xa0\x87\x02A\x012"
    life.put(bytes(range(256)), properties=properties, flag=-7, sys_flag=0x309, reconsume_times=3, queue_id=5)
    life.put(b"prepared", sys_flag=MessageSysFlag.TRANSACTION_PREPARED)
    life.settle()
    life.store.close()
    ours(tmp_path / "to")
    moved = imported(tmp_path / "to", exported(tmp_path / "from"))
    assert moved.messages == 2
    assert check(tmp_path / "to")[1] == []
    life = Harness(OsFiles(), root=str(tmp_path / "to")).open()
    assert life.bodies("T", 5) == [bytes(range(256))]
    result = life.store.get("T", 5, 0, 1)
    assert properties in bytes(result.views[0])
    life.settle()
    life.store.close()


@pytest.mark.parametrize("cut", [0, 3, 10, 100, -1])
def test_what_is_not_whole_is_not_imported_at_all(tmp_path: Path, cut: int) -> None:
    ours(tmp_path)
    data = exported(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(BadExport, match="cut off"):
        imported(tmp_path, data[:cut])
    assert tree(tmp_path) == before


def test_what_is_no_export(tmp_path: Path) -> None:
    ours(tmp_path)
    data = exported(tmp_path)
    before = tree(tmp_path)
    for bad in (
        b"{}\n" * 40,
        data[:40] + b"\xc1" + data[41:],
        b"\0\0\0\x01\xc0",
        data.replace(b"rmq-export", b"rmq-xxxxxx"),
    ):
        with pytest.raises(BadExport):
            imported(tmp_path, bad)
    assert tree(tmp_path) == before


def test_the_brokers_own_topics_are_not_imported(tmp_path: Path) -> None:
    ours(tmp_path)
    output = io.BytesIO()
    export_topic("SCHEDULE_TOPIC_XXXX", [], output)
    with pytest.raises(BadExport, match="broker's own"):
        imported(tmp_path, output.getvalue())


def test_an_open_store_is_not_written(tmp_path: Path) -> None:
    ours(tmp_path)
    data = exported(tmp_path)
    lock = OsFiles().lock(tmp_path / "lock")
    try:
        with pytest.raises(StoreInUse):
            imported(tmp_path, data)
    finally:
        lock.close()


def test_a_store_that_does_not_fit_together_is_not_written(tmp_path: Path) -> None:
    ours(tmp_path)
    data = exported(tmp_path)
    last = max((tmp_path / "commitlog").iterdir())
    last.unlink()
    before = tree(tmp_path)
    with pytest.raises(UnsupportedStore, match="verify"):
        imported(tmp_path, data)
    (tmp_path / "commitlog/x").touch()
    with pytest.raises(UnsupportedStore, match="not an offset"):
        imported(tmp_path, data)
    (tmp_path / "commitlog/x").unlink()
    assert tree(tmp_path) == before


class FullFiles(OsFiles):
    """A disk without room for another segment."""

    def open(self, path: Path, *, create: bool = False):  # type: ignore[no-untyped-def]
        if create and path.parent.name == "commitlog":
            raise OSError(28, "No space left on device")
        return super().open(path, create=create)


def test_a_full_disk_stops_an_import_and_says_how_far_it_came(tmp_path: Path) -> None:
    ours(tmp_path)
    data = exported(tmp_path)
    with pytest.raises(StoreError, match=r"the import stopped after 12 messages: .*No space"):
        imported(tmp_path, data, FullFiles())
    report, problems = check(tmp_path)
    assert (report.records, problems) == (60 + 12, [])
    assert imported(tmp_path, data).messages == 60
    assert check(tmp_path)[1] == []
