"""Child processes of other people's programs: started, waited for by polling, and always ended.

Every program runs in its own session, so ending it ends what it started; its output goes to files, so that no pipe
can fill up and everything it said is still there when a test fails.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.02
# Below the range from which Linux takes the local ports of outgoing connections, so that none of those can steal one.
_PORTS = range(20_000, 32_000)


class PeerError(Exception):
    """A foreign program could not be fetched, started, or did not do in time what was awaited."""


def until(condition: Callable[[], T | None], *, seconds: float, what: str | Callable[[], str]) -> T:
    """Ask `condition` until it answers something true, and return that.

    Raises: PeerError naming `what` when `seconds` have passed; whatever `condition` raises.
    """
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise PeerError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(_POLL_SECONDS)


def free_port(neighbours: Iterable[int] = ()) -> int:
    """A port that nobody holds now, and whose neighbours (differences, such as -2 and 1) nobody holds either."""
    for port in random.SystemRandom().sample(_PORTS, k=500):
        if all(_is_free(port + difference) for difference in (0, *neighbours)):
            return port
    raise PeerError(f"no free port in {_PORTS}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


class Program:
    """A running child process whose output is kept in `directory`.

    Use it as a context manager, or call `stop`; both are harmless on a program that has already ended.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start `command`.

        `prefix` goes before it and must end in executing it, as `taskset -c 1` does: `pid` is then the program's own.
        `environment` is added to this process's.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.command = [*prefix, *command]
        self.stdout_path = directory / f"{name}.out"
        self.stderr_path = directory / f"{name}.err"
        self._stopped = False
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, for measuring it or sending it a signal."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status once it has ended; negative for the signal that ended it."""
        return self._process.poll()

    def output(self) -> str:
        """Standard output so far."""
        return self.stdout_path.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[str]:
        """Whole lines of standard output so far."""
        return self.output().split("\n")[:-1]

    def events(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects: what our own programs report. A client library's chatter is passed over."""
        return [json.loads(line) for line in self.lines() if line.startswith("{")]

    def report(self) -> str:
        """What a reader of a failed test needs: command, state and the end of both outputs."""
        tails = [
            f"--- {path.name}\n" + "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
            for path in (self.stdout_path, self.stderr_path)
        ]
        state = "running" if self.returncode is None else f"ended with {self.returncode}"
        return "\n".join([f"{self.name} ({state}): {' '.join(self.command)[-600:]}", *tails])

    def check_running(self) -> None:
        """Raises: PeerError with the end of its output, when the program has ended."""
        if self.returncode is not None:
            raise PeerError(f"unexpected end\n{self.report()}")

    def wait_for(self, condition: Callable[[Self], T | None], *, seconds: float = 60, what: str) -> T:
        """Poll `condition(self)` while the program runs; it is asked once more after the program has ended.

        Raises: PeerError with the end of the program's output, when time is up or it ended without the answer.
        """

        def ask() -> T | None:
            ended = self.returncode is not None
            answer = condition(self)
            if not answer and ended:
                raise PeerError(f"ended before: {what}\n{self.report()}")
            return answer

        return until(ask, seconds=seconds, what=lambda: f"{what}\n{self.report()}")

    def finish(self, *, seconds: float = 60) -> Self:
        """Wait until the program ends by itself with status 0.

        Raises: PeerError with the end of its output otherwise.
        """
        self.wait_for(lambda program: program.returncode is not None, seconds=seconds, what="its end")
        if self.returncode != 0:
            raise PeerError(f"failed\n{self.report()}")
        return self

    def stop(self, *, grace: float = 20) -> int:
        """End the program and what it started; return its exit status.

        It gets SIGTERM and `grace` seconds, then SIGKILL; with a grace of 0, SIGKILL at once.
        """
        if grace > 0 and self.returncode is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed
                self._process.wait(grace)
        if not self._stopped:  # once: later the number may be somebody else's
            self._stopped = True
            with contextlib.suppress(ProcessLookupError):  # nobody of that session is left
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(grace=0)
