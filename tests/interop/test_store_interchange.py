"""A user stops one broker and starts the other on the same directory: nothing is missing, nothing is twice.

The letters are those of the acceptance test of the store format: A Java writes first, B we write first, C rebuilt
queues, D kill -9, E what a crash leaves behind the end, G retention, H configuration files.
"""

import json
import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

import rmq_client
from protocol.message import decode_properties
from protocol.record import Record, pack, unpack
from tests.interop.one_store import (
    MOST_BY_KEY,
    OURS,
    Contents,
    Nameserver,
    OneStore,
    Queue,
    continues,
    entries,
    files,
    loosely,
    spoil,
)
from tests.interop.ours import our_namesrv
from tests.interop.peers import LAST_4X, REFERENCE, Cluster, Program, until
from tests.support.ledger import Load, check_ledger

TOPICS = {"Orders": 3, "Refunds": 1}
GROUP = "readers"
NOT_IN_4X = ("attributes", "consumeMessageOrderly", "consumeTimeoutMinute", "groupRetryPolicy", "groupSysFlag")
"""Members that 4.9.7 does not know, and so drops when it writes the files again."""
Message = rmq_client.Message

pytestmark = pytest.mark.usefixtures("needs_java")
both_versions = pytest.mark.parametrize("apache_version", [REFERENCE, LAST_4X])


@pytest.fixture(scope="module")
def namesrv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nameserver]:
    with our_namesrv(tmp_path_factory.mktemp("namesrv")) as running:
        yield running


@pytest.fixture
def namesrvs(tmp_path: Path) -> Iterator[Callable[[str], Nameserver]]:
    """Starts further nameservers, for stores that are served at the same time."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(our_namesrv(tmp_path / f"namesrv-{name}"))


@pytest.fixture
def store(tmp_path: Path, namesrv: Nameserver) -> OneStore:
    return OneStore(tmp_path / "broker", namesrv)


async def write(store: OneStore, count: int, label: str) -> None:
    """Messages of every shape, to every queue of both topics."""
    async with rmq_client.Producer("writers", namesrv=store.namesrv) as producer:
        for topic in TOPICS:
            queues = await producer.queues(topic)
            assert len(queues) == TOPICS[topic]
            for number in range(count):
                queue = queues[number % len(queues)]
                if number % 10 == 9:
                    batch = [Message(topic, b"%d" % part, tag="Batch", keys=(f"{label}-b{part}",)) for part in range(3)]
                    await producer.send_batch(batch, queue=queue)
                    continue
                message = Message(
                    topic,
                    f"{label} {number}".encode() + bytes(number * 37 % 1500) if number % 7 else b".",
                    tag=(None, "TagA", "标签😀")[number % 3],
                    keys=(f"{label}-{number}", "of-all")[: number % 4],
                    properties={"colour": "绿色"} if number % 5 == 0 else {},
                    flag=number - 50,
                )
                await producer.send(message, queue=queue)


def commit(store: OneStore, contents: Contents) -> None:
    """Where the group goes on: somewhere in the middle of each queue."""
    for queue, (_, high) in contents.bounds.items():
        store.commit(queue, GROUP, high * 2 // 3)


def has_rolled_over(store: OneStore) -> bool:
    """Whether there are several segments of the CommitLog and of a queue."""
    segments, queue_files = store.root / "commitlog", store.root / "consumequeue/Refunds/0"
    return len(list(segments.iterdir())) > 2 and len(list(queue_files.iterdir())) > 1


def seen(store: OneStore) -> Contents:
    return store.contents(TOPICS, GROUP)


def searched(store: OneStore, contents: Contents) -> list[int]:
    """What is found by time: at, before and after some messages of each queue."""
    return [
        store.search(queue, unpack(record).store_timestamp_ms + shift)
        for queue, records in contents.records.items()
        for record in records[::7]
        for shift in (-1, 0, 1)
    ]


def check_lookups(store: OneStore, contents: Contents) -> None:
    """By id and by key are found the messages that pulls find."""
    indexed: defaultdict[tuple[str, str], set[bytes]] = defaultdict(set)
    for (topic, _), records in contents.records.items():
        for record in records:
            properties = decode_properties(unpack(record).properties.decode())
            for key in [properties["UNIQ_KEY"], *properties.get("KEYS", "").split()]:
                indexed[topic, key].add(record)
        for record in records[::7]:
            assert store.by_id(unpack(record).physical_offset) == record
    for (topic, key), expected in list(indexed.items())[::3]:
        found = store.by_key(topic, key)
        assert len(found) == min(len(expected), MOST_BY_KEY), key
        assert set(found) <= expected, key


async def fill(store: OneStore, cluster: Cluster, label: str) -> Contents:
    """Topics, messages and committed offsets in an empty store."""
    for topic, queues in TOPICS.items():
        cluster.create_topic(topic, queues=queues)
    await write(store, 100, label)
    commit(store, seen(store))
    return seen(store)


@pytest.mark.parametrize("apache_version", [pytest.param(REFERENCE, marks=pytest.mark.sample), LAST_4X])
async def test_apache_goes_on_with_our_store(store: OneStore, apache_version: str) -> None:
    """B: what we wrote is served byte for byte; what Apache's appends comes behind it, and we serve that too."""
    with store.served_by(OURS) as cluster:
        ours = await fill(store, cluster, "ours")
        times = searched(store, ours)
    assert has_rolled_over(store)
    with store.served_by(apache_version):
        assert seen(store) == ours
        check_lookups(store, ours)
        if apache_version == REFERENCE:  # 4.x answers the nearest message, also an earlier one
            assert searched(store, ours) == times
        await write(store, 100, "apache")
        theirs = seen(store)
        assert continues(ours, theirs)
        commit(store, theirs)
        theirs = seen(store)
    with store.served_by(OURS):
        assert seen(store) == theirs
        check_lookups(store, theirs)
        await write(store, 20, "ours-again")
        assert continues(theirs, seen(store))


