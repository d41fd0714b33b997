"""IndexFiles: what is put is found, in files as Java writes them, whatever crashes, fills up or fails in between."""

import errno
import time
from itertools import pairwise
from pathlib import Path
from random import Random
from struct import Struct

import pytest

from protocol.flags import MessageSysFlag
from protocol.hashing import index_key_hash
from protocol.record import unpack
from rmq_server.core.clock import ManualClock
from rmq_server.store.config import FlushDiskType
from rmq_server.store.dispatch import keys_of
from rmq_server.store.errors import NoSpace, StoreError, UnsupportedStore
from rmq_server.store.index import PAGE_SLOTS, IndexFile, IndexSettings, NewEntry
from rmq_server.store.layout import file_name
from tests.unit.store.harness import SEGMENT, Harness
from tests.unit.store.memory_files import SECTOR, Crashed, MemoryFiles

INDEX = Path("/store/index")
ABORT = Path("/store/abort")
SLOTS, ENTRIES = 5, 20  # of the harness
HEADER = Struct(">qqqqii")
ENTRY = Struct(">iqii")
ENTRIES_AT = 40 + 4 * SLOTS


class Standing(ManualClock):
    """Waits pass, and all is stored in the same millisecond."""

    def now_ms(self) -> int:
        return 1_700_000_000_000


def memory(life: Harness) -> MemoryFiles:
    assert isinstance(life.files, MemoryFiles)
    return life.files


def put(life: Harness, number: int, *, keys: str = "", **fields: object) -> int:
    """Put a message with its number as unique key; says where it is."""
    text = f"UNIQ_KEY\1u{number}\2" + (f"KEYS\1{keys}\2" if keys else "")
    return life.put(b"%d" % number, properties=text.encode(), **fields).physical_offset


def filled(messages: int, **config: object) -> Harness:
    """A store with one to three keys a message: u<n>, all, and even."""
    life = Harness(flush=FlushDiskType.ASYNC_FLUSH, **config).open()  # type: ignore[arg-type]
    for number in range(messages):
        put(life, number, keys="all" if number % 2 else "all even")
    life.settle()
    return life


def found(life: Harness, key: str, **query: object) -> list[int]:
    """Numbers of the messages that a query answers with."""
    return [int(unpack(view).body) for view in life.store.query("T", key, **{"max_count": 1000, **query})]  # type: ignore[arg-type]


def check(life: Harness, messages: int) -> None:
    """Every key finds exactly its messages."""
    for number in range(messages):
        assert found(life, f"u{number}") == [number]
    assert found(life, "all") == list(range(messages))
    assert found(life, "even") == list(range(0, messages, 2))


def sync(life: Harness) -> None:
    """Let a minute pass, so that what is there becomes durable."""
    for _ in range(20):
        life.clock.advance(61)
        life.store.tick()
        life.settle()


def index_files(files: MemoryFiles) -> list[bytes]:
    return [bytes(files.nodes[INDEX / entry.name].data or b"") for entry in files.list(INDEX)]


def next_life(files: MemoryFiles, life: Harness) -> Harness:
    files.capacity = None
    return Harness(files, flush=FlushDiskType.ASYNC_FLUSH, clock=life.clock).open()


@pytest.mark.parametrize(
    ("properties", "keys"),
    [
        (b"", []),
        (b"UNIQ_KEY\1u", ["u"]),
        (b"KEYS\1a b\2UNIQ_KEY\1u\2", ["u", "a", "b"]),
        (b"KEYS\1 a  b \2", ["a", "b"]),
        (b"KEYS\1a a\2", ["a", "a"]),
        (b"UNIQ_KEY\1first\2KEYS\1x\2UNIQ_KEY\1last\2", ["last", "x"]),
        (b"UNIQ_KEY\1first\2UNIQ_KEY\1\2", ["first"]),
        (b"MY_UNIQ_KEY\1x\2MYKEYS\1y\2", []),
        ("KEYS\1标签😀\2".encode(), ["标签😀"]),
    ],
)
def test_keys_of_a_message(properties: bytes, keys: list[str]) -> None:
    assert keys_of(properties) == keys


