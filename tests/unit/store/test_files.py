import subprocess
import sys
from pathlib import Path

import pytest

from rmq_server.store.errors import StoreInUse
from rmq_server.store.files import OsFiles, make_durable_dirs


def test_what_is_written_is_read_and_mapped(tmp_path: Path) -> None:
    files = OsFiles()
    file = files.open(tmp_path / "a", create=True)
    file.truncate(10_000)
    view = file.map()
    file.allocate(0, 8192)
    file.pwrite(b"hello", 100)
    file.sync()
    assert (file.size(), file.pread(7, 99)) == (10_000, b"\0hello\0")
    assert file.pread(100, 9990) == bytes(10)
    assert view[100:105] == b"hello"
    file.close()
    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")
    assert view[100:105] == b"hello"


def test_data_ranges_cover_everything_but_holes(tmp_path: Path) -> None:
    file = OsFiles().open(tmp_path / "a", create=True)
    file.truncate(1 << 20)
    assert file.data_ranges(0) in ([], [(0, 1 << 20)])
    file.pwrite(b"x", 500_000)
    assert any(start <= 500_000 < end for start, end in file.data_ranges(0))
    assert file.data_ranges(1 << 20) == []
    file.close()


def test_names(tmp_path: Path) -> None:
    files = OsFiles()
    make_durable_dirs(files, tmp_path / "x/y")
    files.open(tmp_path / "x/b", create=True).close()
    assert [(entry.name, entry.is_dir) for entry in files.list(tmp_path / "x")] == [("b", False), ("y", True)]
    assert files.list(tmp_path / "none") == []
    files.rename(tmp_path / "x/b", tmp_path / "x/a")
    assert (files.exists(tmp_path / "x/a"), files.exists(tmp_path / "x/b")) == (True, False)
    files.sync_dir(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        files.open(tmp_path / "none")


LOCK_LIKE_JAVA = """
import fcntl, sys
file = open(sys.argv[1], "r+")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, 0)
except BlockingIOError:
    sys.exit(3)
"""


def other_process_locks(path: Path) -> bool:
    return subprocess.run([sys.executable, "-c", LOCK_LIKE_JAVA, path], check=False).returncode == 0


def test_the_lock_is_seen_by_other_processes_and_by_this_one(tmp_path: Path) -> None:
    files, path = OsFiles(), tmp_path / "lock"
    lock = files.lock(path)
    with pytest.raises(StoreInUse, match="this process"):
        files.lock(path)
    assert not other_process_locks(path)
    lock.close()
    assert other_process_locks(path)
    assert path.read_bytes() == b"lock"  # not before: closing any descriptor of the file gives the lock away
    files.lock(path).close()