@both_versions
async def test_we_go_on_with_apaches_store(store: OneStore, apache_version: str) -> None:
    """A: Apache's writes first, and goes on after us."""
    with store.served_by(apache_version) as cluster:
        theirs = await fill(store, cluster, "apache")
    assert has_rolled_over(store)
    for record in theirs.unpacked():
        assert pack(record) in theirs.records[record.topic, record.queue_id]
    with store.served_by(OURS):
        assert seen(store) == theirs
        check_lookups(store, theirs)
        await write(store, 100, "ours")
        ours = seen(store)
        assert continues(theirs, ours)
        commit(store, ours)
        ours = seen(store)
    with store.served_by(apache_version):
        assert seen(store) == ours
        check_lookups(store, ours)
        await write(store, 20, "apache-again")
        assert continues(ours, seen(store))


@both_versions
async def test_both_rebuild_the_same_queues(store: OneStore, apache_version: str) -> None:
    """C: without consumequeue/ both make the same entries from the log."""
    with store.served_by(OURS) as cluster:
        contents = await fill(store, cluster, "ours")
    written = entries(store.root)
    for who in (OURS, apache_version):
        remove_derived(store)
        with store.served_by(who):
            assert seen(store) == contents
            check_lookups(store, contents)
        assert {path: rebuilt for path, rebuilt in entries(store.root).items() if path in written} == written


@both_versions
async def test_delayed_messages_keep_their_time(store: OneStore, apache_version: str) -> None:
    """C: their entries hold when they are due, which we must work out as Apache's broker did."""
    with store.served_by(apache_version) as cluster:
        cluster.create_topic("Refunds", queues=1)
        async with rmq_client.Producer("writers", namesrv=store.namesrv) as producer:
            for level in range(10, 20):
                message = Message("Refunds", b"later", tag="TagD")
                message.properties["DELAY"] = str(level)
                await producer.send(message)
    written = {path: data for path, data in entries(store.root).items() if path.startswith("SCHEDULE")}
    assert len(written) == 18 - 9
    remove_derived(store)
    with store.served_by(OURS):
        pass
    assert {path: data for path, data in entries(store.root).items() if path.startswith("SCHEDULE")} == written


