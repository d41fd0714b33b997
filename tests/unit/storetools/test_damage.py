"""Every kind of damage in every kind of file: `verify` names the file and the byte."""

from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.record import unpack
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.info import store_info
from rmq_server.storetools.log import Damage, LogScan
from tests.support.golden import CRASHED, INDEX_SLOTS, RECORDS, extract, log_records
from tests.unit.storetools.stores import CLEAN, INDEX_ENTRIES_AT, check, flip, ours

LOG = "commitlog/" + "0" * 20
QUEUE = "consumequeue/gold_normal/1/" + "0" * 20
SCHEDULE = "consumequeue/SCHEDULE_TOPIC_XXXX/0/" + "0" * 20


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return extract(CLEAN, tmp_path)


def places(root: Path) -> set[tuple[str, int | None]]:
    """Where verify finds problems."""
    return {(str(problem.path.relative_to(root)), problem.offset) for problem in check(root)[1]}


def index_of(root: Path) -> str:
    return f"index/{next((root / 'index').iterdir()).name}"


@pytest.mark.parametrize(
    ("field", "at", "mask"),
    [
        ("size", 3, 1),
        ("size", 0, 0x80),
        ("magic", 5, 1),
        ("body checksum", 11, 1),
        ("physical offset", 35, 1),
        ("body length", 87, 1),
        ("body", 88, 0x40),
    ],
)
def test_a_damaged_record(golden: Path, field: str, at: int, mask: int) -> None:
    records = log_records(golden)
    start, data = next((start, data) for start, data in records[3:] if unpack(data).topic == "gold_normal")
    flip(golden / LOG, start + at, mask)
    report, _ = check(golden)
    found = places(golden)
    made = unpack(data)
    assert (LOG, start) in found
    queue = f"consumequeue/{made.topic}/{made.queue_id}/" + "0" * 20
    assert (queue, 20 * made.queue_offset) in found
    assert report.records == RECORDS[CLEAN] - 1


@pytest.mark.parametrize(("field", "at"), [("queue id", 15), ("queue offset", 27), ("topic", 0), ("tag", 1)])
def test_a_record_that_contradicts_its_queue(golden: Path, field: str, at: int) -> None:
    start, data = next((at, data) for at, data in log_records(golden) if unpack(data).topic == "gold_normal")
    made = unpack(data)
    position = {"topic": data.index(b"gold_normal") + 8, "tag": data.index(b"TAGS\x01") + 5}.get(field, at)
    flip(golden / LOG, start + position)
    queue = f"consumequeue/gold_normal/{made.queue_id}/" + "0" * 20
    assert (queue, 20 * made.queue_offset) in places(golden)


@pytest.mark.parametrize("file", [QUEUE, SCHEDULE])
@pytest.mark.parametrize("at", range(20))
def test_a_damaged_queue_entry(golden: Path, file: str, at: int) -> None:
    flip(golden / file, at, 0x81)
    assert places(golden) == {(file, 0)}


