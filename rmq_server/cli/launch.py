"""What all programs do between their options and their servers: logs, notes on the configuration, ports, exit codes."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from protocol.errors import RocketMQError
from rmq_server.cli.options import LogOptions
from rmq_server.cli.ports_file import PortsFile
from rmq_server.core import lifecycle, log
from rmq_server.core.config import Note
from rmq_server.core.errors import StartupError

_log = log.get_logger("cli")


class Program:
    """One run of a program, from its options to its exit."""

    def __init__(self, name: str, logs: LogOptions, ports_file: Path | None) -> None:
        self.name = name
        self._logs = logs
        self._ports_file = PortsFile(ports_file)
        self._is_up = False

    def serve(
        self,
        servers: Iterable[lifecycle.Server],
        *,
        notes: Iterable[Note] = (),
        ready_line: Callable[[], str],
        bound: Callable[[], Mapping[str, str]],
    ) -> None:
        """Run until told to stop.

        ready_line: printed when all have started.
        bound:      for the ports file, then too.
        Raises: RocketMQError when it cannot start; SystemExit.
        """
        self._configure_logs()
        allow_many_files()
        for (key, value, where), reason in notes:
            _log.warning("setting has no effect", key=key, value=value, where=where, reason=reason)
        self._ports_file.remove()

        def announce() -> None:
            self._is_up = True
            self._ports_file.write(bound())
            click.echo(ready_line())
            lifecycle.freeze_start_up()

        async def main(stop: lifecycle.Stop) -> None:
            await lifecycle.serve(servers, stop=stop, ready=announce)

        try:
            lifecycle.run_process(main)
        except Exception as error:
            raise self._reason(error) from error
        finally:
            self._ports_file.remove()

    def _reason(self, error: Exception) -> BaseException:
        """Before everything is up, what the system refuses is for the user to mend; after that, an error is ours."""
        if self._is_up:
            _log.error("server failed", exc_info=error)
            return SystemExit(1)
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename else ""
            return StartupError(f"cannot start: {place}{error.strerror or error}")
        return error

    def _configure_logs(self) -> None:
        style, level, directory = self._logs
        try:
            log.configure(log.LogFormat(style), level, directory, self.name)
        except OSError as error:
            raise StartupError(f"cannot log to {directory}: {error.strerror}") from None


def allow_many_files() -> None:
    """Raise this process's limit of open files to what the system allows: each connection and each queue needs one."""
    if sys.platform == "win32":
        return
    import resource  # lazy: not there on Windows

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def failures_as_sentences(name: str) -> Iterator[None]:
    """A start that cannot be becomes one sentence on stderr for each problem, and exit code 1."""
    try:
        yield
    except RocketMQError as error:
        for line in str(error).splitlines():
            click.echo(f"{name}: {line}", err=True)
        sys.exit(1)


def environment() -> Mapping[str, str]:
    """The environment variables of this process."""
    return os.environ
