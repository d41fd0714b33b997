"""The store against a list in memory: any sequence of puts, flushes, reads, full disks, crashes and clean stops.

What was acknowledged durable is there, in order, once; nothing half-written is visible; nothing that a reader saw is
taken back; what a killed process had stored is there even without a flush; each message is found by its key, once.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.hashing import tags_code
from protocol.record import MAGIC_BLANK, RECORD_MAGICS, prefix, unpack
from rmq_server.store.checkpoint import load_mark
from rmq_server.store.config import FlushDiskType
from rmq_server.store.errors import NoSpace, StoreError
from rmq_server.store.flush import FlushResult
from rmq_server.store.layout import ENTRY
from rmq_server.store.reader import GetStatus
from tests.unit.store.harness import Harness, joined, record
from tests.unit.store.memory_files import SECTOR, Crashed, MemoryFiles

CHECKPOINT = Path("/store/checkpoint")
TAG_A = tags_code("TagA")
QUEUES = [("T", 0), ("T", 1), ("%RETRY%g", 0)]
SIZES = st.sampled_from([0, 1, 40, 300, 900, 2500])

Put = tuple[str, int, bytes]


def keyed(body: bytes) -> bytes:
    """Properties with a tag and two keys, by the number that each body begins with."""
    number = int(body[: body.index(b":")])
    return b"TAGS\1TagA\2KEYS\1a%d b%d\2" % (number, number)


def records_before(log: dict[int, bytes], position: int) -> Iterator[tuple[int, int]]:
    """Physical offset and size of each record in segments."""
    for start, data in sorted(log.items()):
        at = 0
        while start + at < position:
            size, magic = prefix(data, at)
            if magic == MAGIC_BLANK:
                break
            assert magic in RECORD_MAGICS
            yield start + at, size
            at += size


class StoreModel(RuleBasedStateMachine):
    @initialize(flush=st.sampled_from(FlushDiskType))
    def start(self, flush: FlushDiskType) -> None:
        self.flush = flush
        self.puts: list[Put] = []  # of every life, in log order
        self.written = 0  # puts that a killed process leaves behind
        self.acknowledged = 0  # puts that a power loss leaves behind
        self.seen = dict.fromkeys(QUEUES, 0)
        self.serial = 0
        self.life = Harness(MemoryFiles(), flush=flush).open()

    @rule(queue=st.sampled_from(QUEUES), size=SIZES, deferred=st.booleans())
    def put(self, queue: tuple[str, int], size: int, deferred: bool) -> None:
        body = self.body(size)
        try:
            put = self.life.put(body, topic=queue[0], queue_id=queue[1], properties=keyed(body), deferred=deferred)
        except NoSpace:
            return
        self.puts.append((*queue, body))
        self.stored(put.end_offset, deferred)

    @rule(queue=st.sampled_from(QUEUES), sizes=st.lists(SIZES, min_size=1, max_size=5), deferred=st.booleans())
    def put_batch(self, queue: tuple[str, int], sizes: list[int], deferred: bool) -> None:
        if sum(sizes) > 2500:
            return
        bodies = [self.body(size) for size in sizes]
        records = [record(body, topic=queue[0], queue_id=queue[1], properties=keyed(body)) for body in bodies]
        try:
            put = self.life.store.put_batch(records, [TAG_A] * len(records), deferred=deferred)
        except NoSpace:
            return
        self.puts.extend((*queue, body) for body in bodies)
        self.stored(put.end_offset, deferred)

    @rule()
    def end_turn(self) -> None:
        self.life.end_turn()

    @rule()
    def flush_thread(self) -> None:
        self.life.worker.step()

    @rule(seconds=st.sampled_from([0.1, 1.0, 70.0]))
    def tick(self, seconds: float) -> None:
        self.life.clock.advance(seconds)
        self.life.store.tick()

    @rule(room=st.integers(0, 3000))
    def fill_disk(self, room: int) -> None:
        used = sum(len(node.blocks) for node in self.disk.nodes.values()) * SECTOR
        self.disk.capacity = used + room

    @rule()
    def free_disk(self) -> None:
        self.disk.capacity = None

    @rule()
    def settle(self) -> None:
        """With space on the disk, everything becomes durable and readable."""
        self.disk.capacity = None
        self.life.store.tick()
        self.life.settle()
        self.life.clock.advance(1)
        self.life.store.tick()
        self.life.settle()
        assert self.life.store.flushed_offset == self.life.store.readable_offset == self.life.store.max_physical_offset
        for queue in QUEUES:
            assert self.life.store.max_offset(*queue) == len(self.of(queue))
        self.check_keys()

    @rule(seed=st.integers(0, 2**32))
    def power_loss(self, seed: int) -> None:
        self.restart(self.disk.after_power_loss(Random(seed)), at_least=self.acknowledged)

    @rule()
    def kill(self) -> None:
        self.restart(self.disk.after_kill(), at_least=self.written)

    @rule(seed=st.integers(0, 2**32), operation=st.integers(1, 12), power=st.booleans())
    def crash_inside(self, seed: int, operation: int, power: bool) -> None:
        """Stop at some file operation of a flush, a stop, or the next start."""
        self.disk.crash_after(operation)
        try:
            self.life.settle()
            self.life.store.close()
        except (Crashed, StoreError):
            pass  # StoreError: the disk is full, and abort stays
        disk = self.disk.after_power_loss(Random(seed)) if power else self.disk.after_kill()
        disk.capacity = None
        at_least = self.acknowledged if power else self.written
        disk.crash_after(operation)
        try:
            Harness(disk, flush=self.flush, clock=self.life.clock).open()
        except Crashed:
            disk = disk.after_power_loss(Random(seed + 1)) if power else disk.after_kill()
        else:
            disk = disk.after_kill()
        self.restart(disk, at_least=at_least)

    @rule()
    def stop(self) -> None:
        self.disk.capacity = None
        self.life.settle()
        self.life.store.close()
        self.restart(self.disk.after_power_loss(Random(1)), at_least=len(self.puts))
        assert not self.life.store.recovery.crashed  # type: ignore[union-attr]

    @precondition(lambda self: self.puts)
    @rule(offset=st.integers(0, 30), most=st.integers(1, 40))
    def read(self, offset: int, most: int) -> None:
        topic, queue_id, _ = self.puts[-1]
        found = self.life.store.get(topic, queue_id, offset, most)
        assert found.count <= min(32, most)
        filtered = self.life.store.get(topic, queue_id, offset, most, lambda code: code == TAG_A)
        assert joined(found) == joined(filtered)
        if found.status is GetStatus.FOUND:
            none = self.life.store.get(topic, queue_id, offset, most, lambda code: False)
            end_of_file = offset - offset % 10 + 10
            assert (none.status, none.next_offset) == (
                GetStatus.NO_MATCHED_MESSAGE,
                min(none.max_offset, end_of_file),
            )

    @invariant()
    def readers_see_a_prefix(self) -> None:
        if not hasattr(self, "life"):
            return
        for queue in QUEUES:
            bodies = self.life.bodies(*queue)
            assert bodies == self.of(queue)[: len(bodies)]
            assert len(bodies) == self.life.store.max_offset(*queue) >= self.seen[queue]
            self.seen[queue] = len(bodies)

    @invariant()
    def the_mark_is_true(self) -> None:
        """Records before it, and all their entries, would survive a power loss."""
        mark = load_mark(self.disk, CHECKPOINT) if hasattr(self, "life") else None
        if mark is None:
            return
        log, entries = {}, []
        for path, node in self.disk.nodes.items():
            if node.data is None or path.parts[2] not in ("commitlog", "consumequeue"):
                continue
            durable = node.durable if path in self.disk.durable_names else b""
            if path.parts[2] == "commitlog":
                log[int(path.name)] = durable
                end = mark.position - int(path.name)
                assert end <= 0 or durable[:end] == node.data[:end]
            else:
                written = [entry[:2] for entry in ENTRY.iter_unpack(node.data) if entry[1]]
                assert {entry for entry in written if entry[0] < mark.position} <= {
                    entry[:2] for entry in ENTRY.iter_unpack(durable)
                }
                entries += [entry for entry in written if entry[0] < mark.position]
        assert sorted(entries) == list(records_before(log, mark.position))

    @property
    def disk(self) -> MemoryFiles:
        assert isinstance(self.life.files, MemoryFiles)
        return self.life.files

    def body(self, size: int) -> bytes:
        self.serial += 1
        return f"{self.serial}:".encode() + Random(self.serial).randbytes(size)

    def of(self, queue: tuple[str, int]) -> list[bytes]:
        return [body for topic, queue_id, body in self.puts if (topic, queue_id) == queue]

    def stored(self, end: int, deferred: bool) -> None:
        count, life = len(self.puts), self.life
        if not deferred:
            self.written = count

        def flushed(result: FlushResult) -> None:
            if result is FlushResult.OK and life is self.life:
                self.acknowledged = max(self.acknowledged, count)
                self.written = max(self.written, count)

        if self.flush is FlushDiskType.SYNC_FLUSH:
            life.store.when_durable(end, flushed)

    def restart(self, disk: MemoryFiles, *, at_least: int) -> None:
        """Open what a crash left, and let the model take over how much of the unacknowledged is there."""
        disk.capacity = None
        clock = self.life.clock
        clock.advance(1)
        self.life = Harness(disk, flush=self.flush, clock=clock).open()
        counts = {queue: self.life.store.max_offset(*queue) for queue in QUEUES}
        kept = sum(counts.values())
        assert kept >= at_least, f"{kept} of {at_least} acknowledged messages are there"
        self.puts = self.puts[:kept]
        for queue in QUEUES:
            assert counts[queue] == len(self.of(queue)), "the log must be a prefix of what was put"
            entries = [self.life.store.get(*queue, offset, 1, lambda code: code == TAG_A) for offset in range(kept)]
            assert [entry.count for entry in entries] == [1] * counts[queue] + [0] * (kept - counts[queue])
            if self.flush is FlushDiskType.SYNC_FLUSH:
                assert counts[queue] >= self.seen[queue], "a reader saw what the crash took back"
            self.seen[queue] = counts[queue]
        self.written = self.acknowledged = kept
        self.check_keys()

    def check_keys(self) -> None:
        """Everything readable is found, at one place."""
        for topic, _, body in self.puts:
            number = int(body[: body.index(b":")])
            for key in (f"a{number}", f"b{number}"):
                views = self.life.store.query(topic, key)
                assert [unpack(view).body for view in views] == [body]


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=150, stateful_step_count=50)
