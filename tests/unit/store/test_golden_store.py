"""The store directory of a Java broker, byte by byte."""

from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.message import decode_properties
from protocol.names import SCHEDULE_TOPIC
from protocol.record import RecordFacts, pack, split, unpack
from rmq_server.core.clock import ManualClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.dispatch import tags_code_of_record
from rmq_server.store.files import OsFiles
from rmq_server.store.layout import ENTRY, ENTRY_BYTES
from rmq_server.store.message_store import MessageStore
from tests.support.golden import (
    COMMITLOG_FILE_BYTES,
    CONSUMEQUEUE_FILE_BYTES,
    INDEX_ENTRIES,
    INDEX_SLOTS,
    RECORDS,
    extract,
    log_records,
)
from tests.unit.store.harness import ManualWorker, record

LEVEL_MS = {"1": 1000, "2": 2000, "3": 3000, "18": 7_200_000}

Entries = dict[tuple[str, int], list[tuple[int, int, int]]]


@pytest.fixture(params=RECORDS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return extract(request.param, tmp_path / request.param)


def tags_code_of(facts: RecordFacts) -> int:
    """With the delay levels that the archive was written with."""
    level = decode_properties(facts.properties.decode()).get("DELAY")
    if facts.topic == SCHEDULE_TOPIC and level:
        return facts.store_timestamp_ms + LEVEL_MS[level]
    return tags_code_of_record(facts)


def store_of(root: Path) -> MessageStore:
    return MessageStore(
        StoreConfig(
            root=str(root),
            commitlog_file_bytes=COMMITLOG_FILE_BYTES,
            consumequeue_file_bytes=CONSUMEQUEUE_FILE_BYTES,
            index_slots=INDEX_SLOTS,
            index_entries=INDEX_ENTRIES,
            flush_disk_type=FlushDiskType.ASYNC_FLUSH,
        ),
        clock=ManualClock(1_795_280_000_000),
        files=OsFiles(),
        schedule=_call_now,
        worker=ManualWorker(),
        on_arrival=lambda arrivals: None,
        tags_code_of=tags_code_of,
    )


def _call_now(callback: Callable[[], None]) -> None:
    callback()


def entries_on_disk(root: Path) -> Entries:
    found: Entries = {}
    for path in sorted((root / "consumequeue").glob("*/*/*")):
        entries = [entry for entry in ENTRY.iter_unpack(path.read_bytes()) if entry[1] > 0]
        found.setdefault((path.parent.parent.name, int(path.parent.name)), []).extend(entries)
    return found


def test_every_record_encodes_to_the_same_bytes(golden: Path) -> None:
    records = log_records(golden)
    assert len(records) == RECORDS[golden.parent.name]
    for at, data in records:
        made = unpack(data, verify_body=True)
        assert pack(made) == data
        assert made.physical_offset == at


def test_every_entry_agrees_with_its_record(golden: Path) -> None:
    data = dict(log_records(golden))
    for (topic, queue_id), entries in entries_on_disk(golden).items():
        for queue_offset, (physical, size, tags_code) in enumerate(entries):
            made = unpack(data[physical])
            assert (made.topic, made.queue_id, made.queue_offset) == (topic, queue_id, queue_offset)
            assert size == len(data[physical])
            facts = RecordFacts(
                physical, size, topic, queue_id, queue_offset, made.sys_flag, made.store_timestamp_ms, made.properties
            )
            assert tags_code == tags_code_of(facts)


@pytest.mark.parametrize("crashed", [True, False])
def test_opens_with_everything_in_it(golden: Path, crashed: bool) -> None:
    records, entries = log_records(golden), entries_on_disk(golden)
    (golden / "abort").unlink(missing_ok=True)
    if crashed:
        (golden / "abort").touch()
    store = store_of(golden)
    store.open()
    assert store.recovery is not None
    assert store.recovery.crashed is crashed
    assert store.max_physical_offset == records[-1][0] + len(records[-1][1])
    for (topic, queue_id), expected in entries.items():
        assert store.max_offset(topic, queue_id) == len(expected)
        result = store.get(topic, queue_id, 0, 32)
        found = [end - start for start, end in split(b"".join(result.views))]
        assert found == [size for _, size, _ in expected[: result.count]]
    store.close()
    assert entries_on_disk(golden) == entries
    assert log_records(golden) == records


def test_rebuilds_the_same_queues_from_the_log_alone(golden: Path) -> None:
    entries = entries_on_disk(golden)
    for path in (golden / "consumequeue").glob("*/*/*"):
        path.unlink()
    (golden / "checkpoint").unlink()
    store = store_of(golden)
    store.open()
    store.close()
    assert entries_on_disk(golden) == entries
    assert not (golden / "abort").exists()


def test_goes_on_where_java_stopped(golden: Path) -> None:
    store = store_of(golden)
    store.open()
    before = store.max_offset("gold_normal", 1)
    put = store.put(record(b"ours", topic="gold_normal", queue_id=1), 0)
    assert put.queue_offset == before
    store.close()
    assert entries_on_disk(golden)["gold_normal", 1][before] == (
        put.physical_offset,
        put.end_offset - put.physical_offset,
        0,
    )
    assert len(list((golden / "commitlog").iterdir())) == 1
    sizes = {path.stat().st_size for path in (golden / "consumequeue").glob("*/*/*")}
    assert sizes == {100 * ENTRY_BYTES}
