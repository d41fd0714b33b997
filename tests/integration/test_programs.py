"""The programs as processes: boot lines, ports file, signals, exit codes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from protocol.header import NoHeader
from protocol.headers.namesrv import GET_BROKER_CLUSTER_INFO
from rmq_server.net.dialer import dial

DEADLINE_S = 20


class Process:
    """A program that has printed its boot line."""

    def __init__(self, process: asyncio.subprocess.Process, line: str, ports: Path) -> None:
        self.process = process
        self.line = line
        self.ports_file = ports
        self.ports: dict[str, str] = json.loads(ports.read_text())

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def program(tmp_path: Path, *arguments: str) -> AsyncIterator[Process]:
    ports = tmp_path / f"{arguments[0]}.json"
    environment = {key: value for key, value in os.environ.items() if key != "NAMESRV_ADDR"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rmq_server", *arguments, "--ports-file", str(ports)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = (await process.stdout.readline()).decode().rstrip("\n")
            assert line, (await process.stderr.read()).decode()
        yield Process(process, line, ports)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_nameserver_and_a_broker(tmp_path, number) -> None:
    async with program(tmp_path, "mqnamesrv", "--port", "0") as namesrv:
        address = namesrv.ports["namesrv"]
        assert namesrv.line == f"The Name Server boot success. serializeType=JSON, address {address}"
        arguments = ("mqbroker", "--port", "0", "-n", address, "--store", str(tmp_path / "store"))
        async with program(tmp_path, *arguments) as broker:
            assert broker.line.startswith("The broker[")
            assert broker.line.endswith(
                f", {broker.ports['broker']}] boot success. serializeType=JSON and name server is {address}"
            )
            main, vip = (int(broker.ports[name].rpartition(":")[2]) for name in ("broker", "vip"))
            assert vip == main - 2
            assert list((await cluster(address)).values()) == [{"0": broker.ports["broker"]}]
            assert await broker.stop(number) == 0
            assert not broker.ports_file.exists()
        assert await cluster(address) == {}
        assert await namesrv.stop(number) == 0


async def test_standalone_is_a_whole_cluster_in_one_line(tmp_path) -> None:
    arguments = ("rmq", "standalone", "--port", "0", "--namesrv-port", "0")
    async with program(tmp_path, *arguments) as standalone:
        namesrv, broker = standalone.ports["namesrv"], standalone.ports["broker"]
        assert standalone.line == (
            f"RocketMQ is ready: connect to {namesrv} (broker-a at {broker}, data in rmq-data). Ctrl-C stops it."
        )
        assert await cluster(namesrv) == {"broker-a": {"0": broker}}
        assert await standalone.stop() == 0
        assert (await standalone.process.stderr.read()).decode() == ""
    assert (tmp_path / "rmq-data" / "store" / "config" / "topics.json").exists()


async def test_ephemeral_leaves_nothing(tmp_path) -> None:
    arguments = ("rmq", "standalone", "--ephemeral", "--port", "0", "--namesrv-port", "0")
    async with program(tmp_path, *arguments) as standalone:
        assert "nothing is kept" in standalone.line
        assert await standalone.stop() == 0
    assert list(tmp_path.iterdir()) == []


async def cluster(namesrv: str) -> dict[str, dict[str, str]]:
    """Broker names and their addresses by id."""
    link = await dial(namesrv)
    answer = await link.request(GET_BROKER_CLUSTER_INFO, NoHeader(), timeout_s=5)
    link.close()
    table = json.loads(answer.body)["brokerAddrTable"]
    return {name: broker["brokerAddrs"] for name, broker in table.items()}