def remove_derived(store: OneStore) -> None:
    shutil.rmtree(store.root / "consumequeue")
    shutil.rmtree(store.root / "index", ignore_errors=True)


@both_versions
@pytest.mark.parametrize("flush", ["ASYNC_FLUSH", "SYNC_FLUSH"])
async def test_kill_9_on_either_side(tmp_path: Path, namesrv: Nameserver, apache_version: str, flush: str) -> None:
    """D: each takes over what the other left when it was killed under load."""
    store = OneStore(tmp_path / "broker", namesrv, flushDiskType=flush)
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    moments = random.Random(seed)
    load = Load(store.namesrv, "Orders")
    for who in [OURS, apache_version] * 4:
        with store.served_by(who) as cluster:
            if not load.acknowledged:
                cluster.create_topic("Orders", queues=4)
            await check_ledger(store.namesrv, "Orders", load.acknowledged)

            async def kill(program: Program = cluster.broker_process) -> None:
                program.stop(grace=0)

            await load.run(kill, at_least=50, seconds=moments.uniform(0, 0.5))
            print(f"{who}: {len(load.acknowledged)} acknowledged")
        assert (store.root / "abort").exists()
    with store.served_by(OURS):
        await check_ledger(store.namesrv, "Orders", load.acknowledged)


