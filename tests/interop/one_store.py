"""One store directory and one broker.conf, served in turn by our broker and by Apache's.

What a broker holds is asked with raw requests, so the same code judges both sides and no client library takes part:
`Contents` are the bounds of every queue, the very bytes of every record and the offsets that a group committed.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from protocol.record import Record, split, unpack
from tests.interop.ours import our_broker
from tests.interop.peers import Cluster, PeerError, Program, broker, broker_conf, free_port, has_route, until
from tests.interop.peers.remoting import Answer, request

OURS = "ours"
"""Instead of a version of Apache's."""

_PULL, _QUERY_MESSAGE, _QUERY_OFFSET, _UPDATE_OFFSET, _SEARCH_OFFSET = 11, 12, 14, 15, 29
_MAX_OFFSET, _MIN_OFFSET, _VIEW_MESSAGE_BY_ID = 30, 31, 33
_NOT_FOUND = 22
MOST_BY_KEY = 64
_SUBSCRIPTION_IN_REQUEST = 4
_NEIGHBOURS = (-2, 1)
_STOP_S = 60

Queue = tuple[str, int]
Nameserver = tuple[Program, int]

SETTINGS: Mapping[str, str | int | bool] = {
    "mappedFileSizeCommitLog": 65_536,
    "mappedFileSizeConsumeQueue": 1_000,
    "flushDiskType": "ASYNC_FLUSH",
    "maxHashSlotNum": 200,
    "maxIndexNum": 1_000,
    "mappedFileSizeTimerLog": 102_400,
    "fileReservedTime": 72,
}
"""Small files, so that a few hundred messages fill several of each kind."""


class Contents(NamedTuple):
    """What a broker serves of some topics."""

    bounds: dict[Queue, tuple[int, int]]
    records: dict[Queue, list[bytes]]
    committed: dict[Queue, int | None]

    def unpacked(self) -> Iterator[Record]:
        """Every message."""
        for records in self.records.values():
            yield from (unpack(record, verify_body=True) for record in records)


