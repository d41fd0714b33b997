"""JsonFile: what a crash, a full disk or a damaged file leaves, and saves that overlap."""

import asyncio
import os
from pathlib import Path

import pytest

from protocol.bodies.codec import Body
from rmq_server.core.errors import StartupError
from rmq_server.core.json_file import JsonFile


class Table(Body):
    counter: int = 0
    offset_table: dict[str, dict[int, int]] = {}


FIRST = Table(counter=1, offset_table={"T@G": {0: 12, 1: 7}})
SECOND = Table(counter=2)


@pytest.fixture
def file(tmp_path: Path) -> JsonFile[Table]:
    return JsonFile(tmp_path / "config" / "table.json", Table)


def reopened(file: JsonFile[Table]) -> JsonFile[Table]:
    return JsonFile(file.path, Table)


def names(file: JsonFile[Table]) -> list[str]:
    return sorted(path.name for path in file.path.parent.iterdir())


async def test_nothing_there_loads_as_none(file) -> None:
    assert file.load() is None


async def test_what_is_saved_loads_again(file) -> None:
    await file.save(FIRST)
    assert reopened(file).load() == FIRST
    assert names(file) == ["table.json"]


async def test_the_text_is_strict_json_indented_by_tabs(file) -> None:
    await file.save(FIRST)
    text = file.path.read_text()
    assert text.splitlines()[:4] == ["{", '\t"counter": 1,', '\t"offsetTable": {', '\t\t"T@G": {']
    assert '"0": 12' in text


async def test_the_state_before_stays_as_backup(file) -> None:
    await file.save(FIRST)
    await file.save(SECOND)
    assert reopened(file).load() == SECOND
    assert JsonFile(file.backup, Table).load() == FIRST


async def test_javas_bare_keys_are_read(file) -> None:
    file.path.parent.mkdir()
    file.path.write_text('{"offsetTable":{"T@G":{0:12,1:7}},"counter":"1","other":null}')
    assert file.load() == FIRST


@pytest.mark.parametrize("content", [None, b"", b" \n"])
async def test_a_missing_or_empty_file_is_made_good_by_its_backup(file, content) -> None:
    await file.save(FIRST)
    file.path.rename(file.backup)
    if content is not None:
        file.path.write_bytes(content)
    assert file.load() == FIRST
    await file.save(SECOND)
    assert reopened(file).load() == SECOND
    assert file.load() == SECOND


@pytest.mark.parametrize("content", [b"{", b"\0\0\0", b"[1]", b'{"counter":"x"}', b"null", b"\xff"])
async def test_a_damaged_file_is_put_aside_for_its_backup(file, content) -> None:
    await file.save(FIRST)
    await file.save(SECOND)
    file.path.write_bytes(content)
    again = reopened(file)
    assert again.load() == FIRST
    assert (file.path.parent / "table.json.damaged").read_bytes() == content
    await again.save(SECOND)
    assert reopened(file).load() == SECOND


@pytest.mark.parametrize("backup", [None, b"", b"{"])
async def test_a_damaged_file_without_a_good_backup_stops_the_start(file, backup) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(b'{"counter":')
    if backup is not None:
        file.backup.write_bytes(backup)
    with pytest.raises(StartupError, match=r"table\.json is damaged .*put a good copy back"):
        file.load()
    assert file.path.read_bytes() == b'{"counter":'


async def test_a_damaged_backup_beside_no_file_stops_the_start(file) -> None:
    file.path.parent.mkdir()
    file.backup.write_bytes(b"{")
    with pytest.raises(StartupError):
        file.load()


async def test_a_file_that_may_not_be_read_stops_the_start(file) -> None:
    file.path.mkdir(parents=True)
    with pytest.raises(StartupError, match="cannot read"):
        file.load()


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("failing_call", [1, 2])
async def test_a_failing_disk_keeps_a_whole_state(file, monkeypatch, call, failing_call, is_async) -> None:
    await file.save(FIRST)
    real, calls = getattr(os, call), 0

    def fail(*arguments):
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space"):
        await file.save(SECOND) if is_async else file.save_now(SECOND)
    monkeypatch.undo()
    assert not [name for name in names(file) if name.endswith(".tmp")]
    assert reopened(file).load() in (FIRST, SECOND)
    await file.save(SECOND)
    assert reopened(file).load() == SECOND


async def test_saves_that_overlap_write_the_last_value_and_not_those_between(file, monkeypatch) -> None:
    written = []
    real = JsonFile._write

    async def count(self, number, data):
        written.append(number)
        await real(self, number, data)

    monkeypatch.setattr(JsonFile, "_write", count)
    await asyncio.gather(*(file.save(Table(counter=number)) for number in range(1, 51)))
    assert reopened(file).load() == Table(counter=50)
    assert written == [1, 50]


async def test_a_save_counts_what_the_value_is_when_its_turn_comes(file) -> None:
    table = Table(counter=1)
    first = asyncio.ensure_future(file.save(table))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(file.save(table))
    table.counter = 3
    await asyncio.gather(first, second)
    assert reopened(file).load() == Table(counter=3)


async def test_a_cancelled_save_leaves_a_whole_state_and_lets_others_save(file) -> None:
    await file.save(FIRST)
    cancelled = asyncio.ensure_future(file.save(SECOND))
    await asyncio.sleep(0)
    other = asyncio.ensure_future(file.save(Table(counter=3)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await other
    assert reopened(file).load() == Table(counter=3)


async def test_an_older_save_never_replaces_what_save_now_wrote(file, monkeypatch) -> None:
    real = JsonFile._replace

    def late(self, number, temporary):
        monkeypatch.undo()
        file.save_now(SECOND)
        real(self, number, temporary)

    monkeypatch.setattr(JsonFile, "_replace", late)
    await file.save(FIRST)
    assert reopened(file).load() == SECOND


async def test_left_over_temporary_files_go_at_the_next_start(file) -> None:
    await file.save(FIRST)
    (file.path.parent / "table.json.9.tmp").write_text("{")
    assert reopened(file).load() == FIRST
    assert names(file) == ["table.json"]
