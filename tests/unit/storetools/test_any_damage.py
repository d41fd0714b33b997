"""Whatever bit is flipped and whatever file is cut: the tools go on, and find it where something tells."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmq_server.store.errors import UnsupportedStore
from rmq_server.store.files import OsFiles
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.dump import dump
from rmq_server.storetools.info import store_info
from rmq_server.storetools.rebuild import rebuild_into
from rmq_server.storetools.select import Selection, select
from tests.support.golden import extract
from tests.unit.storetools.stores import CLEAN, INDEX_ENTRIES_AT, check

_LOG_BYTES = 51_048
_INDEX_COUNT = 174


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(CLEAN, tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def queues(golden: Path) -> list[Path]:
    return sorted(golden.glob("consumequeue/*/*/*"))


@contextmanager
def kept(path: Path) -> Iterator[bytes]:
    """The content of a file, which is as before afterwards."""
    data = path.read_bytes()
    try:
        yield data
    finally:
        path.write_bytes(data)


def use(root: Path) -> None:
    """Everything that reads."""
    with StoreDirectory.open(root) as store:
        store_info(store)
    with StoreDirectory.open(root) as store:
        for _ in dump(select(store, Selection(), on_damage=lambda damage: None)):
            pass
        with suppress(UnsupportedStore):
            rebuild_into(store, root.parent / "into", files=OsFiles(), on_damage=lambda damage: None)
    shutil.rmtree(root.parent / "into", ignore_errors=True)


@given(at=st.integers(0, _LOG_BYTES + 100), bit=st.integers(0, 7))
def test_a_bit_of_the_log(golden: Path, at: int, bit: int) -> None:
    log = golden / "commitlog" / ("0" * 20)
    with kept(log) as data:
        log.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        report, problems = check(golden)
        assert 87 <= report.records <= 88
        assert all(str(problem.path).startswith(str(golden)) for problem in problems)


@given(data=st.data())
def test_a_bit_of_a_queue(golden: Path, queues: list[Path], data: st.DataObject) -> None:
    queue = data.draw(st.sampled_from(queues))
    at, bit = data.draw(st.integers(0, 1999)), data.draw(st.integers(0, 7))
    with kept(queue) as whole:
        queue.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        problems = check(golden)[1]
    if "SCHEDULE" not in str(queue):  # its times could be those of other levels
        assert (queue, at // 20 * 20) in {(problem.path, problem.offset) for problem in problems}


@given(at=st.integers(0, INDEX_ENTRIES_AT + 20 * _INDEX_COUNT + 19), bit=st.integers(0, 7))
@example(at=872, bit=0)
@example(at=INDEX_ENTRIES_AT + 32, bit=0)
@example(at=INDEX_ENTRIES_AT + 35, bit=7)
def test_a_bit_of_the_index(golden: Path, at: int, bit: int) -> None:
    (index,) = (golden / "index").iterdir()
    with kept(index) as data:
        index.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        problems = check(golden)[1]
    unused = INDEX_ENTRIES_AT <= at < INDEX_ENTRIES_AT + 20
    assert bool(problems) is not unused
    assert {problem.path for problem in problems} <= {index}


@settings(max_examples=40)
@given(data=st.data())
def test_any_bits_and_cuts_stop_no_tool(golden: Path, data: st.DataObject) -> None:
    files = [path for path in golden.rglob("*") if path.is_file() and path.name not in ("timerwheel", "lock")]
    path = data.draw(st.sampled_from(sorted(path for path in files if path.stat().st_size)))
    with kept(path) as whole:
        end = min(len(whole), _LOG_BYTES)
        damaged = bytearray(whole[: data.draw(st.integers(0, end)) or None])
        for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=20)):
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(damaged)
        check(golden)
        use(golden)