def test_a_file_is_laid_out_as_java_does() -> None:
    clock = ManualClock(1_700_000_000_123)
    life = Harness(clock=clock).open()
    first = put(life, 1, keys="a")
    clock.advance(5.7)
    second = put(life, 2)
    life.settle()
    life.store.close()
    (data,) = index_files(memory(life))
    assert len(data) == 40 + 4 * SLOTS + 20 * ENTRIES
    chains = dict.fromkeys(range(SLOTS), 0)
    for number, (key, offset, seconds) in enumerate([("u1", first, 0), ("a", first, 0), ("u2", second, 5)], 1):
        key_hash = index_key_hash(f"T#{key}")
        expected = key_hash, offset, seconds, chains[key_hash % SLOTS]
        assert ENTRY.unpack_from(data, ENTRIES_AT + 20 * number) == expected
        chains[key_hash % SLOTS] = number
    used = sum(newest > 0 for newest in chains.values())
    assert HEADER.unpack_from(data) == (1_700_000_000_123, 1_700_000_005_823, first, second, used, 4)
    assert list(Struct(f">{SLOTS}i").unpack_from(data, 40)) == list(chains.values())


def test_files_are_named_by_local_time_and_ascend() -> None:
    life = filled(40)
    life.store.tick()
    life.settle()
    names = [entry.name for entry in memory(life).list(INDEX)]
    assert len(names) == 6  # 100 keys, 19 a file
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(1_700_000_000))
    assert names == [f"{int(stamp + '000') + number:017d}" for number in range(6)]
    headers = [HEADER.unpack_from(data) for data in index_files(memory(life))]
    assert [header[5] for header in headers[:-1]] == [0] * 5  # nothing is synced
    life.store.close()
    headers = [HEADER.unpack_from(data) for data in index_files(memory(life))]
    assert [header[5] for header in headers] == [20] * 5 + [6]
    assert all(before[3] <= after[2] for before, after in pairwise(headers))


def test_the_newest_are_found_and_times_bound_the_search() -> None:
    life = Harness().open()
    start = life.clock.now_ms()
    for number in range(50):
        put(life, number, keys="k")
        life.clock.advance(0.4)
    life.settle()
    assert found(life, "k", max_count=3) == [47, 48, 49]
    assert found(life, "k", begin_ms=start + 4000, end_ms=start + 8000) == list(range(10, 21))
    assert found(life, "k", begin_ms=start + 4001, end_ms=start + 7999) == list(range(11, 20))
    assert found(life, "k", end_ms=start - 1) == found(life, "k", begin_ms=start + 100_000) == []
    assert found(life, "u7", unique=True) == [7]
    assert found(life, "k", unique=True) == []
    assert life.store.query("Other", "k") == []
    assert life.store.index_end == (start + 49 * 400, unpack(life.store.query("T", "u49")[0]).physical_offset)


def test_a_long_search_pauses() -> None:
    life = filled(400, index_entries=10_000)
    assert list(life.store.find("T", "nothing", 0, 2**62)).count(None) >= 2
    assert len([view for view in life.store.find("T", "all", 0, 2**62) if view is not None]) == 400


def test_rolled_back_messages_are_not_indexed_prepared_ones_are() -> None:
    life = Harness().open()
    put(life, 1, sys_flag=MessageSysFlag.TRANSACTION_PREPARED)
    put(life, 2, sys_flag=MessageSysFlag.TRANSACTION_ROLLBACK)
    put(life, 3, sys_flag=MessageSysFlag.TRANSACTION_COMMIT)
    life.settle()
    assert [found(life, f"u{number}") for number in (1, 2, 3)] == [[1], [], [3]]


