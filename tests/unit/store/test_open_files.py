"""However many files a store has, it holds a bounded number of them open."""

import os
from pathlib import Path

from rmq_server.store.files import OsFiles
from rmq_server.store.mapped_file import MappedFile, OpenFiles
from tests.unit.store.harness import Harness


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def made(directory: Path, count: int, open_files: OpenFiles) -> list[MappedFile]:
    files = [MappedFile(OsFiles(), directory, number, 4096, open_files=open_files) for number in range(count)]
    for number, file in enumerate(files):
        file.create()
        file.write(b"%d" % number, file.start)
    return files


def test_no_more_than_the_limit_are_open(tmp_path: Path) -> None:
    before = descriptors()
    files = made(tmp_path, 50, OpenFiles(8))
    assert descriptors() - before <= 8
    assert [file.read(2, file.start).rstrip(b"\0") for file in files] == [b"%d" % number for number in range(50)]
    assert descriptors() - before <= 8
    for file in files:
        file.close()
    assert descriptors() == before


def test_what_is_used_stays_open(tmp_path: Path) -> None:
    files = made(tmp_path, 9, OpenFiles(8))
    busy = files[0]
    held = busy.view  # each use gives it a second chance
    for file in files[1:] * 3:
        file.read(1, file.start)
        assert busy.view is held


def test_views_outlive_the_file_that_gave_way(tmp_path: Path) -> None:
    open_files = OpenFiles(1)
    first, second = made(tmp_path, 2, open_files)
    view = first.view
    second.read(1, second.start)
    assert view[:1] == b"0"
    assert first.view[:1] == b"0"


def test_a_file_that_gave_way_is_still_made_durable(tmp_path: Path) -> None:
    synced = []

    class Counting(OsFiles):
        def open(self, path: Path, *, create: bool = False):
            file = super().open(path, create=create)
            synced.append(path.name)
            return file

    file = MappedFile(Counting(), tmp_path, 7, 4096)
    file.create()
    file.close()
    file.sync()
    assert synced == [file.path.name] * 2


def test_a_store_works_within_few_open_files() -> None:
    store = Harness(open_files=16).open()
    for number in range(100):
        store.put_flushed(b"%d" % number, queue_id=number % 50)
    assert store.bodies(queue_id=7) == [b"7", b"57"]
    store.store.close()
    again = Harness(store.files, open_files=16).open()
    assert again.bodies(queue_id=49) == [b"49", b"99"]
