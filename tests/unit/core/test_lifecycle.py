"""The life of servers: order, failures, deadlines, signals."""

import asyncio
import os
import signal

import pytest

from rmq_server.core import lifecycle
from rmq_server.core.errors import StartupError


class FakeServer:
    """Writes down what happens to it."""

    def __init__(self, name: str, story: list[str], **problems: Exception | float) -> None:
        self.name = name
        self._story = story
        self._problems = problems

    def _happens(self, what: str) -> None:
        self._story.append(f"{self.name} {what}")
        problem = self._problems.get(what)
        if isinstance(problem, Exception):
            raise problem

    async def start(self) -> None:
        self._happens("start")

    async def run(self) -> None:
        self._happens("run")
        try:
            await asyncio.Event().wait()
        finally:
            self._story.append(f"{self.name} ran")

    async def drain(self) -> None:
        self._happens("drain")
        if self._problems.get("stuck"):
            await asyncio.Event().wait()

    async def close(self) -> None:
        self._happens("close")


async def test_servers_start_in_order_and_stop_the_other_way_round() -> None:
    story: list[str] = []
    stop = lifecycle.Stop()

    def ready() -> None:
        story.append("ready")
        stop.set()

    servers = (FakeServer(name, story) for name in ("a", "b"))
    await lifecycle.serve(servers, stop=stop, ready=ready)
    assert story == [
        *("a start", "a run", "b start", "b run"),
        "ready",
        *("b drain", "b ran", "a drain", "a ran"),
        *("b close", "a close"),
    ]


async def test_a_start_that_fails_closes_what_was_started_and_tells_only_that() -> None:
    story: list[str] = []
    servers = [FakeServer("a", story), FakeServer("b", story, start=StartupError("port in use"))]
    with pytest.raises(StartupError, match="port in use"):
        await lifecycle.serve(servers, stop=lifecycle.Stop(), ready=lambda: story.append("ready"))
    assert story == ["a start", "a run", "b start", "a ran", "b close", "a close"]


async def test_a_server_that_fails_ends_all() -> None:
    story: list[str] = []
    servers = [FakeServer("a", story), FakeServer("b", story, run=RuntimeError("broken"))]
    with pytest.raises(RuntimeError, match="broken"):
        await lifecycle.serve(servers, stop=lifecycle.Stop())
    assert story[-2:] == ["b close", "a close"]


async def test_a_drain_that_fails_still_closes_all() -> None:
    story: list[str] = []
    stop = lifecycle.Stop()
    servers = [FakeServer("a", story), FakeServer("b", story, drain=RuntimeError("broken"))]
    with pytest.raises(RuntimeError, match="broken"):
        await lifecycle.serve(servers, stop=stop, ready=stop.set)
    assert story[-2:] == ["b close", "a close"]


async def test_a_drain_that_takes_too_long_is_cut_off(caplog) -> None:
    story: list[str] = []
    stop = lifecycle.Stop()
    await lifecycle.serve([FakeServer("a", story, stuck=True)], stop=stop, ready=stop.set, drain_s=0)
    assert story[-2:] == ["a ran", "a close"]
    assert "drain took too long" in caplog.text


async def test_a_stop_during_the_start_is_obeyed_before_the_next_server_starts() -> None:
    story: list[str] = []
    stop = lifecycle.Stop()
    stop.set()
    servers = [FakeServer("a", story), FakeServer("b", story)]
    await lifecycle.serve(servers, stop=stop, ready=lambda: story.append("ready"))
    assert story == ["a start", "a run", "a drain", "a ran", "a close"]


async def test_running_inside_an_application() -> None:
    story: list[str] = []
    async with lifecycle.running(FakeServer("a", story)):
        story.append("inside")
    assert story == ["a start", "a run", "inside", "a drain", "a ran", "a close"]


async def test_running_passes_on_the_applications_error_and_the_servers() -> None:
    story: list[str] = []
    with pytest.raises(KeyError):
        async with lifecycle.running(FakeServer("a", story)):
            raise KeyError("mine")
    assert story[-1] == "a close"
    with pytest.raises(StartupError):
        async with lifecycle.running(FakeServer("a", story, start=StartupError("no"))):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_stop_a_process(number) -> None:
    before = signal.getsignal(number)
    story: list[str] = []

    async def main(stop: lifecycle.Stop) -> None:
        await lifecycle.serve([FakeServer("a", story)], stop=stop, ready=lambda: os.kill(os.getpid(), number))

    lifecycle.run_process(main)
    assert story[-1] == "a close"
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_forces_the_exit(monkeypatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(lifecycle.os, "_exit", codes.append)

    async def main(stop: lifecycle.Stop) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        assert codes == []
        os.kill(os.getpid(), signal.SIGINT)

    lifecycle.run_process(main)
    assert codes == [lifecycle.FORCED_EXIT]
