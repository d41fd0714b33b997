"""`rmq demo`: servers as real processes, one producer, three consumers of one group, of which one leaves.

It shows what the thing does and whether it works here: it ends with exit code 0 only if every message arrived.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rmq_client import AdminClient, MessageExt, Producer, PushConsumer
from rmq_client.errors import ClientError
from rmq_server.cli import options
from rmq_server.cli.demo_tally import HEAD_BYTES, Tally
from rmq_server.cli.server_process import ServerProcess

TOPIC = "DemoTopic"
GROUP = "demo-consumers"
QUEUES = 8
CONSUMERS = 3
SENDERS = 32
SETTLE_S = 15.0
DRAIN_S = 30.0

Ask = Callable[[], bool]


class Member:
    """One consumer of the group and the task that runs it."""

    def __init__(self, name: str, namesrv: str, tally: Tally) -> None:
        self.name = name
        self.consumer = PushConsumer(GROUP, TOPIC, namesrv=namesrv)
        self._tally = tally
        self._done = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Consume until `leave`."""
        async with self.consumer:
            ready()
            await self.consumer.run(self._handle, concurrency=64)
        self._done.set()

    async def leave(self) -> None:
        """Finish what runs, commit, and leave the group."""
        await self.consumer.close()
        await self._done.wait()

    @property
    def queue_ids(self) -> list[int]:
        return sorted(queue.queue_id for queue in self.consumer.assignment)

    async def _handle(self, message: MessageExt) -> None:
        self._tally.received(self.name, message.body)


class Demo:
    """The course of the demonstration."""

    def __init__(self, console: Console, seconds: float, rate: int, body_bytes: int) -> None:
        self._console = console
        self._seconds = seconds
        self._rate = rate
        self._padding = bytes(max(0, body_bytes - HEAD_BYTES))
        self._tally = Tally()
        self._members: list[Member] = []

    async def run(self, directory: Path) -> bool:
        """Whether every message arrived."""
        async with AsyncExitStack() as stack:
            namesrv_process = await stack.enter_async_context(ServerProcess("mqnamesrv", directory))
            namesrv = namesrv_process.address("namesrv")
            self._say(f"nameserver ready at {namesrv} after {namesrv_process.ready_s:.2f} s")
            broker = ServerProcess("mqbroker", directory, "-n", namesrv, "--store", str(directory / "store"))
            await stack.enter_async_context(broker)
            self._say(f"broker ready at {broker.address('broker')} after {broker.ready_s:.2f} s")
            async with AdminClient(namesrv=namesrv) as admin:
                await admin.create_topic(TOPIC, queues=QUEUES)
            self._say(f"topic {TOPIC} with {QUEUES} queues")
            return await self._exchange(namesrv)

    async def _exchange(self, namesrv: str) -> bool:
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, CONSUMERS + 1):
                member = Member(f"consumer-{number}", namesrv, self._tally)
                self._members.append(member)
                joined = asyncio.Event()
                tasks.create_task(member.run(joined.set))
                await joined.wait()
            await self._settle()
            before = self._allocation()
            with Live(self._progress(), console=self._console, refresh_per_second=4, transient=True) as live:
                ticker = tasks.create_task(self._tick(live))
                sending = tasks.create_task(self._produce(namesrv))
                await asyncio.sleep(self._seconds / 2)
                moved_s = await self._dismiss(self._members[-1])
                await sending
                arrived = await _until(self._tally.is_complete, DRAIN_S)
                ticker.cancel()
            after = self._allocation()
            self._say(f"all queues owned again {moved_s * 1000:.0f} ms after {self._members[-1].name} had left")
            self._console.print(_allocation_table(before, after))
            self._console.print(self._tally.table())
            for member in self._members[:-1]:
                await member.leave()
        return arrived

    async def _produce(self, namesrv: str) -> None:
        """Send at the asked rate for the asked time, from several tasks."""
        start = time.monotonic()
        numbers = iter(range(sys.maxsize))

        async def sender(producer: Producer) -> None:
            for number in numbers:
                due = start + number / self._rate if self._rate else time.monotonic()
                if due - start >= self._seconds:
                    return
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                body = self._tally.stamp(number) + self._padding
                try:
                    await producer.send(TOPIC, body, tag="demo")
                except ClientError as error:
                    self._tally.failed(number, error)
                else:
                    self._tally.sent(number)

        async with Producer("demo-producer", namesrv=namesrv) as producer, asyncio.TaskGroup() as tasks:
            for _ in range(SENDERS):
                tasks.create_task(sender(producer))
        self._tally.end_sending()

    async def _dismiss(self, member: Member) -> float:
        """Let a consumer leave; seconds until all its queues have another owner."""
        self._tally.disturb()
        await member.leave()
        start = time.monotonic()
        await self._settle(self._members[:-1])
        return time.monotonic() - start

    async def _settle(self, members: list[Member] | None = None) -> None:
        """Wait until every queue has an owner, and owners differ by at most one queue."""

        def settled() -> bool:
            counts = [len(member.queue_ids) for member in members or self._members]
            return sum(counts) == QUEUES and max(counts) - min(counts) <= 1

        if not await _until(settled, SETTLE_S):
            raise click.ClickException(f"the queues were not shared within {SETTLE_S:.0f} s: {self._allocation()}")

    def _allocation(self) -> dict[str, list[int]]:
        return {member.name: member.queue_ids for member in self._members}

    async def _tick(self, live: Live) -> None:
        """A line that changes in a terminal; elsewhere a line every two seconds."""
        for tick in itertools.count(1):
            await asyncio.sleep(0.25)
            if self._console.is_terminal:
                live.update(self._progress())
            elif tick % 8 == 0:
                self._say(str(self._progress()))

    def _progress(self) -> Text:
        owners = "  ".join(f"{name} {_numbers(queues)}" for name, queues in self._allocation().items())
        return Text(f"{self._tally.line()}  |  {owners}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


async def _until(condition: Ask, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


def _allocation_table(before: dict[str, list[int]], after: dict[str, list[int]]) -> Table:
    table = Table(title="Queues of the topic", title_justify="left")
    table.add_column("consumer")
    table.add_column("before")
    table.add_column("after one left")
    for name, queues in before.items():
        table.add_row(name, _numbers(queues), _numbers(after[name]) if after[name] else "left")
    return table


def _numbers(queues: list[int]) -> str:
    return " ".join(map(str, queues)) or "-"


@click.command("demo", context_settings=options.CONTEXT)
@click.option("--seconds", default=10.0, show_default=True, help="How long to send.", type=click.FloatRange(1))
@click.option(
    "--rate", default=2000, show_default=True, help="Messages a second; 0 as fast as it goes.", type=click.IntRange(0)
)
@click.option(
    "--bytes", "body_bytes", default=1024, show_default=True, help="Bytes of a body.", type=click.IntRange(HEAD_BYTES)
)
def main(seconds: float, rate: int, body_bytes: int) -> None:
    """Start servers, send, consume, let a consumer leave, and report. Leaves nothing behind."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rmq-demo-") as directory:
        try:
            arrived = asyncio.run(Demo(console, seconds, rate, body_bytes).run(Path(directory)))
        except* ClientError as errors:
            raise click.ClickException(str(errors.exceptions[0])) from None
    console.print("every message arrived" if arrived else "messages are missing", style="green" if arrived else "red")
    sys.exit(0 if arrived else 1)