def test_a_queue_entry_behind_the_last(golden: Path) -> None:
    end = (golden / QUEUE).read_bytes().rstrip(b"\0")
    behind = -(-len(end) // 20) * 20 + 40
    flip(golden / QUEUE, behind + 7)
    assert (QUEUE, behind) in places(golden)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_damaged_index_header(golden: Path, at: int) -> None:
    flip(golden / index_of(golden), at)
    assert {file for file, _ in places(golden)} == {index_of(golden)}


@pytest.mark.parametrize("at", range(20))
def test_a_damaged_index_entry(golden: Path, at: int) -> None:
    entry = INDEX_ENTRIES_AT + 50 * 20
    flip(golden / index_of(golden), entry + at)
    assert (index_of(golden), entry) in places(golden)


@pytest.mark.parametrize("slot", [0, 1, 2, INDEX_SLOTS - 1])
def test_a_damaged_index_slot(golden: Path, slot: int) -> None:
    flip(golden / index_of(golden), 40 + 4 * slot + 2)
    assert places(golden) == {(index_of(golden), 40 + 4 * slot)}


@pytest.mark.parametrize("mark", range(3))
def test_a_damaged_checkpoint(golden: Path, mark: int) -> None:
    for at in (0, 1, 2):
        flip(golden / "checkpoint", 8 * mark + at, 0x40)
        assert places(golden) == {("checkpoint", 8 * mark)}
        flip(golden / "checkpoint", 8 * mark + at, 0x40)


@pytest.mark.parametrize("file", ["topics.json", "consumerOffset.json", "timermetrics", "transactionMetrics"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, 0),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_damaged_json_file(golden: Path, file: str, damage: Callable[[Path], object]) -> None:
    damage(golden / "config" / file)
    assert {file for file, _ in places(golden)} == {f"config/{file}"}


@pytest.mark.parametrize(
    ("file", "size", "offset"),
    [(QUEUE, 1000, 1000), (QUEUE, 70, 70), ("checkpoint", 100, 100), ("checkpoint", 0, 0)],
)
def test_a_cut_file(golden: Path, file: str, size: int, offset: int) -> None:
    with (golden / file).open("r+b") as opened:
        opened.truncate(size)
    assert (file, offset) in places(golden)


def test_a_cut_log(golden: Path) -> None:
    records = log_records(golden)
    start = records[40][0]
    with (golden / LOG).open("r+b") as opened:
        opened.truncate(start + 50)
    assert (LOG, start) in places(golden)
    with (golden / LOG).open("r+b") as opened:
        opened.truncate(start)
    assert (LOG, start) in places(golden)


def test_a_cut_index(golden: Path) -> None:
    with (golden / index_of(golden)).open("r+b") as opened:
        opened.truncate(3000)
    assert {file for file, _ in places(golden)} == {index_of(golden)}


def test_the_end_of_the_log_is_zeros(golden: Path) -> None:
    """A disk lost what the queues know about."""
    records = log_records(golden)
    start = records[40][0]
    with (golden / LOG).open("r+b") as opened:
        opened.seek(start)
        opened.write(bytes(records[-1][0] + len(records[-1][1]) - start))
    assert (LOG, start) in places(golden)


def test_zeros_in_the_middle_of_the_log(golden: Path) -> None:
    records = log_records(golden)
    start, end = records[40][0], records[60][0]
    with (golden / LOG).open("r+b") as opened:
        opened.seek(start)
        opened.write(bytes(end - start))
    report, problems = check(golden)
    assert (LOG, start) in places(golden)
    assert report.records == RECORDS[CLEAN] - 20
    assert any(f"the next record is at offset {end}" in problem.text for problem in problems)


@pytest.mark.parametrize("name", [CLEAN, CRASHED])
def test_what_is_left_over_after_the_end_is_no_problem(name: str, tmp_path: Path) -> None:
    """Java truncates without erasing: half a record and a whole one of a former life."""
    root = extract(name, tmp_path)
    records = log_records(root)
    end = records[-1][0] + len(records[-1][1])
    with (root / LOG).open("r+b") as opened:
        opened.seek(end)
        opened.write(records[5][1][20:])
    report, problems = check(root)
    assert problems == []
    assert len(report.notes) == 1
    assert f"{LOG} at byte {end}" in report.notes[0]


def test_a_lost_queue(golden: Path) -> None:
    (golden / QUEUE).unlink()
    (golden / QUEUE).parent.rmdir()
    _, problems = check(golden)
    assert len(problems) == 1
    assert "gold_normal/1 has no entry for" in problems[0].text


def test_a_lost_queue_after_a_crash_is_what_the_start_mends(tmp_path: Path) -> None:
    root = extract(CRASHED, tmp_path)
    (root / QUEUE).unlink()
    report, problems = check(root)
    assert problems == []
    assert "the next start adds them" in report.notes[0]


def test_a_topic_that_was_deleted_is_no_problem(golden: Path) -> None:
    for path in sorted((golden / "consumequeue/gold_ordered").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (golden / "consumequeue/gold_ordered").rmdir()
    assert check(golden)[0].problems
    topics = golden / "config/topics.json"
    topics.write_bytes(topics.read_bytes().replace(b"gold_ordered", b"gold_gone"))
    report, problems = check(golden)
    assert problems == []
    assert "12 records of gold_ordered" in report.notes[0]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("commitlog/.DS_Store", "not an offset"),
        ("consumequeue/gold_normal/1/tmp", "not an offset"),
        ("consumequeue/gold_normal/x", "not a queue id"),
        ("index/x", "not that of an index file"),
    ],
)
def test_an_alien_file(golden: Path, file: str, words: str) -> None:
    (golden / file).write_bytes(b"x")
    found = [problem for problem in check(golden)[1] if str(problem.path.relative_to(golden)) == file]
    assert len(found) == 1
    assert words in found[0].text


def test_a_missing_segment(tmp_path: Path) -> None:
    ours(tmp_path)
    assert check(tmp_path)[1] == []
    (tmp_path / f"commitlog/{4096:020d}").unlink()
    found = places(tmp_path)
    assert (f"commitlog/{8192:020d}", None) in found
    assert any(file.startswith("consumequeue/T/0") for file, _ in found)


def test_a_damaged_blank_record(tmp_path: Path) -> None:
    ours(tmp_path)
    with StoreDirectory.open(tmp_path) as store:
        ends = {}
        for found in LogScan(store, on_damage=ends.clear):  # type: ignore[arg-type]
            ends[found.facts.physical_offset // 4096] = found.facts.physical_offset + found.facts.size
    flip(tmp_path / f"commitlog/{4096:020d}", ends[1] - 4096 + 5)
    assert places(tmp_path) == {(f"commitlog/{4096:020d}", ends[1] - 4096)}


def test_info_shows_what_it_sees(golden: Path) -> None:
    (golden / "commitlog/x").touch()
    with StoreDirectory.open(golden) as store:
        assert "commitlog/x" in store_info(store).problems[0]


def test_scanning_passes_over_damage(golden: Path) -> None:
    records = log_records(golden)
    damages: list[Damage] = []
    for number in (10, 20, 21, 30):
        flip(golden / LOG, records[number][0] + 90)
    with StoreDirectory.open(golden) as store:
        found = [found.facts.physical_offset for found in LogScan(store, on_damage=damages.append)]
    assert found == [at for number, (at, _) in enumerate(records) if number not in (10, 20, 21, 30)]
    assert [(damage.offset, damage.resumes) for damage in damages] == [
        (records[10][0], records[11][0]),
        (records[20][0], records[22][0]),
        (records[30][0], records[31][0]),
    ]


def test_an_index_that_was_not_synced_before_a_crash_is_no_problem(tmp_path: Path) -> None:
    ours(tmp_path)
    (tmp_path / "abort").touch()
    assert check(tmp_path)[0].notes == []
    last = max((tmp_path / "index").iterdir())
    with last.open("r+b") as file:
        file.write(bytes(40))
    report, problems = check(tmp_path)
    assert problems == []
    assert f"{last} at byte 0" in report.notes[0]
    (tmp_path / "abort").unlink()
    assert [(problem.path, problem.offset) for problem in check(tmp_path)[1]] == [(last, 0)]