def test_what_is_not_flushed_yet_is_not_found_with_sync_flush() -> None:
    life = Harness(flush=FlushDiskType.SYNC_FLUSH).open()
    put(life, 1)
    life.end_turn()
    assert found(life, "u1") == []
    life.settle()
    assert found(life, "u1") == [1]


def test_it_can_be_switched_off_and_catches_up_when_on_again() -> None:
    life = Harness(message_index=False).open()
    put(life, 0, keys="all even")
    life.settle()
    life.store.tick()
    assert found(life, "u0") == []
    life.store.close()
    assert memory(life).list(INDEX) == []
    life = next_life(memory(life).after_kill(), life)
    check(life, 1)


def test_ticks_fill_the_index_without_a_query() -> None:
    life = filled(30)
    life.store.tick()
    life.settle()
    assert life.store.index_end[1] == life.store.max_physical_offset - len(life.store.query("T", "u29")[0])


@pytest.mark.parametrize("messages", [1, 12, 30])
def test_a_clean_stop_and_start_goes_on_where_it_was(messages: int) -> None:
    life = filled(messages)
    life.store.close()
    before = index_files(memory(life))
    files = memory(life).after_power_loss(Random(1))
    life = next_life(files, life)
    check(life, messages)
    life.store.close()
    assert index_files(files) == before
    life = next_life(files.after_kill(), life)
    for number in range(messages, messages + 10):
        put(life, number, keys="all" if number % 2 else "all even")
    life.settle()
    check(life, messages + 10)


def test_a_crash_keeps_what_was_synced_and_rebuilds_the_rest() -> None:
    life = filled(30)
    sync(life)
    synced = index_files(memory(life))
    for number in range(30, 33):
        put(life, number, keys="all" if number % 2 else "all even")
    life.settle()
    check(life, 33)
    life = next_life(memory(life).after_kill(), life)
    kept = index_files(memory(life))
    assert [HEADER.unpack_from(data) for data in kept] == [HEADER.unpack_from(data) for data in synced]
    assert life.store.index_end[1] > 0, "nothing was kept"
    check(life, 33)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("clock", [ManualClock, Standing])
def test_a_crash_at_any_operation_of_a_sync_loses_no_key(clock: type[ManualClock], power: bool, seed: int) -> None:
    for operation in range(1, 60):
        life = filled(8, clock=clock())
        sync(life)
        for number in range(8, 12):
            put(life, number, keys="all" if number % 2 else "all even")
        life.settle()
        life.store.tick()
        life.settle()
        left = operation

        def fault(kind: str, path: Path) -> None:
            nonlocal left
            left -= path.is_relative_to(INDEX) and kind != "pread"
            if left <= 0:
                raise Crashed

        memory(life).fault = fault
        try:
            sync(life)
        except Crashed:
            pass
        else:
            return
        files = memory(life).after_power_loss(Random(seed)) if power else memory(life).after_kill()
        life = next_life(files, life)
        kept = life.store.max_offset("T", 0)
        assert kept >= 8
        check(life, kept)
    raise AssertionError("a sync has not so many operations")


def test_a_file_does_not_become_durable_before_the_log_it_points_into() -> None:
    life = filled(1)
    sync(life)
    put(life, 1, keys="all")
    life.end_turn()
    assert found(life, "u1") == [1]
    life.clock.advance(61)
    held = list(life.worker.jobs)
    life.store._index.tick(life.clock.monotonic(), life.store.flushed_offset, 0, life.worker)
    assert list(life.worker.jobs) == held
    sync(life)
    (data,) = index_files(memory(life))
    assert HEADER.unpack_from(data)[5] == 6
    files = memory(life).after_power_loss(Random(1))
    put(life, 2)
    life = next_life(files, life)
    assert life.store.index_end[1] > 0, "the file was not kept"
    check(life, 2)


