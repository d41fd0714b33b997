"""`rmq store`: options, output, exit codes."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rmq_server.cli import rmq
from tests.support.golden import CRASHED, RECORDS, extract, log_records
from tests.unit.storetools.stores import CLEAN, contents, flip, held_elsewhere, ours, tree


def run(*arguments: object) -> Result:
    return CliRunner().invoke(rmq.main, ["store", *map(str, arguments)])


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return extract(CLEAN, tmp_path)


@pytest.mark.parametrize("command", ["info", "verify", "rebuild", "dump", "export", "import"])
def test_help(command: str) -> None:
    assert command in run("--help").stdout
    result = run(command, "-h")
    assert result.exit_code == 0
    assert "DIR" in result.stdout


@pytest.mark.parametrize("command", [["info"], ["verify"], ["rebuild", "--write"], ["dump"], ["export", "T", "f"]])
def test_what_is_no_store(tmp_path: Path, command: list[str]) -> None:
    result = run(command[0], tmp_path, *command[1:])
    assert result.exit_code == 1
    assert result.stderr == f"rmq store: {tmp_path}: this is not a store directory: there is no commitlog in it\n"
    assert list(tmp_path.iterdir()) == []


def test_info(tmp_path: Path) -> None:
    golden = extract(CRASHED, tmp_path)
    result = run("info", golden)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "state      after a crash, or while it runs (abort is there); no broker has it open" in lines
    assert "commitlog  2 files of 256 KiB, offsets 0 to 64,611" in lines
    assert [line.split() for line in lines if line.startswith("gold_normal ")] == [["gold_normal", "4", "26"]]
    assert any(line.startswith("no queues  %RETRY%TOOLS_CONSUMER, ") for line in lines)
    queues = [line.split() for line in run("info", golden, "--queues").stdout.splitlines()]
    assert ["gold_normal", "3", "0", "6", "6"] in queues


def test_info_as_json(golden: Path) -> None:
    found = json.loads(run("info", golden, "--json").stdout)
    assert (found["commitlog_file_bytes"], found["consumequeue_file_bytes"]) == (262_144, 2000)
    assert found["crashed"] is False
    assert found["broker"] is None
    assert {topic["topic"] for topic in found["topics"] if topic["messages"]} > {"gold_normal", "gold_ordered"}


def test_verify(golden: Path) -> None:
    result = run("verify", golden)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{RECORDS[CLEAN]} records in 49.9 KiB, ")
    assert result.stdout.endswith(" entries in 1 index file: no problems\n")


def test_verify_names_file_and_byte(golden: Path) -> None:
    log = golden / "commitlog" / ("0" * 20)
    start = log_records(golden)[5][0]
    flip(log, start + 90)
    result = run("verify", golden)
    assert result.exit_code == 1
    assert f"{log} at byte {start}: the body does not match its CRC; the next record is at offset" in result.stdout
    lines = [json.loads(line) for line in run("verify", golden, "--json").stdout.splitlines()]
    assert lines[0]["file"] == str(log)
    assert lines[0]["offset"] == start
    assert lines[-1]["problems"] == len(lines) - 1


def test_dump(golden: Path) -> None:
    before = tree(golden)
    lines = [json.loads(line) for line in run("dump", golden).stdout.splitlines()]
    assert [line["physicalOffset"] for line in lines] == [at for at, _ in log_records(golden)]
    assert tree(golden) == before
    some = run("dump", golden, "--topic", "gold_normal", "--queue", 1, "--from", 1, "--to", 2).stdout.splitlines()
    assert [json.loads(line)["queueOffset"] for line in some] == [1, 2]
    assert len(run("dump", golden, "--limit", 3).stdout.splitlines()) == 3
    time = lines[10]["storeTimeMs"]
    since = run("dump", golden, "--since", time, "--until", time).stdout.splitlines()
    assert [json.loads(line)["storeTimeMs"] for line in since] == [
        line["storeTimeMs"] for line in lines if line["storeTimeMs"] == time
    ]
    assert run("dump", golden, "--since", "2099-01-01").stdout == ""
    assert len(run("dump", golden, "--until", "2099-01-01 10:00").stdout.splitlines()) == len(lines)
    assert "neither ISO 8601" in run("dump", golden, "--since", "yesterday").stderr


def test_dump_shows_bodies(golden: Path) -> None:
    def first(*options: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(
            run("dump", golden, "--topic", "gold_normal", "--limit", 1, *options).stdout
        )
        return found

    assert first()["body"] == "hello 0"
    assert first("--body", "text")["body"] == "hello 0"
    assert first("--body", "base64")["bodyBase64"] == "aGVsbG8gMA=="
    assert not first("--body", "none").keys() & {"body", "bodyBase64"}
    lines = [json.loads(line) for line in run("dump", golden).stdout.splitlines()]
    sizes = [(line["bodyBytes"], len(line["body"])) for line in lines if line["sysFlag"] & 1 and "body" in line]
    assert sizes
    assert all(shown > stored for stored, shown in sizes)


def test_dump_passes_over_damage_and_says_so(golden: Path) -> None:
    start = log_records(golden)[5][0]
    flip(golden / "commitlog" / ("0" * 20), start + 90)
    result = run("dump", golden)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == RECORDS[CLEAN] - 1
    assert f"at byte {start}: passed over: the body does not match its CRC" in result.stderr


def test_rebuild(golden: Path, tmp_path: Path) -> None:
    queues = contents(golden / "consumequeue")
    result = run("rebuild", golden, "--into", tmp_path / "into")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == f"Rebuilt in {tmp_path / 'into'} from {RECORDS[CLEAN]} records:"
    assert contents(tmp_path / "into/consumequeue") == queues
    flip(golden / "consumequeue/gold_normal/1" / ("0" * 20), 7)
    assert run("verify", golden).exit_code == 1
    assert run("rebuild", golden, "--write").exit_code == 0
    assert contents(golden / "consumequeue") == queues
    assert run("verify", golden).exit_code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "either --write or --into"),
        (["--write", "--into", "x"], "either --write or --into"),
        (["--write", "--index-slots", "5"], "go together"),
        (["--write", "--delay-levels", "1s 5x"], "5x is not a number"),
    ],
)
def test_rebuild_asks_for_what_it_needs(golden: Path, options: list[str], words: str) -> None:
    before = tree(golden)
    result = run("rebuild", golden, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert tree(golden) == before


def test_rebuild_with_delay_levels(golden: Path, tmp_path: Path) -> None:
    run("rebuild", golden, "--into", tmp_path / "into", "--delay-levels", "9s 8s 7s")
    schedule = "consumequeue/SCHEDULE_TOPIC_XXXX/0/" + "0" * 20
    old, new = (golden / schedule).read_bytes(), (tmp_path / "into" / schedule).read_bytes()
    assert int.from_bytes(new[12:20], "big") - int.from_bytes(old[12:20], "big") == 8000


def test_export_and_import(golden: Path, tmp_path: Path) -> None:
    file = tmp_path / "normal.rmq"
    result = run("export", golden, "gold_normal", file)
    assert result.exit_code == 0
    assert result.stdout.startswith("gold_normal: ")
    assert result.stdout.splitlines()[0].endswith(f"exported to {file}")
    assert "queue 3: " in result.stdout
    assert "File exists" in run("export", golden, "gold_normal", file).stderr
    assert run("export", golden, "gold_normal", file, "--force").exit_code == 0
    assert "the store has no topic nothing" in run("export", golden, "nothing", tmp_path / "none").stderr
    assert not (tmp_path / "none").exists()
    ours(tmp_path / "small")
    assert "CommitLog has files of 4096" in run("import", tmp_path / "small", file).stderr
    ours(tmp_path / "other", commitlog_file_bytes=1 << 20)
    (tmp_path / "other/config").mkdir()
    (tmp_path / "other/config/topics.json").write_text('{"topicConfigTable":{}}')
    result = run("import", tmp_path / "other", file)
    assert result.exit_code == 0, result.stderr
    assert f"imported into {tmp_path / 'other'}" in result.stdout
    assert "The topic is not defined there: create it with 4 or more queues" in result.stdout
    assert run("verify", tmp_path / "other").exit_code == 0


def test_import_of_what_is_no_export(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(b"x"))
    result = run("import", golden, tmp_path / "x")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"rmq store: {tmp_path / 'x'}: the file is cut off, or no export, at byte 0")
    assert "No such file" in run("import", golden, tmp_path / "y").stderr


def test_an_open_store_is_read_but_not_written(golden: Path, tmp_path: Path) -> None:
    file = tmp_path / "normal.rmq"
    run("export", golden, "gold_normal", file)
    with held_elsewhere(golden) as pid:
        before = tree(golden)
        for command in ("info", "dump", "verify"):
            result = run(command, golden)
            assert result.exit_code == 0
            assert f"process {pid} has the store open" in result.stderr
        for writing in (
            ["rebuild", golden, "--write"],
            ["rebuild", golden, "--into", tmp_path / "x"],
            ["import", golden, file],
        ):
            result = run(*writing)
            assert result.exit_code == 1
            assert "has the store open" in result.stderr.splitlines()[-1]
        assert tree(golden) == before
    assert not (tmp_path / "x").exists()
