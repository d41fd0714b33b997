"""A store on a disk in memory, whose loop and flush thread move only when a test says so."""

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from protocol.address import pack_host
from protocol.hashing import tags_code
from protocol.record import Record, unpack_all
from rmq_server.core.clock import ManualClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.store.files import Files
from rmq_server.store.flush import Done, FlushResult, Work
from rmq_server.store.message_store import Arrival, MessageStore, PutResult
from rmq_server.store.reader import GetResult, GetStatus
from tests.unit.store.memory_files import MemoryFiles

BORN_HOST = pack_host("10.1.2.3", 45678)
STORE_HOST = pack_host("127.0.0.1", 10911)
SEGMENT = 4096


class ManualWorker:
    """Runs submitted work when told."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Work, Done]] = deque()

    def submit(self, work: Work, done: Done, *, urgent: bool = False) -> None:
        (self.jobs.appendleft if urgent else self.jobs.append)((work, done))

    def step(self) -> bool:
        """Run one job; says whether there was one."""
        if not self.jobs:
            return False
        work, done = self.jobs.popleft()
        error = None
        try:
            work()
        except Exception as failure:
            error = failure
        done(error)
        return True

    def close(self) -> None:
        while self.step():
            pass


class Harness:
    """One life of a store; `files` outlives it."""

    def __init__(
        self,
        files: Files | None = None,
        *,
        flush: FlushDiskType = FlushDiskType.SYNC_FLUSH,
        clock: ManualClock | None = None,
        **config: object,
    ) -> None:
        self.files = files or MemoryFiles()
        self.clock = clock or ManualClock()
        if isinstance(self.files, MemoryFiles):
            self.files.now_ms = self.clock.now_ms
        self.hour = 12  # of the day
        self.turn: deque[Callable[[], None]] = deque()
        self.worker = ManualWorker()
        self.arrivals: list[Arrival] = []
        settings = {
            "root": "/store",
            "commitlog_file_bytes": SEGMENT,
            "consumequeue_file_bytes": 200,
            "reserve_bytes": 1024,
            "index_slots": 5,
            "index_entries": 20,
            "flush_disk_type": flush,
        }
        self.store = MessageStore(
            StoreConfig(**settings | config),  # type: ignore[arg-type]
            clock=self.clock,
            files=self.files,
            schedule=self.turn.append,
            worker=self.worker,
            on_arrival=self.arrivals.extend,
            hour_of=lambda at_ms: self.hour,
        )

    def open(self) -> "Harness":
        self.store.open()
        return self

    def end_turn(self) -> None:
        """Let the loop come round."""
        while self.turn:
            self.turn.popleft()()

    def settle(self) -> None:
        """Let the loop and the flush thread finish everything."""
        self.end_turn()
        while self.worker.step():
            self.end_turn()

    def put(self, body: bytes = b"hello", **fields: object) -> PutResult:
        """Put one message; see `record`."""
        deferred = bool(fields.pop("deferred", False))
        made = record(body, **fields)
        return self.store.put(made, tags_code("TagA"), deferred=deferred)

    def put_flushed(self, body: bytes = b"hello", **fields: object) -> list[FlushResult]:
        """Put one message and wait for it; the list has the answer."""
        answers: list[FlushResult] = []
        self.store.when_durable(self.put(body, **fields).end_offset, answers.append)
        self.settle()
        return answers

    def bodies(self, topic: str = "T", queue_id: int = 0) -> list[bytes]:
        """Every readable body of a queue."""
        found, offset = [], self.store.min_offset(topic, queue_id)
        while True:
            result = self.store.get(topic, queue_id, offset, 32)
            if result.status is not GetStatus.FOUND:
                return found
            for made in unpack_all(b"".join(result.views), verify_body=True):
                assert (made.topic, made.queue_id, made.queue_offset) == (topic, queue_id, offset)
                found.append(made.body)
                offset += 1
            assert result.next_offset == offset


def record(body: bytes = b"hello", **fields: object) -> Record:
    """A record of topic T, queue 0, tag TagA; fields override."""
    values = {
        "topic": "T",
        "queue_id": 0,
        "properties": b"TAGS\x01TagA\x02",
        "born_host": BORN_HOST,
        "store_host": STORE_HOST,
        "born_timestamp_ms": 1_700_000_000_000,
    }
    return Record(body=body, **values | fields)  # type: ignore[arg-type]


def joined(result: GetResult) -> GetResult:
    """A result whose records are in one piece, however the reader cut them."""
    return replace(result, views=[memoryview(b"".join(result.views))])