def test_a_record_whose_keys_are_in_two_files_is_whole_when_the_second_is_lost() -> None:
    life = filled(0)
    for number in range(7):
        put(life, number, keys="a b")
    life.settle()
    assert found(life, "b") == list(range(7))  # 21 keys: the last two are in the second file
    life.store.close()
    files = memory(life).after_kill()
    first, second = (INDEX / entry.name for entry in files.list(INDEX))
    files.remove(second)
    life = next_life(files, life)
    assert [found(life, key) for key in ("u6", "a", "b")] == [[6], list(range(7)), list(range(7))]
    life.store.close()
    assert [HEADER.unpack_from(data)[5] for data in index_files(files)] == [20, 3]
    assert files.exists(first)


def test_a_file_that_is_ahead_of_the_log_is_rebuilt() -> None:
    life = filled(6)
    life.store.close()
    files = memory(life).after_kill()
    log = files.nodes[Path("/store/commitlog") / file_name(0)].data
    assert log is not None
    end = log.rindex(b"UNIQ_KEY\x01u5") - 40
    log[end:] = bytes(len(log) - end)
    files.open(ABORT, create=True)
    life = next_life(files, life)
    check(life, 5)
    put(life, 5, keys="all")
    life.settle()
    check(life, 6)


@pytest.mark.parametrize("damage", [b"\xff" * 40, b"\x7f" * 40, bytes(40)])
def test_a_damaged_header_makes_a_file_be_rebuilt(damage: bytes) -> None:
    life = filled(30)
    life.store.close()
    before = index_files(memory(life))
    files = memory(life).after_kill()
    node = files.nodes[INDEX / files.list(INDEX)[1].name]
    assert node.data is not None
    node.data[:40] = damage
    life = next_life(files, life)
    check(life, 30)
    life.store.close()
    assert [HEADER.unpack_from(data)[5] for data in index_files(files)] == [
        HEADER.unpack_from(data)[5] for data in before
    ]


def test_damaged_chains_end_and_never_show_a_wrong_message() -> None:
    life = filled(15)
    life.store.close()
    for seed in range(30):
        files = memory(life).after_kill()
        random = Random(seed)
        for entry in files.list(INDEX):
            data = files.nodes[INDEX / entry.name].data
            assert data is not None
            for _ in range(30):
                data[random.randrange(40, len(data))] = random.randrange(256)
        damaged = next_life(files, life)
        for number in range(15):
            assert found(damaged, f"u{number}") in ([], [number])
        assert set(found(damaged, "all")) <= set(range(15))


def test_files_of_another_size_are_refused_with_the_keys_to_set() -> None:
    life = filled(3)
    life.store.close()
    with pytest.raises(UnsupportedStore, match=r"460 bytes but maxHashSlotNum and maxIndexNum ask for 464"):
        Harness(memory(life).after_kill(), index_slots=6).open()


def test_an_empty_file_is_deleted_and_alien_names_are_left() -> None:
    life = filled(3)
    life.store.close()
    files = memory(life).after_kill()
    files.open(INDEX / "99990101000000000", create=True)
    files.open(INDEX / "notes.txt", create=True)
    life = next_life(files, life)
    check(life, 3)
    assert not files.exists(INDEX / "99990101000000000")
    assert files.exists(INDEX / "notes.txt")


def test_a_full_disk_delays_the_index_and_costs_no_key() -> None:
    life = filled(4)
    life.store.tick()
    life.settle()
    files = memory(life)
    number = 4
    files.capacity = sum(len(node.blocks) for node in files.nodes.values()) * SECTOR + 200
    while number < 200:
        try:
            put(life, number, keys="all" if number % 2 else "all even")
        except NoSpace:
            break
        number += 1
        life.store.tick()
        life.settle()
    assert number > 4
    sync(life)
    files.capacity = None
    life.store.tick()
    life.settle()
    check(life, number)
    sync(life)
    check(life, number)
    life = next_life(files.after_power_loss(Random(3)), life)
    check(life, number)