@both_versions
async def test_both_stop_at_the_same_end(store: OneStore, apache_version: str) -> None:
    """E: behind what a crash left after the last whole record, both append at the same place."""
    with store.served_by(OURS) as cluster:
        contents = await fill(store, cluster, "ours")
    last = max(contents.unpacked(), key=lambda record: record.physical_offset)
    end = last.physical_offset + len(pack(last))
    following = next_record(last, end)
    damages = {
        "garbage": random.Random(1).randbytes(300),
        "half a record": following[: len(following) // 2],
        "a zeroed tail": following[: len(following) // 2] + bytes(2000),
        "a head alone": following[:8],
    }
    for name, damage in damages.items():
        for who in (OURS, apache_version):
            twin = store.copy(f"{name} for {who}")
            spoil(twin.root, end, damage)
            with twin.served_by(who) as cluster:
                assert seen(twin) == contents, name
                async with rmq_client.Producer("writers", namesrv=twin.namesrv) as producer:
                    (queue,) = await producer.queues("Refunds")
                    sent = await producer.send(Message("Refunds", b"behind it"), queue=queue)
                assert sent.offset == contents.bounds["Refunds", 0][1]
                assert int(sent.offset_msg_id[-16:], 16) == end, f"{who} went on elsewhere behind {name}"
                cluster.broker_process.stop(grace=0)


def next_record(like: Record, end: int) -> bytes:
    """A whole record that would stand at `end`."""
    return pack(msgspec.structs.replace(like, physical_offset=end, body=bytes(range(256)) * 2))


async def test_all_delete_the_same(tmp_path: Path, namesrv: Nameserver, namesrvs: Callable[[str], Nameserver]) -> None:
    """G: of segments whose last write is long ago; the queues begin behind them, and the index files go with them."""
    every_hour = ";".join(f"{hour:02}" for hour in range(24))
    store = OneStore(tmp_path / "broker", namesrv, deleteWhen=every_hour, maxIndexNum=100)
    with store.served_by(OURS) as cluster:
        cluster.create_topic("Old", queues=1)
        async with rmq_client.Producer("writers", namesrv=store.namesrv) as producer:
            await producer.send("Old", b"the only one")
        await fill(store, cluster, "ours")
        await write(store, 50, "more")
        contents = seen(store)
    expired = sorted((store.root / "commitlog").iterdir())[:2]
    for segment in expired:
        os.utime(segment, times=(time.time() - 100 * 3600,) * 2)
    expected = bounds_from(contents, int(expired[-1].name) + expired[-1].stat().st_size)
    assert expected != contents.bounds
    twins = {who: store.copy(who, namesrvs(who)) for who in (OURS, REFERENCE, LAST_4X)}
    with ExitStack() as brokers:
        for who, twin in twins.items():
            brokers.enter_context(twin.served_by(who))
        for who, twin in twins.items():  # not before a minute after the start
            until(partial(has_bounds, twin, expected), seconds=150, what=f"{who} deletes")
            # 4.x forgets the end of a queue of which nothing is left, until it starts again
            assert twin.bounds({"Old": 1}) == {("Old", 0): (0 if who == LAST_4X else 1, 1)}
        kept = {who: seen(twin) for who, twin in twins.items()}
    assert kept[OURS] == kept[REFERENCE] == kept[LAST_4X]
    left = {who: files(twin.root) for who, twin in twins.items()}
    assert left[OURS] == left[REFERENCE] == left[LAST_4X]
    assert left[OURS] < files(store.root)
    for who, twin in twins.items():
        with twin.served_by(REFERENCE if who == OURS else OURS):
            assert seen(twin) == kept[OURS]
            assert twin.bounds({"Old": 1}) == {("Old", 0): (1, 1)}


def has_bounds(store: OneStore, expected: dict[Queue, tuple[int, int]]) -> bool:
    return store.bounds(TOPICS) == expected


def bounds_from(contents: Contents, physical_min: int) -> dict[Queue, tuple[int, int]]:
    """Every queue from its first message that is at `physical_min` or behind it."""
    bounds = {}
    for queue, (_, high) in contents.bounds.items():
        left = [record for record in map(unpack, contents.records[queue]) if record.physical_offset >= physical_min]
        bounds[queue] = (left[0].queue_offset if left else high, high)
    return bounds


@both_versions
@pytest.mark.parametrize("first", ["ours", "apache"])
async def test_configuration_files_are_understood(store: OneStore, apache_version: str, first: str) -> None:
    """H: topics, groups and offsets of one side are the other's; a cut-off file is replaced by its .bak."""
    sides = (OURS, apache_version) if first == "ours" else (apache_version, OURS)
    with store.served_by(sides[0]) as cluster:
        cluster.create_topic("Five", queues=5)
        contents = await fill(store, cluster, sides[0])
    before = configs(store)
    assert set(TOPICS) | {"Five"} <= set(before["topics"])
    offsets = (store.root / "config/consumerOffset.json").read_text(encoding="utf-8")
    assert ("{0:" in offsets) == (sides[0] != OURS), "Apache's writes bare numbers as keys, which is no JSON; we do not"
    with store.served_by(sides[1]) as cluster:
        assert seen(store) == contents
        assert cluster.max_offsets("Five", queues=5) == [0] * 5
        cluster.create_topic("Six", queues=6)
    after = configs(store)
    unknown = NOT_IN_4X if apache_version == LAST_4X else ()
    for kind, table in before.items():
        for name, entry in table.items():
            kept = {member: value for member, value in entry.items() if member not in unknown}
            assert {member: after[kind][name].get(member) for member in kept} == kept, f"{kind}: {name}"
    assert set(after["topics"]) >= {"Five", "Six"}
    paths = [store.root / "config" / name for name in ("topics.json", "subscriptionGroup.json", "consumerOffset.json")]
    whole = {path: path.read_bytes() for path in paths}
    for who in sides:
        for path, content in whole.items():
            path.with_name(f"{path.name}.bak").write_bytes(content)
            path.write_bytes(content[: len(content) // 2])
        with store.served_by(who) as cluster:
            assert seen(store) == contents
            assert cluster.max_offsets("Six", queues=6) == [0] * 6


def configs(store: OneStore) -> dict[str, dict[str, dict[str, object]]]:
    """The tables of the three files."""
    folder = store.root / "config"

    def table(name: str, member: str) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = json.loads(loosely((folder / name).read_text(encoding="utf-8")))[member]
        return found

    return {
        "topics": table("topics.json", "topicConfigTable"),
        "groups": table("subscriptionGroup.json", "subscriptionGroupTable"),
        "offsets": table("consumerOffset.json", "offsetTable"),
    }
