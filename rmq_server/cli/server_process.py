"""A server program as a child process on free ports, for the demo and for tests that kill it."""

import asyncio
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import click

_READY_S = 30.0
_STOP_S = 10.0


class ServerProcess:
    """`python -m rmq_server <program>` for as long as the `async with` block lasts.

    Raises (on entering): click.ClickException with what the program said when it does not get ready.
    """

    def __init__(self, program: str, directory: Path, *arguments: str) -> None:
        self._program = program
        self._ports_file = directory / f"{program}.ports"
        self._log = directory / f"{program}.stderr"
        port = () if "--port" in arguments else ("--port", "0")
        self._arguments = ("--ports-file", str(self._ports_file), *port, *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._ports: dict[str, str] = {}
        self.ready_s = 0.0

    def address(self, role: str) -> str:
        """`host:port` of what it bound."""
        return self._ports[role]

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to stderr."""
        return self._log.read_text(errors="replace").strip()

    async def kill(self) -> None:
        """End it without a chance to tidy up."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def __aenter__(self) -> Self:
        start = time.monotonic()
        self._ports_file.unlink(missing_ok=True)  # of an earlier one that was killed
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "rmq_server",
                self._program,
                *self._arguments,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        while not self._ports_file.exists():
            if self._process.returncode is not None or time.monotonic() - start > _READY_S:
                await self._stop()
                raise click.ClickException(f"{self._program} did not get ready: {self.said or 'it said nothing'}")
            await asyncio.sleep(0.005)
        self.ready_s = time.monotonic() - start
        self._ports = json.loads(self._ports_file.read_text())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