@pytest.mark.parametrize("operation", ["pwrite", "sync"])
def test_a_failing_disk_stops_the_index_but_not_the_store(operation: str) -> None:
    life = filled(4)
    sync(life)

    def fault(kind: str, path: Path) -> None:
        if kind == operation and path.is_relative_to(INDEX):
            raise OSError(errno.EIO, "input/output error")

    memory(life).fault = fault
    for number in range(4, 6):
        put(life, number, keys="all" if number % 2 else "all even")
    sync(life)
    sync(life)
    assert life.store.failure is None
    assert len(life.bodies()) == 6
    life.store.close()
    assert not memory(life).exists(ABORT)
    life = next_life(memory(life).after_kill(), life)
    check(life, 6)


def test_a_damaged_record_is_passed_over() -> None:
    life = filled(4)
    files = memory(life)
    log = files.nodes[Path("/store/commitlog") / file_name(0)].data
    assert log is not None
    at = log.index(b"UNIQ_KEY\x01u2")
    log[at - 5] ^= 1  # its body
    assert found(life, "all") == [0, 1, 3]


def test_files_without_records_are_deleted() -> None:
    life = filled(120)
    sync(life)
    sync(life)
    assert len(memory(life).list(INDEX)) > 12
    log = life.store._log.segments
    while log.run[0].end < SEGMENT * 3:
        log.run.pop(0).remove()
    sync(life)
    headers = [HEADER.unpack_from(data) for data in index_files(memory(life))]
    assert headers[0][3] >= log.start
    remaining = found(life, "all")
    assert remaining == list(range(remaining[0], 120))
    assert len(headers) < 16


def test_a_sync_that_fails_when_stopping_keeps_abort() -> None:
    life = filled(4)
    memory(life).fault = lambda kind, path: _full(kind, path)
    with pytest.raises(StoreError):
        life.store.close()
    assert memory(life).exists(ABORT)
    check(next_life(memory(life).after_kill(), life), 4)


def _full(kind: str, path: Path) -> None:
    if kind == "pwrite" and path.is_relative_to(INDEX):
        raise OSError(errno.ENOSPC, "no space left on device")


def test_files_whose_names_are_out_of_order_are_read_in_the_order_of_the_log() -> None:
    life = filled(30)
    life.store.close()
    files = memory(life).after_kill()
    names = [INDEX / entry.name for entry in files.list(INDEX)]
    files.rename(names[0], INDEX / "20991114221320000")  # before the clocks went back
    life = next_life(files, life)
    check(life, 30)
    for number in range(30, 60):
        put(life, number, keys="all" if number % 2 else "all even")
    life.settle()
    check(life, 60)


def test_a_sync_writes_the_slots_as_they_were_when_it_was_ordered() -> None:
    settings = IndexSettings(slots=4 * PAGE_SLOTS, entries=1000)

    def entries(numbers: range) -> list[NewEntry]:
        # Some pages are written to before and after the order, some only before, some only after.
        return [
            NewEntry(number * 997 % (3 * PAGE_SLOTS) + number // 50 * PAGE_SLOTS, number, 1000) for number in numbers
        ]

    def slots_on_disk(disk: MemoryFiles, path: Path) -> bytes:
        return bytes(disk.nodes[path].data or b"")[HEADER.size : HEADER.size + 4 * settings.slots]

    def written(name: str, later: range) -> tuple[IndexFile, bytes]:
        path = INDEX / name
        file = IndexFile(disk, path, settings)
        file.create(None)
        file.put(entries(range(1, 50)))
        file.write()
        job = file.sync_job()
        file.put(entries(later))
        job()
        return file, slots_on_disk(disk, path)

    disk = MemoryFiles()
    disk.make_dirs(INDEX)
    _, untouched = written("1", range(0))
    file, disturbed = written("2", range(50, 100))
    assert any(untouched)
    assert disturbed == untouched
    file.write()
    file.sync_job()()
    assert slots_on_disk(disk, file.path) != untouched
    assert file.slots is not None
    assert slots_on_disk(disk, file.path) == Struct(f">{settings.slots}i").pack(*file.slots.values)
