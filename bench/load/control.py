"""The other end of the load process."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bench.load.messages import Failure, Order, Window

_REPOSITORY = Path(__file__).resolve().parents[2]


class LoadError(Exception):
    """A load was refused, stalled, or did not add up; the text says which and why."""


class LoadProcess:
    """One load generator, as a context manager. prefix: goes before its command, such as `taskset -c 1`."""

    def __init__(self, prefix: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "bench.load.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPOSITORY,
        )

    def window(self, order: Order) -> Window:
        """Run one window.

        Raises: LoadError.
        """
        to, answers = self._process.stdin, self._process.stdout
        assert to is not None
        assert answers is not None
        to.write(msgspec.json.encode(order) + b"\n")
        to.flush()
        line = answers.readline()
        if not line:
            raise LoadError("the load process ended")
        answer = msgspec.json.decode(line)
        if "failure" in answer:
            raise LoadError(msgspec.convert(answer, Failure).failure)
        return msgspec.convert(answer, Window)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
