"""The watcher of tests/conftest.py watches."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SAMPLE = """
import asyncio

async def test_leaks_a_task():
    global kept
    kept = asyncio.create_task(asyncio.Event().wait())

async def test_leaves_an_error_to_the_loop():
    async def fail():
        raise RuntimeError("seen by nobody")
    kept = asyncio.create_task(fail())
    await asyncio.wait([kept])

async def test_fails_in_a_callback():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

async def test_behaves():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))

def test_without_a_loop():
    pass
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    directory = tmp_path_factory.mktemp("watched")
    (directory / "conftest.py").write_text(CONFTEST.read_text())
    (directory / "test_sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-o", "asyncio_mode=auto", directory]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("test_leaks_a_task", "the test leaked tasks"),
        ("test_leaves_an_error_to_the_loop", "seen by nobody"),
        ("test_fails_in_a_callback", "ZeroDivisionError"),
    ],
)
def test_misbehaviour_fails(report, name, complaint):
    assert f"ERROR test_sample.py::{name}" in report
    assert complaint in report


def test_good_behaviour_passes(report):
    assert report.count("\nERROR test_sample.py") == 3
    assert report.count("\nPASSED test_sample.py") == 5, "the bodies of all five pass"
