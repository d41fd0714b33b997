"""What the tests of the tools share: looking at a directory, and stores of our own on a real disk."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rmq_server.store.files import OsFiles
from rmq_server.storetools.directory import StoreDirectory
from rmq_server.storetools.runs import Problem
from rmq_server.storetools.verify import Report, verify
from tests.support.golden import INDEX_SLOTS
from tests.unit.store.harness import Harness

INDEX_ENTRIES_AT = 40 + 4 * INDEX_SLOTS
_HOLD = """
import sys
from pathlib import Path
from rmq_server.store.files import OsFiles
lock = OsFiles().lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
CLEAN = "5.3.3-ROCKETMQ"


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file but the large timer wheel."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "timerwheel"
    }


def contents(root: Path) -> dict[str, bytes]:
    """Content of every file by its path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def check(root: Path) -> tuple[Report, list[Problem]]:
    """What `verify` says."""
    problems: list[Problem] = []
    with StoreDirectory.open(root) as store:
        report = verify(store, problems.append)
    assert report.problems == len(problems)
    return report, problems


def flip(path: Path, at: int, mask: int = 1) -> None:
    """Change bits of one byte."""
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ mask]))


def ours(root: Path, messages: int = 60, **config: object) -> Harness:
    """A stopped store of ours with several small segments: topic T, queues 0 and 1, keys k0, k1, …"""
    life = Harness(OsFiles(), root=str(root), **config).open()
    for number in range(messages):
        life.put(
            b"body %d " % number + bytes(100),
            queue_id=number % 2,
            properties=b"KEYS\x01k%d\x02TAGS\x01TagA\x02" % number,
        )
        life.clock.advance(1)
        life.settle()
    life.store.close()
    return life


@contextmanager
def held_elsewhere(root: Path) -> Iterator[int]:
    """Another process, whose id this is, has the store open."""
    command = [sys.executable, "-c", _HOLD, str(root / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()
