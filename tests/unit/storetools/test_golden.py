"""The tools on directories that Apache's brokers wrote."""

import base64
import io
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from protocol.message_id import parse_offset_message_id
from rmq_server.core.clock import ManualClock
from rmq_server.store.files import OsFiles
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.dump import BodyStyle, dump
from rmq_server.storetools.info import store_info
from rmq_server.storetools.rebuild import rebuild_in_place, rebuild_into
from rmq_server.storetools.select import Selection, select
from rmq_server.storetools.transfer import ExportFile, export_topic, import_topic
from tests.support.golden import (
    COMMITLOG_FILE_BYTES,
    CONSUMEQUEUE_FILE_BYTES,
    CRASHED,
    RECORDS,
    extract,
    ledger,
    log_records,
)
from tests.unit.storetools.stores import INDEX_ENTRIES_AT, check, contents, flip, tree

MARKS = (*range(16), *range(24, 40))
"""Bytes of a checkpoint without the index time."""


@pytest.fixture(params=RECORDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def golden(name: str, tmp_path: Path) -> Path:
    return extract(name, tmp_path)


def no_damage(damage: object) -> None:
    raise AssertionError(damage)


def dumped(
    root: Path, selection: Selection | None = None, style: BodyStyle = BodyStyle.BASE64
) -> list[dict[str, object]]:
    with StoreDirectory.open(root) as store:
        return [json.loads(line) for line in dump(select(store, selection or Selection(), on_damage=no_damage), style)]


def test_info(name: str, golden: Path) -> None:
    records = log_records(golden)
    before = tree(golden)
    with StoreDirectory.open(golden) as store:
        found = store_info(store)
    assert tree(golden) == before
    assert found.problems == []
    assert (found.crashed, found.broker) == (name == CRASHED, None)
    assert (found.commitlog_file_bytes, found.consumequeue_file_bytes) == (
        COMMITLOG_FILE_BYTES,
        CONSUMEQUEUE_FILE_BYTES,
    )
    assert (found.min_physical_offset, found.max_physical_offset) == (0, records[-1][0] + len(records[-1][1]))
    times = [int.from_bytes(data[56:64], "big") for _, data in records]
    assert (found.first_store_time_ms, found.last_store_time_ms) == (times[0], times[-1])
    assert sum(topic.messages for topic in found.topics) == len(records)
    normal = next(topic for topic in found.topics if topic.topic == "gold_normal")
    assert normal.is_defined
    assert [queue.queue_id for queue in normal.queues] == [0, 1, 2, 3]
    assert all(queue.min_offset == 0 and queue.max_offset == queue.messages for queue in normal.queues)
    assert {"topics.json", "consumerOffset.json", "subscriptionGroup.json"} <= {
        each.file for each in found.config_files
    }
    assert len(found.index_files) == 1
    msgspec.json.encode(found)


def test_verify_finds_nothing_and_changes_nothing(name: str, golden: Path) -> None:
    before = tree(golden)
    report, problems = check(golden)
    assert tree(golden) == before
    assert problems == []
    assert report.notes == []
    assert report.records == report.queue_entries == RECORDS[name]
    assert report.index_files == 1
    assert report.index_entries > 100


def test_rebuild_writes_what_java_wrote(golden: Path, tmp_path: Path) -> None:
    before = tree(golden)
    target = tmp_path / "rebuilt"
    with StoreDirectory.open(golden) as store:
        built = rebuild_into(store, target, files=OsFiles(), on_damage=no_damage)
    assert tree(golden) == before
    assert contents(target / "consumequeue") == contents(golden / "consumequeue")
    assert list(contents(target / "index").values()) == list(contents(golden / "index").values())
    assert built.queues == len({path.rpartition("/")[0] for path in contents(golden / "consumequeue")})


def test_rebuild_in_place(name: str, golden: Path) -> None:
    queues, index = contents(golden / "consumequeue"), contents(golden / "index")
    checkpoint = (golden / "checkpoint").read_bytes()
    shutil.rmtree(golden / "consumequeue/gold_normal")
    flip(next((golden / "index").iterdir()), INDEX_ENTRIES_AT + 5 * 20)
    assert check(golden)[0].notes if name == CRASHED else check(golden)[1]
    rebuild_in_place(golden, files=OsFiles(), on_damage=no_damage, progress=lambda store: lambda done: None)
    assert contents(golden / "consumequeue") == queues
    assert list(contents(golden / "index").values()) == list(index.values())
    assert [(golden / "checkpoint").read_bytes()[at] for at in MARKS] == [checkpoint[at] for at in MARKS]
    assert (golden / "abort").exists() is (name == CRASHED)
    assert not (golden / "rebuild.tmp").exists()
    assert check(golden)[1] == []


def test_dump_has_every_line_of_the_ledger_at_its_place(name: str, golden: Path) -> None:
    found = {(line["topic"], line["queueId"], line["queueOffset"]): line for line in dumped(golden)}
    by_offset = {line["physicalOffset"]: line for line in found.values()}
    assert len(by_offset) == RECORDS[name]
    checked = 0
    for sent in ledger(name):
        for message_id in (sent.get("offsetMsgId") or "").split(","):
            if message_id in ("", "null"):
                continue  # transactions
            line = by_offset[parse_offset_message_id(message_id)[2]]
            assert line["offsetMsgId"] == message_id
            if "," in sent["offsetMsgId"] or line["topic"] != sent["topic"]:
                continue  # a batch has one line for all; delayed and half messages wait elsewhere
            assert (line["queueId"], line["queueOffset"]) == (sent["queueId"], sent["queueOffset"])
            body = base64.b64decode(str(line["bodyBase64"]))
            assert body == bytes.fromhex(sent["body"]) if "body" in sent else len(body) == sent["bodyLength"]
            checked += 1
    assert checked > 30


def test_export_and_import_move_a_topic(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden, tmp_path / "other", ignore=shutil.ignore_patterns("timerwheel"))
    exported = io.BytesIO()
    with StoreDirectory.open(golden) as store:
        moved = export_topic(
            "gold_normal", select(store, Selection(topic="gold_normal"), on_damage=no_damage), exported
        )
    before = dumped(golden, Selection(topic="gold_normal"))
    assert moved.messages == len(before)
    exported.seek(0)
    clock = ManualClock(1_795_280_000_000)
    with StoreDirectory.open(tmp_path / "other") as store:
        assert import_topic(store, ExportFile(exported), files=OsFiles(), clock=clock) == moved
    assert check(tmp_path / "other")[1] == []
    after = dumped(tmp_path / "other", Selection(topic="gold_normal"))
    new = after[len(before) :]
    assert after[: len(before)] == before
    kept = ("queueId", "bornTimeMs", "bornHost", "flag", "sysFlag", "properties", "bodyBase64")
    assert [[line.get(key) for key in kept] for line in new] == [[line.get(key) for key in kept] for line in before]
    for queue_id, count in moved.queues.items():
        offsets = [line["queueOffset"] for line in new if line["queueId"] == queue_id]
        assert offsets == list(range(count, 2 * count))
    assert {line["storeTimeMs"] for line in new} == {clock.now_ms()}
    assert {line["storeHost"] for line in new} == {before[0]["storeHost"]}
