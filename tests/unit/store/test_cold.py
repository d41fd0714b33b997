"""Cold data is fetched elsewhere; hot data is never asked about twice."""

from pathlib import Path

import pytest

from rmq_server.store.errors import StoreError
from rmq_server.store.reader import ColdRead, GetStatus
from tests.unit.store.harness import Harness
from tests.unit.store.memory_files import MemoryFiles


def reopened(*bodies: bytes) -> Harness:
    """A store whose messages were written before it was opened."""
    first = Harness().open()
    for body in bodies:
        first.put_flushed(body)
    first.store.close()
    return Harness(first.files).open()


def chill(store: Harness, part: str) -> None:
    """Nothing of the files in that directory is in memory until it is read again."""
    assert isinstance(store.files, MemoryFiles)
    cold = {path for path in store.files.nodes if part in path.parts}
    store.files.is_cold = cold.__contains__

    def warm(operation: str, path: Path) -> None:
        if operation == "pread":
            cold.discard(path)

    store.files.fault = warm


def test_a_reader_that_may_not_wait_hears_what_to_fetch() -> None:
    store = reopened(b"a", b"b", b"c")
    chill(store, "commitlog")
    with pytest.raises(ColdRead) as raised:
        store.store.get("T", 0, 0, 32, may_block=False)
    raised.value.fetch()
    assert store.store.get("T", 0, 0, 32, may_block=False).count == 3


def test_queue_entries_are_fetched_before_the_records() -> None:
    store = reopened(b"a")
    chill(store, "consumequeue")
    with pytest.raises(ColdRead) as raised:
        store.store.get("T", 0, 0, 32, may_block=False)
    raised.value.fetch()
    assert store.store.get("T", 0, 0, 32, may_block=False).count == 1


def test_a_reader_that_may_wait_does() -> None:
    store = reopened(b"a")
    chill(store, "store")
    assert store.bodies() == [b"a"]


def test_what_was_just_written_is_in_memory() -> None:
    store = Harness().open()
    store.put_flushed(b"new")
    chill(store, "store")
    assert store.store.get("T", 0, 0, 32, may_block=False).count == 1


def test_messages_that_the_filter_passes_over_are_not_fetched() -> None:
    store = reopened(b"a", b"b")
    chill(store, "commitlog")
    result = store.store.get("T", 0, 0, 32, lambda tags_code: False, may_block=False)
    assert (result.status, result.next_offset) == (GetStatus.NO_MATCHED_MESSAGE, 2)


def test_a_fetch_that_fails_leaves_the_error_to_the_reader() -> None:
    store = reopened(b"a")
    chill(store, "commitlog")
    with pytest.raises(ColdRead) as raised:
        store.store.get("T", 0, 0, 32, may_block=False)
    assert isinstance(store.files, MemoryFiles)

    def fail(operation: str, path: Path) -> None:
        raise OSError(5, "input/output error")

    store.files.fault = fail
    raised.value.fetch()
    with pytest.raises(StoreError):
        store.store.get("T", 0, 0, 32)
