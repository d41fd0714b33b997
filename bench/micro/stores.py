"""The store without a broker: on the real file system, and on one that forgets, which leaves the store's own cost."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.micro.null_files import NullFiles
from bench.micro.records import record
from bench.micro.timing import Cost, cost
from rmq_server.core.clock import SystemClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.files import Files, OsFiles
from rmq_server.store.flush import FlushThread
from rmq_server.store.message_store import MessageStore

_TURN = 32
_PULL = 32
_READ_BACK = 3200
_TAGS_CODE = 2_598_919


class Turns:
    """Stands for the event loop: what was scheduled runs at the end of a turn."""

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def schedule(self, callback: Callable[..., None], *arguments: object) -> None:
        self._due.append(lambda: callback(*arguments))

    def end(self) -> None:
        due, self._due = self._due, []
        for callback in due:
            callback()


def costs(store_root: Path | None) -> Iterator[Cost]:
    """Turns of 32 puts of 1 KiB to one queue; gets of 32."""
    kinds: dict[str, Files] = {"null": NullFiles(), "real": OsFiles()}
    for name, files in kinds.items():
        with _store(files, store_root) as (store, turns):
            yield cost(f"put, a write each, {name} files", _puts(store, turns, deferred=False), units=_TURN)
            yield cost(f"put, a write per turn, {name} files", _puts(store, turns, deferred=True), units=_TURN)
            yield cost(f"put batch of 32, {name} files", _put_batches(store, turns), units=_TURN)
    with _store(OsFiles(), store_root) as (store, turns):
        put = _puts(store, turns, deferred=True)
        for _ in range(_READ_BACK // _TURN):
            put()
        topic, queue_id = "BenchTopic", 3
        yield cost("get of 32, without copying", lambda: store.get(topic, queue_id, 64, _PULL), units=_PULL)

        def joined() -> bytes:
            return b"".join(store.get(topic, queue_id, 64, _PULL).views)

        yield cost("get of 32, joined", joined, units=_PULL)


def _puts(store: MessageStore, turns: Turns, *, deferred: bool) -> Callable[[], None]:
    made = record()

    def turn() -> None:
        for _ in range(_TURN):
            store.put(made, _TAGS_CODE, deferred=deferred)
        turns.end()

    return turn


def _put_batches(store: MessageStore, turns: Turns) -> Callable[[], None]:
    made, tags_codes = [record() for _ in range(_TURN)], [_TAGS_CODE] * _TURN

    def turn() -> None:
        store.put_batch(made, tags_codes)
        turns.end()

    return turn


@contextmanager
def _store(files: Files, store_root: Path | None) -> Iterator[tuple[MessageStore, Turns]]:
    directory = tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root)
    turns = Turns()
    try:
        store = MessageStore(
            StoreConfig(root=directory, flush_disk_type=FlushDiskType.ASYNC_FLUSH),
            clock=SystemClock(),
            files=files,
            schedule=turns.schedule,
            worker=FlushThread(lambda callback, *arguments: turns.schedule(callback, *arguments)),
            on_arrival=lambda arrivals: None,
        )
        store.open()
        try:
            yield store, turns
        finally:
            turns.end()
            store.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