class OneStore:
    """The directory, the settings and the addresses, which stay; brokers come and go."""

    def __init__(self, directory: Path, namesrv: Nameserver, **settings: str | int | bool) -> None:
        self.directory = directory
        self.root = directory / "store"
        self.namesrv = f"127.0.0.1:{namesrv[1]}"
        self._namesrv = namesrv
        self._settings = {**SETTINGS, **settings}
        self.port = free_port(_NEIGHBOURS)
        self.broker = f"127.0.0.1:{self.port}"

    @contextmanager
    def served_by(self, who: str) -> Iterator[Cluster]:
        """OURS or Apache's in a version: ready for clients; stopped in order at the end unless the test killed it.

        Raises: PeerError with the broker's output when it does not get ready; AssertionError when it did not stop well.
        """
        until(lambda: not has_route(self.namesrv, "TBW102"), seconds=30, what="the end of the broker before")
        with self._start(who) as program:
            until(lambda: self._routed(program), seconds=90, what=lambda: f"a route\n{program.report()}")
            yield Cluster(who, *self._namesrv, program, self.port)
            if program.returncode is None:
                status = program.stop(grace=_STOP_S)
                assert status == (0 if who == OURS else 143), program.report()
                assert not (self.root / "abort").exists(), f"{who} stopped in order but left abort\n{program.report()}"

    def copy(self, name: str, namesrv: Nameserver | None = None) -> "OneStore":
        """The same store once more, to do something else with it; times of files stay.

        namesrv: another one, when both are served at the same time.
        """
        twin = OneStore(self.directory.parent / name, namesrv or self._namesrv, **self._settings)
        shutil.copytree(self.root, twin.root)
        return twin

    def contents(self, topics: Mapping[str, int], group: str) -> Contents:
        """Everything of the first so many queues of some topics."""
        bounds = self.bounds(topics)
        records = {queue: self._records(queue, group, *bounds[queue]) for queue in bounds}
        return Contents(bounds, records, {queue: self.committed(queue, group) for queue in bounds})

    def bounds(self, topics: Mapping[str, int]) -> dict[Queue, tuple[int, int]]:
        """Where the queues begin and end."""
        queues = [(topic, queue_id) for topic, count in topics.items() for queue_id in range(count)]
        return {queue: (self._offset(_MIN_OFFSET, queue), self._offset(_MAX_OFFSET, queue)) for queue in queues}

    def committed(self, queue: Queue, group: str) -> int | None:
        """The offset that a group committed."""
        answer = self._ask(_QUERY_OFFSET, {**_of(queue), "consumerGroup": group, "setZeroIfNotFound": "false"})
        if answer.code == _NOT_FOUND:
            return None
        return int(_good(answer).fields["offset"])

    def commit(self, queue: Queue, group: str, offset: int) -> None:
        """Commit as consumers do."""
        _good(self._ask(_UPDATE_OFFSET, {**_of(queue), "consumerGroup": group, "commitOffset": offset}))

    def search(self, queue: Queue, timestamp_ms: int) -> int:
        """The first message of a queue stored at or after a time."""
        return int(_good(self._ask(_SEARCH_OFFSET, {**_of(queue), "timestamp": timestamp_ms})).fields["offset"])

    def by_id(self, physical_offset: int) -> bytes:
        """The record that an offset message id names."""
        return _good(self._ask(_VIEW_MESSAGE_BY_ID, {"offset": physical_offset})).body

    def by_key(self, topic: str, key: str) -> list[bytes]:
        """The records that are indexed under a key, MOST_BY_KEY at most."""
        query: dict[str, str | int] = {
            "topic": topic,
            "key": key,
            "maxNum": MOST_BY_KEY,
            "beginTimestamp": 0,
            "endTimestamp": 1 << 60,
        }
        answer = self._ask(_QUERY_MESSAGE, query)
        return [] if answer.code == _NOT_FOUND else [answer.body[start:end] for start, end in split(answer.body)]

    def _ask(self, code: int, fields: Mapping[str, str | int]) -> Answer:
        return request(self.broker, code, fields)

    def _offset(self, code: int, queue: Queue) -> int:
        return int(_good(self._ask(code, _of(queue))).fields["offset"])

    def _records(self, queue: Queue, group: str, low: int, high: int) -> list[bytes]:
        records: list[bytes] = []
        while low + len(records) < high:
            at = low + len(records)
            pull = {
                **_of(queue),
                "consumerGroup": group,
                "queueOffset": at,
                "maxMsgNums": 32,
                "sysFlag": _SUBSCRIPTION_IN_REQUEST,
                "commitOffset": 0,
                "suspendTimeoutMillis": 0,
                "subscription": "*",
                "subVersion": 0,
                "expressionType": "TAG",
            }
            answer = _good(self._ask(_PULL, pull))
            found = [answer.body[start:end] for start, end in split(answer.body)]
            assert int(answer.fields["nextBeginOffset"]) == at + len(found) > at
            records += found
        for offset, record in enumerate(map(unpack, records), low):
            assert (record.topic, record.queue_id, record.queue_offset) == (*queue, offset)
        return records

    def _start(self, who: str) -> Program:
        if who == OURS:
            return our_broker(broker_conf(self.directory, self.port, self.namesrv, self._settings))
        return broker(self.directory, self.port, self.namesrv, settings=self._settings, version=who)

    def _routed(self, program: Program) -> bool:
        program.check_running()
        return has_route(self.namesrv, "TBW102")


def files(root: Path) -> set[str]:
    """The paths of all that derives from the log and is not the configuration, and of the log."""
    folders = ("commitlog", "consumequeue", "index")
    return {str(path.relative_to(root)) for name in folders for path in (root / name).rglob("*") if path.is_file()}


def entries(root: Path) -> dict[str, bytes]:
    """The ConsumeQueue files, by their paths below consumequeue/."""
    folder = root / "consumequeue"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*/*")}


def continues(before: Contents, after: Contents) -> bool:
    """Whether nothing of `before` has changed and everything new stands behind it."""
    return all(
        after.bounds[queue][0] == low and after.records[queue][: high - low] == before.records[queue]
        for queue, (low, high) in before.bounds.items()
    )


def loosely(text: str) -> str:
    """Strict JSON from what fastjson writes: bare numbers as keys get quotes. No key or text here looks like one."""
    return re.sub(r"([{,]\s*)(-?\d+)\s*:", r'\1"\2":', text)


def last_segment(root: Path) -> Path:
    """The newest file of the CommitLog."""
    return max((root / "commitlog").iterdir())


def spoil(root: Path, end: int, damage: bytes) -> None:
    """What a crash can leave: bytes behind the end of the log, and `abort`."""
    segment = last_segment(root)
    at = end - int(segment.name)
    assert 0 < at < segment.stat().st_size - len(damage)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(damage)
    (root / "abort").touch()


def _of(queue: Queue) -> dict[str, str | int]:
    topic, queue_id = queue
    return {"topic": topic, "queueId": queue_id}


def _good(answer: Answer) -> Answer:
    if answer.code:
        raise PeerError(f"answered {answer.code}: {answer.remark}")
    return answer
